#pragma once

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "flipside/config/config.h"
#include "flipside/core/torch.h"

namespace flipside {

/// Group normalisation, per-sample gain and bias, and LeakyReLU in one pass over memory.
///
///   y = leaky_relu(xhat * gain[n,c] + bias[n,c], slope),  xhat = (x - mean_g) / sqrt(var_g + eps)
///
/// with mean and variance over the channels of a group and all pixels (Wu and He 2018, eq. 1).
/// `x` [N,C,H,W]; `gain`, `bias` [N,C] (FiLM folded in by the caller, so that its gradient costs
/// nothing here), or [C] for all samples; groups divides C; slope in (0,1], 1 being no activation.
/// Gives [N,C,H,W] channels_last, of the type of `x`; sums and statistics are float32 whatever that
/// is. In float32 and bfloat16, with C a multiple of 8 (on a GPU: with groups of 8 channels),
/// forward and backward are one custom autograd node, whose results do not depend on the number of
/// threads; elsewhere, and for second derivatives, the same mathematics is composed of libtorch's
/// operators.
Tensor group_norm_act(const Tensor& x, const Tensor& gain, const Tensor& bias, int64_t groups,
                      double slope, double eps = 1e-5);

/// The same, composed of libtorch's operators: the oracle of the tests, and the path for devices,
/// dtypes and derivatives that the fused one does not know.
Tensor group_norm_act_composed(const Tensor& x, const Tensor& gain, const Tensor& bias,
                               int64_t groups, double slope, double eps = 1e-5);

/// `x` [N,C,H,W] twice as large by bilinear interpolation (half-pixel centres), and the channels of
/// `skip` [N,S,2H,2W] after its own: [N,C+S,2H,2W] channels_last, of their common type. On the CPU
/// in float32 and bfloat16, with C a multiple of 8, one custom autograd node that computes in
/// float32 and does not depend on the number of threads; elsewhere composed of libtorch's
/// operators.
Tensor upsample_concat(const Tensor& x, const Tensor& skip);
/// The same, composed: the oracle of the tests, and the path for everything else.
Tensor upsample_concat_composed(const Tensor& x, const Tensor& skip);

/// The first layer of the networks in one pass: `images` [N,3,H,W] in [0,1], normalised as
/// `normalise` does and padded by zeros, a 3x3 convolution by `weight` [C,3,3,3] and `bias` [C], if
/// there is one, LeakyReLU (none where `slope` is 1): [N,C,H,W] channels_last of this thread's
/// activation type. On the CPU, with float32 arguments and C a multiple of 8, one custom autograd
/// node that computes in float32 and does not depend on the number of threads: libtorch's
/// convolutions reach a fifth of their usual speed with three channels. Elsewhere, and for second
/// derivatives, composed of libtorch's operators.
Tensor image_conv(const Tensor& images, const Tensor& weight, const Tensor& bias, double slope);
/// The same, composed: the oracle of the tests, and the path for everything else.
Tensor image_conv_composed(const Tensor& images, const Tensor& weight, const Tensor& bias,
                           double slope);

/// A 3x3 convolution of padding 1, or a 4x4 one of stride 2 and padding 1, without bias: `x`
/// [N,C,H,W], `weight` [O,C,3,3] or [O,C,4,4], gives [N,O,H,W] or [N,O,H/2,W/2] channels_last, by
/// minimal filtering in tiles of 4x4 outputs (Winograd 1980; Lavin and Gray 2016), which takes 2.25
/// or 6.25 products for an output and a channel where the sum takes 9 or 16. On the CPU, for `x` in
/// float32 or bfloat16 and `weight` in float32, with C a multiple of 8 (3x3: of 16) and O one of
/// 16, one custom autograd node; results differ from the sum's in the last digits and, by weights'
/// gradients, with the number of threads. Elsewhere, and for second derivatives, libtorch's
/// convolution; in bfloat16, where the processor multiplies whole tiles (AMX), its forward pass
/// too. Throws `c10::Error` for other kernels, and for odd sizes that cannot be halved. `kept`:
/// what `winograd_weights` gave for `weight` and the type of `x`, for who convolves by the same
/// weights again and again.
Tensor winograd_conv(const Tensor& x, const Tensor& weight, const Tensor& kept = {});
/// `weight` as `winograd_conv` multiplies it with images of `type`, 25/4 or 36/9 times its numbers;
/// undefined for what it leaves to libtorch.
Tensor winograd_weights(const Tensor& weight, at::ScalarType type = at::kFloat);
/// The same by libtorch alone: the oracle of the tests, and the path for everything else.
Tensor winograd_conv_composed(const Tensor& x, const Tensor& weight);
/// Whether `winograd_conv` knows a kernel of these sides and is the faster way: measured from 2048
/// output pixels on, or from 64 on where its weights are kept, on processors with AVX2; in bfloat16
/// on those that multiply pairs of it, and where they multiply whole tiles for the gradients of the
/// 4x4 kernel alone.
bool prefers_winograd(const Tensor& x, const Tensor& weight, bool keeps = false);

/// A convolution of `make_conv`: `x` [N,C,H,W] in bfloat16, `weight` [O,C,1,1], [O,C,3,3] or, of
/// stride 2, [O,C,4,4], `bias` [O] or undefined, both float32, gives [N,O,H,W] or [N,O,H/2,W/2]
/// channels_last in bfloat16: products of weights in bfloat16 with the images as they lie in
/// memory, summed in float32, by the processor's tiles (AMX) where it has them. It has no gradient,
/// and its arguments are those that `takes_direct`. `kept`: what `direct_weights` gave for
/// `weight`.
Tensor direct_conv(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                   const Tensor& kept = {});
/// `weight` as `direct_conv` multiplies it; undefined for what it does not know.
Tensor direct_weights(const Tensor& weight);
/// Whether `direct_conv` can be asked: an even number of channels, rows of outputs that fill
/// vectors, no gradient wanted, and a processor that multiplies pairs of bfloat16 or a build that
/// does without.
bool takes_direct(const Tensor& x, const Tensor& weight);
/// Whether it is also faster than libtorch.
bool prefers_direct(const Tensor& x, const Tensor& weight);

/// The generator's output with attention: `image` [N,3,H,W] and `raw` [N,4,H,W] give
/// clamp(image + attention * tanh(raw_0..2), 0, 1) and attention [N,1,H,W] = sigmoid(raw_3). On the
/// CPU in float32 one custom autograd node, elsewhere composed of libtorch's operators.
std::pair<Tensor, Tensor> add_attended_change(const Tensor& image, const Tensor& raw);
/// The same, composed: the oracle of the tests, and the path for everything else.
std::pair<Tensor, Tensor> add_attended_change_composed(const Tensor& image, const Tensor& raw);

/// LeakyReLU's slope in every network here.
constexpr double kSlope = 0.1;

/// Groups of a normalisation over `channels`: 8 channels each.
inline int64_t norm_groups(int64_t channels) { return std::max<int64_t>(1, channels / 8); }

/// libtorch's layer. While its weights are frozen (`requires_grad` is off), as those of a loaded
/// model are, it keeps them as they are multiplied.
class ConvImpl : public torch::nn::Conv2dImpl {
 public:
  using torch::nn::Conv2dImpl::Conv2dImpl;
  bool is_frozen() const { return !weight.requires_grad(); }
  /// `winograd_weights(weight, type)`, made again where the weights have changed since.
  /// Thread-safe, as the next.
  Tensor kept_weights(at::ScalarType type = at::kFloat);
  /// `direct_weights(weight)`, likewise.
  Tensor kept_direct_weights();

 private:
  struct Kept {
    Tensor weights, source;  // source shares its numbers with `weight` as it was
    int64_t version = -1;    // of `weight` then
  };
  template <typename Make>
  Tensor kept_in(Kept& kept, const Make& make);

  std::mutex mutex_;
  Kept winograd_, winograd_bfloat16_, direct_;  // each its own: a network is asked in turn
};
TORCH_MODULE(Conv);

/// Kernels of 1x1 and 3x3 keep an image's size, those of 4x4 halve it.
constexpr int64_t stride_of(int64_t kernel) { return kernel == 4 ? 2 : 1; }
constexpr int64_t padding_of(int64_t kernel) { return (kernel - 1) / 2; }
Conv make_conv(int64_t in, int64_t out, int64_t kernel, bool bias = false);

/// While it lives, the networks of this thread convolve in `type` and keep their activations in it:
/// float32, which is the default, or bfloat16, which takes half of the memory traffic and, on
/// processors that have it, half of the time. Weights, their gradients, the statistics of
/// normalisations, everything after the last convolution and all losses stay float32.
class ActivationType {
 public:
  explicit ActivationType(at::ScalarType type);
  /// `kAuto` is bfloat16 where `device` multiplies it natively.
  ActivationType(Precision precision, at::Device device);
  ~ActivationType();
  ActivationType(const ActivationType&) = delete;
  ActivationType& operator=(const ActivationType&) = delete;

 private:
  at::ScalarType before_;
};

/// What this thread's networks convolve in, given the type of a layer's input: a network of float64
/// keeps its type.
at::ScalarType activation_type_for(const Tensor& x);

/// What statistics and outputs are kept in: float32 where the activations are bfloat16.
at::ScalarType full_type(const Tensor& x);

/// Whether `x` [N,C,H,W] suits the kernels over channels: on the CPU, float32 or bfloat16, C a
/// multiple of 8, not empty.
bool suits_kernels(const Tensor& x);

/// Whether a gradient may be asked of what is computed from `inputs`. Where none will be, nodes are
/// not made, which for a small image takes as long as what they compute.
bool needs_gradient(at::ArrayRef<Tensor> inputs);

/// `layer` of `make_conv` applied to `x` in this thread's activation type.
Tensor convolve(Conv& layer, const Tensor& x);

/// Lays every convolution's weights out channels_last, as the activations are.
void to_channels_last(torch::nn::Module& module);

/// Images [N,3,H,W] in [0,1] -> [-1,1], channels_last: the first thing that every network does.
Tensor normalise(const Tensor& images);

/// Average and maximum over the pixels, side by side, in float32 at least: [N,C,H,W] -> [N,2C].
/// Pixels that share the maximum share its gradient. On the CPU in float32 and bfloat16, with C a
/// multiple of 8, one custom autograd node that does not depend on the number of threads;
/// elsewhere, and for second derivatives, composed of libtorch's operators.
Tensor average_and_max(const Tensor& x);
/// The same, composed: the oracle of the tests, and the path for everything else.
Tensor average_and_max_composed(const Tensor& x);

/// Throws `Error(kArgument)` unless `images` is [N,3,H,W] with H and W multiples of `stride`.
void check_images(const Tensor& images, int64_t stride);

/// `group_norm_act` with a learned gain and bias per channel. With `num_classes` > 0 the target
/// modulates it by FiLM (Perez et al. 2018): h(1+a)+b with a and b [C] learned per class, near zero
/// at first.
class NormActImpl : public torch::nn::Module {
 public:
  explicit NormActImpl(int64_t channels, double slope = kSlope, int64_t num_classes = 0);
  /// `x` [N,C,H,W]; `target` [N] int64 in [0,num_classes), unused without FiLM.
  Tensor forward(const Tensor& x, const Tensor& target = {});

 private:
  /// Gain and bias [N,C] for each sample's target.
  std::pair<Tensor, Tensor> modulated(const Tensor& target);

  int64_t groups_;
  double slope_;
  Tensor gain_, bias_;
  torch::nn::Embedding film_{nullptr};
};
TORCH_MODULE(NormAct);

/// Convolution, normalisation, activation.
class ConvBlockImpl : public torch::nn::Module {
 public:
  ConvBlockImpl(int64_t in, int64_t out, int64_t kernel, int64_t num_classes = 0);
  Tensor forward(const Tensor& x, const Tensor& target = {});
  /// The same of images [N,3,H,W] in [0,1], which are normalised first (a kernel of 3x3).
  Tensor of_images(const Tensor& images);

 private:
  Conv conv_;
  NormAct norm_;
};
TORCH_MODULE(ConvBlock);

/// conv3-norm-act-conv3-norm, added to the input, and the activation after it (He et al. 2016).
class ResidualBlockImpl : public torch::nn::Module {
 public:
  explicit ResidualBlockImpl(int64_t channels);
  Tensor forward(const Tensor& x);

 private:
  ConvBlock first_;
  Conv second_;
  NormAct norm_;
};
TORCH_MODULE(ResidualBlock);

/// The way down: conv3 stem, per further width a conv4 of stride 2, residual blocks.
class EncoderImpl : public torch::nn::Module {
 public:
  EncoderImpl(const std::vector<int64_t>& widths, int64_t residual_blocks);
  /// `x` [N,3,H,W] in [0,1] -> features per level, [N,widths[i],H/2^i,W/2^i]; the last is the
  /// bottleneck.
  std::vector<Tensor> forward(const Tensor& x);

 private:
  std::vector<ConvBlock> levels_;
  std::vector<ResidualBlock> residual_;
};
TORCH_MODULE(Encoder);

/// One step up: 1x1 convolution at the low resolution, bilinear x2, skip concatenated, conv3.
class UpBlockImpl : public torch::nn::Module {
 public:
  UpBlockImpl(int64_t in, int64_t out, int64_t num_classes);
  /// `x` [N,in,H,W], `skip` [N,out,2H,2W] -> [N,out,2H,2W].
  Tensor forward(const Tensor& x, const Tensor& skip, const Tensor& target);

 private:
  Conv project_;
  ConvBlock merge_;
};
TORCH_MODULE(UpBlock);

/// The way up, from the bottleneck to `outputs` channels at full size. With `num_classes` > 0 the
/// target enters here, by FiLM at the bottleneck and at each level.
class DecoderImpl : public torch::nn::Module {
 public:
  DecoderImpl(const std::vector<int64_t>& widths, int64_t outputs, int64_t num_classes);
  /// `features` as `Encoder` gives them -> [N,outputs,H,W] float32.
  Tensor forward(const std::vector<Tensor>& features, const Tensor& target = {});
  /// The last layer, for its owner to initialise.
  Conv& output() { return output_; }

 private:
  ConvBlock entry_;
  std::vector<UpBlock> levels_;  // from the lowest resolution up
  Conv output_;
};
TORCH_MODULE(Decoder);

}  // namespace flipside
