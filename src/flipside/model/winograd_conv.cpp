#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include <algorithm>

#include "flipside/core/device.h"
#include "flipside/model/amx_kernels.h"
#include "flipside/model/blocks.h"
#include "flipside/model/composed_gradients.h"
#include "flipside/model/winograd_kernels.h"
#include "flipside/model/winograd_points.h"

namespace flipside {
namespace {

using kernels::BFloatBits;
using kernels::kPanel;
using kernels::LeftOf;
using kernels::RightOf;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kPointsAtOnce = 6;  // that a thread takes of a small image
constexpr int64_t kFewTiles = 8;      // are not worth a thread of their own
constexpr int64_t kHandedOver = 8;    // weights that a number from another core is worth

/// `work(first, count)` for tiles from `begin` to `end`, `most` at once.
template <typename Work>
void for_chunks(int64_t most, int64_t begin, int64_t end, const Work& work) {
  for (int64_t first = begin; first < end; first += most) work(first, std::min(most, end - first));
}

/// Whether threads take points in place of tiles, of which there is one thread's share: where each
/// of them saves fetching many more weights than what tiles become, which cores hand each other.
bool shares_points(const WinogradSizes& s, int64_t tiles) {
  return tiles <= kFewTiles && s.depth() * s.out >= kHandedOver * tiles * (s.depth() + s.out);
}

/// `weights` by `weights_to_output`.
template <typename Number>
Tensor winograd_forward(const Tensor& x, const WinogradSizes& s, const Tensor& weights) {
  using Element = WinogradElement<Number>;
  constexpr int64_t packed = kPacked<Number>;
  Tensor y = at::empty({s.n, s.out, s.out_height, s.out_width}, x.options(), kChannelsLast);
  const auto* from = numbers_of<Number>(x);
  const auto* panels = reinterpret_cast<const Element*>(numbers_of<Number>(weights));
  auto* to = numbers_of<Number>(y);
  const int64_t depth = s.depth() / packed;
  const auto multiply = [&](const WinogradTiles<Number>& tiles, int64_t count, int64_t point,
                            int64_t points) {
    kernels::multiply({count, depth, s.out}, LeftOf<Element>{tiles.input(point), depth, 1},
                      RightOf<Element>{panels + point * depth * s.out, depth * kPanel, kPanel},
                      {tiles.output_sums(point), s.out}, /*adds=*/false,
                      {points, tiles.input_step(), depth * s.out, tiles.output_step()});
  };
  const int64_t all = s.n * s.tiles(), at_once = s.tiles_at_once(packed);
  if (shares_points(s, all)) {
    const WinogradTiles<Number> tiles(s);
    tiles.read_input_rows(from, 0, all);
    at::parallel_for(0, s.all_points(), kPointsAtOnce,
                     [&](int64_t begin, int64_t end) { multiply(tiles, all, begin, end - begin); });
    tiles.write_output(to, 0, all);
    return y;
  }
  at::parallel_for(0, all, kFewTiles, [&](int64_t begin, int64_t end) {
    const WinogradTiles<Number> tiles(s);
    for_chunks(at_once, begin, end, [&](int64_t first, int64_t count) {
      tiles.read_input_rows(from, first, count);
      multiply(tiles, count, 0, s.all_points());
      tiles.write_output(to, first, count);
    });
  });
  return y;
}

/// The gradients of one call, for the images that a thread takes.
template <typename Number>
class WinogradGradients {
 public:
  WinogradGradients(const Tensor& x, const Tensor& weight, const Tensor& dy)
      : s_(x, weight), at_once_(s_.tiles_at_once(kPackedHere)), x_(x), dy_(dy) {
    // Tiles overlap in x, and each thread sums the weights' gradient by itself: threads take whole
    // images, in slices, so that no sum depends on who is first.
    slices_ = std::min<int64_t>(s_.n, at::get_num_threads());
    if (x.requires_grad()) {
      dx_ = at::empty(x.sizes(), x.options(), kChannelsLast);
      weights_ = weights_to_input(s_, weight, x.scalar_type());
    }
    if (weight.requires_grad())
      dtaps_ = at::empty({slices_, s_.out, s_.side(), s_.side(), s_.channels}, weight.options());
  }

  /// dx and dweight, where they are asked for.
  tensor_list run() {
    at::parallel_for(0, slices_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t slice = begin; slice < end; ++slice) run_slice(slice);
    });
    if (!dtaps_.defined()) return {dx_, Tensor()};
    const Tensor dtaps = slices_ == 1 ? dtaps_[0] : dtaps_.sum(/*dim=*/0);
    return {dx_, dtaps.permute({0, 3, 1, 2})};
  }

 private:
  using Element = WinogradElement<Number>;
  using Tiles = WinogradTiles<Number>;
  static constexpr int64_t kPackedHere = kPacked<Number>;

  void run_slice(int64_t slice) {
    const int64_t begin = slice * s_.n / slices_, end = (slice + 1) * s_.n / slices_;
    const Tiles tiles(s_);
    Tensor dpoints;
    if (dtaps_.defined()) dpoints = at::empty({s_.all_points(), s_.out, s_.depth()}, at::kFloat);
    const int64_t at_once = images_at_once(end - begin);
    Tensor sums;
    if (dx_.defined() && kPackedHere > 1) sums = at::empty({at_once * s_.image()}, at::kFloat);
    for (int64_t first = begin; first < end; first += at_once)
      run_images(first, std::min(first + at_once, end), /*adds=*/first > begin, tiles, dpoints,
                 sums);
    if (dpoints.defined())
      points_to_weights(s_, dpoints.data_ptr<float>(), dtaps_[slice].template data_ptr<float>());
  }

  /// All of a slice's where dx is summed in place; else as many as fill some chunks of tiles, for
  /// their sums are to stay in a core's cache.
  int64_t images_at_once(int64_t images) const {
    if (kPackedHere == 1) return images;
    return std::clamp<int64_t>(2 * at_once_ / s_.tiles(), 1, images);
  }

  void run_images(int64_t begin, int64_t end, bool adds, const Tiles& tiles, const Tensor& dpoints,
                  const Tensor& sums) const {
    const int64_t numbers = (end - begin) * s_.image(), first_tile = begin * s_.tiles();
    float* dx = nullptr;
    if (dx_.defined())
      dx = sums.defined() ? sums.data_ptr<float>() : dx_.data_ptr<float>() + begin * s_.image();
    for_chunks(at_once_, first_tile, end * s_.tiles(), [&](int64_t first, int64_t count) {
      tiles.read_output(numbers_of<Number>(dy_), first, count);
      if (dpoints.defined()) {
        tiles.read_input_columns(numbers_of<Number>(x_), first, count);
        add_to_weights(tiles, count, adds || first > first_tile, dpoints.data_ptr<float>());
      }
      if (!dx) return;
      to_input(tiles, count);
      tiles.write_input(dx, begin, first, count);
    });
    if constexpr (kPackedHere > 1)
      if (dx) kernels::to_bfloat16(dx, numbers, numbers_of<Number>(dx_) + begin * s_.image());
  }

  void add_to_weights(const Tiles& tiles, int64_t count, bool adds, float* dpoints) const {
    const int64_t packs = (count + kPackedHere - 1) / kPackedHere;
    kernels::multiply(
        {s_.out, packs, s_.depth()}, LeftOf<Element>{tiles.output_columns(0), 1, s_.out},
        RightOf<Element>{tiles.input(0), kPanel, s_.depth()}, {dpoints, s_.depth()}, adds,
        {s_.all_points(), tiles.output_step(), tiles.input_step(), s_.out * s_.depth()});
  }

  void to_input(const Tiles& tiles, int64_t count) const {
    const auto* panels = reinterpret_cast<const Element*>(numbers_of<Number>(weights_));
    const int64_t depth = s_.out / kPackedHere;
    kernels::multiply(
        {count, depth, s_.depth()}, LeftOf<Element>{tiles.output_rows(0), depth, 1},
        RightOf<Element>{panels, depth * kPanel, kPanel}, {tiles.input_sums(0), s_.depth()},
        /*adds=*/false,
        {s_.all_points(), tiles.output_step(), depth * s_.depth(), tiles.input_step()});
  }

  WinogradSizes s_;
  int64_t at_once_;
  const Tensor &x_, &dy_;
  int64_t slices_;
  Tensor dx_, weights_, dtaps_;
};

/// Whether the kernel keeps the size of `x`, or halves an even one.
bool fits_winograd(const Tensor& x, const Tensor& weight) {
  const int64_t side = weight.size(2);
  const bool halves = side == 4 && x.size(2) % 2 == 0 && x.size(3) % 2 == 0;
  return weight.size(3) == side && (side == 3 || halves);
}

/// Whether the node knows such weights, of a kernel that fits.
bool takes_weights(const WinogradSizes& s, const Tensor& weight) {
  return takes_fused_nodes(weight.device()) && weight.scalar_type() == at::kFloat &&
         s.channels % 8 == 0 && s.depth() % kPanel == 0 && s.out % kPanel == 0;
}

bool takes_type(at::ScalarType type) {
  return type == at::kFloat || (type == at::kBFloat16 && kernels::can_multiply_pairs());
}

/// Whether the node can do what fits.
bool takes_winograd(const Tensor& x, const Tensor& weight) {
  return takes_weights(WinogradSizes(x, weight), weight) && x.is_cpu() &&
         takes_type(x.scalar_type()) && x.numel() > 0;
}

bool has_fast_vectors(at::ScalarType type) {
  return type == at::kFloat ? kernels::has_winograd_vectors() : kernels::has_pair_products();
}

/// Where the processor multiplies whole tiles of matrices, libtorch's convolutions in bfloat16 are
/// the faster ones; of gradients those of stride 2 are not, by far.
bool leaves_forward(at::ScalarType type) { return type == at::kBFloat16 && kernels::has_amx(); }
bool is_worth_it(at::ScalarType type, const Tensor& weight) {
  return !leaves_forward(type) || (at::GradMode::is_enabled() && weight.size(2) == 4);
}

Tensor output_of(const Tensor& x, const Tensor& weight, const Tensor& kept) {
  RECORD_FUNCTION("flipside::winograd_conv", (std::vector<c10::IValue>{x, weight}));
  if (leaves_forward(x.scalar_type())) return winograd_conv_composed(x, weight);
  const WinogradSizes s(x, weight);
  const Tensor weights = kept.defined() ? kept : weights_to_output(s, weight, x.scalar_type());
  return x.scalar_type() == at::kFloat ? winograd_forward<float>(x, s, weights)
                                       : winograd_forward<BFloatBits>(x, s, weights);
}

class WinogradConv : public torch::autograd::Function<WinogradConv> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const c10::optional<Tensor>& kept) {
    context->save_for_backward({x, weight});
    return output_of(x, weight, kept.value_or(Tensor()));
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& outputs) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    tensor_list gradients;
    if (at::GradMode::is_enabled()) {
      gradients = composed_gradients(
          saved, outputs, [&] { return tensor_list{winograd_conv_composed(x, weight)}; });
    } else {
      RECORD_FUNCTION(
          "flipside::winograd_conv_backward",
          (std::vector<c10::IValue>{x, weight, x.requires_grad(), weight.requires_grad()}));
      const Tensor dy = outputs[0].contiguous(kChannelsLast);
      gradients = x.scalar_type() == at::kFloat
                      ? WinogradGradients<float>(x, weight, dy).run()
                      : WinogradGradients<BFloatBits>(x, weight, dy).run();
    }
    gradients.resize(3);  // none for what is kept
    return gradients;
  }
};

}  // namespace

Tensor winograd_conv_composed(const Tensor& x, const Tensor& weight) {
  const Tensor alike = weight.to(x.scalar_type());
  return at::conv2d(x, alike, /*bias=*/{}, stride_of(weight.size(2)), padding_of(weight.size(2)));
}

Tensor winograd_conv(const Tensor& x, const Tensor& weight, const Tensor& kept) {
  TORCH_CHECK(fits_winograd(x, weight),
              "winograd_conv: needs a 3x3 kernel, or a 4x4 one and an even height and width");
  if (!takes_winograd(x, weight)) return winograd_conv_composed(x, weight);
  const Tensor in = x.contiguous(kChannelsLast);
  if (!needs_gradient({in, weight})) return output_of(in, weight, kept);
  return WinogradConv::apply(in, weight, kept.defined() ? c10::make_optional(kept) : c10::nullopt);
}

Tensor winograd_weights(const Tensor& weight, at::ScalarType type) {
  const int64_t side = weight.size(2);
  if (weight.size(3) != side || (side != 3 && side != 4)) return {};
  const WinogradSizes s(/*x=*/weight, weight);  // of x, only the channels matter
  if (!takes_weights(s, weight) || !takes_type(type) || leaves_forward(type)) return {};
  return weights_to_output(s, weight.detach(), type);
}

bool prefers_winograd(const Tensor& x, const Tensor& weight, bool keeps) {
  // Below, the weights' way to the points takes longer than the sums, or reading them there does.
  const int64_t few_pixels = keeps ? 64 : 2048;
  if (!has_fast_vectors(x.scalar_type()) || !is_worth_it(x.scalar_type(), weight) ||
      !fits_winograd(x, weight) || !takes_winograd(x, weight))
    return false;
  const WinogradSizes s(x, weight);
  return s.n * s.out_height * s.out_width >= few_pixels;
}

}  // namespace flipside
