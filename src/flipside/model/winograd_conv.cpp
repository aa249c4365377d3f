#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <cstring>

#include "flipside/core/device.h"
#include "flipside/model/blocks.h"
#include "flipside/model/composed_gradients.h"
#include "flipside/model/winograd_kernels.h"
#include "flipside/model/winograd_points.h"

namespace flipside {
namespace {

using kernels::kPanel;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

constexpr int64_t kPointsAtOnce = 6;  // that a thread takes of a small image

/// `work(first, count)` for tiles from `begin` to `end`, as many at once as fit.
template <typename Work>
void for_chunks(const WinogradSizes& s, int64_t begin, int64_t end, const Work& work) {
  const int64_t most = s.tiles_at_once();
  for (int64_t first = begin; first < end; first += most) work(first, std::min(most, end - first));
}

/// `weights` by `weights_to_output`.
Tensor winograd_forward(const Tensor& x, const WinogradSizes& s, const Tensor& weights) {
  Tensor y = at::empty({s.n, s.out, s.out_height, s.out_width}, x.options(), kChannelsLast);
  const auto *from = x.data_ptr<float>(), *panels = weights.data_ptr<float>();
  auto* to = y.data_ptr<float>();
  const auto multiply = [&](const WinogradTiles& tiles, int64_t count, int64_t point) {
    kernels::multiply({count, s.depth(), s.out}, {tiles.input(point), s.depth(), 1},
                      {panels + point * s.depth() * s.out, s.depth() * kPanel, kPanel},
                      {tiles.output(point), s.out}, /*adds=*/false);
  };
  const int64_t all = s.n * s.tiles();
  if (all <= s.tiles_at_once()) {  // one thread's share: the points are shared out instead
    const WinogradTiles tiles(s);
    tiles.read_input(from, 0, all);
    at::parallel_for(0, s.all_points(), kPointsAtOnce, [&](int64_t begin, int64_t end) {
      for (int64_t point = begin; point < end; ++point) multiply(tiles, all, point);
    });
    tiles.write_output(to, 0, all);
    return y;
  }
  at::parallel_for(0, all, s.tiles_at_once(), [&](int64_t begin, int64_t end) {
    const WinogradTiles tiles(s);
    for_chunks(s, begin, end, [&](int64_t first, int64_t count) {
      tiles.read_input(from, first, count);
      for (int64_t point = 0; point < s.all_points(); ++point) multiply(tiles, count, point);
      tiles.write_output(to, first, count);
    });
  });
  return y;
}

/// The gradients of one call, for the images that a thread takes.
class WinogradGradients {
 public:
  WinogradGradients(const Tensor& x, const Tensor& weight, const Tensor& dy)
      : s_(x, weight), x_(x), dy_(dy) {
    // Tiles overlap in x, and each thread sums the weights' gradient by itself: threads take whole
    // images, in slices, so that no sum depends on who is first.
    slices_ = std::min<int64_t>(s_.n, at::get_num_threads());
    if (x.requires_grad()) {
      dx_ = at::empty(x.sizes(), x.options(), kChannelsLast);
      weights_ = weights_to_input(s_, weight);
    }
    if (weight.requires_grad())
      dtaps_ = at::empty({slices_, s_.out, s_.side(), s_.side(), s_.channels}, x.options());
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
  void run_slice(int64_t slice) {
    const int64_t begin = slice * s_.n / slices_, end = (slice + 1) * s_.n / slices_;
    const WinogradTiles tiles(s_);
    if (dx_.defined())
      std::memset(dx() + begin * s_.image(), 0, sizeof(float) * (end - begin) * s_.image());
    Tensor dpoints;
    if (dtaps_.defined()) dpoints = at::empty({s_.all_points(), s_.out, s_.depth()}, x_.options());
    const int64_t first_tile = begin * s_.tiles();
    for_chunks(s_, first_tile, end * s_.tiles(), [&](int64_t first, int64_t count) {
      tiles.read_output(dy_.data_ptr<float>(), first, count);
      if (dpoints.defined()) {
        tiles.read_input(x_.data_ptr<float>(), first, count);
        add_to_weights(tiles, count, first > first_tile, dpoints.data_ptr<float>());
      }
      if (!dx_.defined()) return;
      to_input(tiles, count);
      tiles.add_to_input(dx(), first, count);
    });
    if (dpoints.defined())
      points_to_weights(s_, dpoints.data_ptr<float>(), dtaps_[slice].data_ptr<float>());
  }

  void add_to_weights(const WinogradTiles& tiles, int64_t count, bool adds, float* dpoints) const {
    for (int64_t point = 0; point < s_.all_points(); ++point)
      kernels::multiply({s_.out, count, s_.depth()}, {tiles.output(point), 1, s_.out},
                        {tiles.input(point), kPanel, s_.depth()},
                        {dpoints + point * s_.out * s_.depth(), s_.depth()}, adds);
  }

  void to_input(const WinogradTiles& tiles, int64_t count) const {
    const auto* panels = weights_.data_ptr<float>();
    for (int64_t point = 0; point < s_.all_points(); ++point)
      kernels::multiply({count, s_.out, s_.depth()}, {tiles.output(point), s_.out, 1},
                        {panels + point * s_.out * s_.depth(), s_.out * kPanel, kPanel},
                        {tiles.input(point), s_.depth()}, /*adds=*/false);
  }

  float* dx() const { return dx_.data_ptr<float>(); }

  WinogradSizes s_;
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

/// Whether the node can do what fits.
bool takes_winograd(const Tensor& x, const Tensor& weight) {
  return takes_weights(WinogradSizes(x, weight), weight) && x.is_cpu() &&
         x.scalar_type() == at::kFloat && x.numel() > 0;
}

class WinogradConv : public torch::autograd::Function<WinogradConv> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const c10::optional<Tensor>& kept) {
    RECORD_FUNCTION("flipside::winograd_conv", (std::vector<c10::IValue>{x, weight}));
    context->save_for_backward({x, weight});
    const WinogradSizes s(x, weight);
    return winograd_forward(x, s, kept ? *kept : weights_to_output(s, weight));
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
      gradients = WinogradGradients(x, weight, dy).run();
    }
    gradients.resize(3);  // none for what is kept
    return gradients;
  }
};

}  // namespace

Tensor winograd_conv_composed(const Tensor& x, const Tensor& weight) {
  if (weight.size(2) == 4) return halving_conv_composed(x, weight);
  return at::conv2d(x, weight, /*bias=*/{}, /*stride=*/1, /*padding=*/1);
}

Tensor winograd_conv(const Tensor& x, const Tensor& weight, const Tensor& kept) {
  TORCH_CHECK(fits_winograd(x, weight),
              "winograd_conv: needs a 3x3 kernel, or a 4x4 one and an even height and width");
  if (!takes_winograd(x, weight)) return winograd_conv_composed(x, weight);
  return WinogradConv::apply(x.contiguous(kChannelsLast), weight,
                             kept.defined() ? c10::make_optional(kept) : c10::nullopt);
}

Tensor winograd_weights(const Tensor& weight) {
  const int64_t side = weight.size(2);
  if (weight.size(3) != side || (side != 3 && side != 4)) return {};
  const WinogradSizes s(/*x=*/weight, weight);  // of x, only the channels matter
  return takes_weights(s, weight) ? weights_to_output(s, weight.detach()) : Tensor();
}

bool prefers_winograd(const Tensor& x, const Tensor& weight, bool keeps) {
  // Below, the weights' way to the points takes longer than the sums, or reading them there does.
  const int64_t few_pixels = keeps ? 64 : 2048;
  if (!kernels::has_winograd_vectors() || !fits_winograd(x, weight) || !takes_winograd(x, weight))
    return false;
  const WinogradSizes s(x, weight);
  return s.n * s.out_height * s.out_width >= few_pixels;
}

}  // namespace flipside
