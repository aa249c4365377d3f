#include <ATen/record_function.h>

#include "flipside/model/blocks.h"

namespace flipside {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// The gradient for the input, of pixels [2i+a, 2j+b]: with k = 3 - a - 2r and l = 3 - b - 2s,
///
///   dx[c, 2i+a, 2j+b] = sum over o, r, s of weight[o,c,k,l] dy[o, i+a+r-1, j+b+s-1],
///
/// that is, for each a a convolution of 2x2 taps and twice the channels, one for each b (Shi et al.
/// 2016, from the other side). Differentiable again, for it is composed of libtorch's operators.
Tensor input_gradient(const Tensor& dy, const Tensor& weight) {
  RECORD_FUNCTION("flipside::halving_conv_to_input", (std::vector<c10::IValue>{dy, weight}));
  const int64_t n = dy.size(0), height = dy.size(2), width = dy.size(3);
  const int64_t out = weight.size(0), channels = weight.size(1);
  // [a, 1-b, c, o, r, s]: the odd columns before the even ones.
  const Tensor taps = weight.flip({2, 3})
                          .reshape({out, channels, 2, 2, 2, 2})
                          .permute({3, 5, 1, 0, 2, 4})
                          .flip({1})
                          .reshape({2, 2 * channels, out, 2, 2});
  std::vector<Tensor> rows;
  for (const int64_t a : {0, 1}) {
    const Tensor z = at::conv2d(dy, taps[a].contiguous(kChannelsLast), /*bias=*/{}, /*stride=*/1,
                                /*padding=*/1);
    // What belongs to column 2j lies before what belongs to 2j+1, which is the next pixel's first
    // half: without its first and last `channels` numbers a row of z is a row of dx.
    const Tensor lines =
        z.permute({0, 2, 3, 1}).reshape({n, height + 1, (width + 1) * 2 * channels});
    rows.push_back(lines.slice(1, a, a + height).narrow(2, channels, width * 2 * channels));
  }
  return at::stack(rows, /*dim=*/2)
      .reshape({n, 2 * height, 2 * width, channels})
      .permute({0, 3, 1, 2});
}

/// The gradient for the weights, dweight[o,c,k,l] = sum over n, i, j of dy[n,o,i,j]
/// x[n,c,2i+k-1,2j+l-1]: of small images as one product of matrices, which takes half to a third of
/// the time there. Large ones would be copied sixteenfold for nothing.
Tensor weight_gradient(const Tensor& dy, const Tensor& x, const Tensor& weight) {
  constexpr int64_t kFewPixels = 16 * 16;
  RECORD_FUNCTION("flipside::halving_conv_to_weight", (std::vector<c10::IValue>{dy, weight}));
  if (dy.size(2) * dy.size(3) > kFewPixels)
    return std::get<1>(at::convolution_backward(
        dy, x, weight, /*bias_sizes=*/at::OptionalIntArrayRef(), /*stride=*/{2, 2},
        /*padding=*/{1, 1}, /*dilation=*/{1, 1}, /*transposed=*/false, /*output_padding=*/{0, 0},
        /*groups=*/1, /*output_mask=*/{false, true, false}));
  const int64_t out = weight.size(0), channels = weight.size(1);
  const Tensor padded = at::constant_pad_nd(x, {1, 1, 1, 1}).permute({0, 2, 3, 1});
  const Tensor windows = padded.unfold(/*dim=*/1, /*size=*/4, /*step=*/2)
                             .unfold(/*dim=*/2, /*size=*/4, /*step=*/2)  // [N,H,W,C,4,4]
                             .permute({0, 1, 2, 4, 5, 3})
                             .reshape({-1, 16 * channels});
  const Tensor pixels = dy.permute({0, 2, 3, 1}).reshape({-1, out});
  return pixels.t().mm(windows).view({out, 4, 4, channels}).permute({0, 3, 1, 2});
}

class HalvingConv : public torch::autograd::Function<HalvingConv> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight) {
    context->save_for_backward({x, weight});
    return halving_conv_composed(x, weight);
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& outputs) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    const Tensor dy = outputs[0].contiguous(kChannelsLast);
    Tensor dx, dweight;
    if (x.requires_grad()) dx = input_gradient(dy, weight);
    if (weight.requires_grad()) dweight = weight_gradient(dy, x, weight);
    return {dx, dweight};
  }
};

}  // namespace

Tensor halving_conv_composed(const Tensor& x, const Tensor& weight) {
  return at::conv2d(x, weight, /*bias=*/{}, /*stride=*/2, /*padding=*/1);
}

Tensor halving_conv(const Tensor& x, const Tensor& weight) {
  TORCH_CHECK(
      x.size(2) % 2 == 0 && x.size(3) % 2 == 0 && weight.size(2) == 4 && weight.size(3) == 4,
      "halving_conv: needs an even height and width and a 4x4 kernel");
  return HalvingConv::apply(x.contiguous(kChannelsLast), weight);
}

}  // namespace flipside
