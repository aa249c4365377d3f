#include "flipside/explain/views.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "flipside/core/device.h"
#include "flipside/model/blocks.h"

namespace flipside {
namespace {

constexpr int64_t kImagesAtOnce = 16;    // that fill the processor
constexpr int64_t kPixelsAtOnce = 4096;  // that are worth a thread of their own

/// Where a view finds the pixels of an image of `height` x `width`: it shows at (y,x) the image's
/// number `first` + y * `down` + x * `right`.
struct Walk {
  int64_t height, width, first = 0, down, right = 1;

  Walk(int64_t of_height, int64_t of_width) : height(of_height), width(of_width), down(of_width) {}

  Walk& mirror() {
    first += (width - 1) * right;
    right = -right;
    return *this;
  }
  /// As `rot90` over height and width.
  Walk& turn(int64_t times) {
    for (; times > 0; --times) {
      first += (width - 1) * right;
      std::swap(height, width);
      down = -std::exchange(right, down);
    }
    return *this;
  }
};

Walk walk_of(const View& view, int64_t height, int64_t width) {
  Walk walk(height, width);
  if (view.mirrored) walk.mirror();
  return walk.turn(view.turns);
}

/// The way back: where the image finds the pixels of what is seen.
Walk walk_back(const View& view, int64_t height, int64_t width) {
  Walk walk = Walk(height, width).turn(view.turns == 0 ? 0 : 4 - view.turns);
  return view.mirrored ? walk.mirror() : walk;
}

/// Whether the loops below take such images.
bool can_walk(const Tensor& images) {
  return takes_fused_nodes(images.device()) && images.scalar_type() == at::kFloat &&
         images.numel() > 0 && !needs_gradient({images});
}

/// Images whose pixels are to be gathered from `from`, and dense memory for them.
struct Gathered {
  Tensor from, images;
  int64_t channels, height, width, pixels;

  Gathered(const Tensor& of, int64_t n, const Walk& walk)
      : from(of.contiguous(kChannelsLast)),
        images(at::empty({n, of.size(1), walk.height, walk.width}, of.options(), kChannelsLast)),
        channels(of.size(1)),
        height(walk.height),
        width(walk.width),
        pixels(height * width) {}

  /// `work(image, y, row)` in parallel for every row of the images.
  template <typename Work>
  void for_rows(const Work& work) const {
    auto* const first = images.data_ptr<float>();
    at::parallel_for(0, images.size(0) * height, std::max<int64_t>(1, kPixelsAtOnce / width),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t row = begin; row < end; ++row)
                         work(row / height, row % height, first + row * width * channels);
                     });
  }

  /// `take(value, gathered)` for each number of a row: of the image number `image` of `from`.
  template <typename Take>
  void gather(const Walk& walk, int64_t image, int64_t y, float* row, const Take& take) const {
    const float* at =
        from.data_ptr<float>() + (image * pixels + walk.first + y * walk.down) * channels;
    const auto all = [&](auto count) {  // a constant for the usual images
      for (int64_t x = 0; x < width; ++x, at += walk.right * count)
        for (int64_t c = 0; c < count; ++c) take(*row++, at[c]);
    };
    channels == 3 ? all(std::integral_constant<int64_t, 3>()) : all(channels);
  }
};

/// The images in one view after the other, in one batch: [V N,C,H,W] channels_last.
Tensor seen_in(const std::vector<View>& views, const Tensor& images) {
  const int64_t n = images.size(0), height = images.size(2), width = images.size(3);
  for (const View& view : views)
    TORCH_CHECK(height == width || view.turns % 2 == views[0].turns % 2,
                "views: a quarter turn of images that are not square has another shape");
  if (!can_walk(images)) {
    std::vector<Tensor> seen;
    for (const View& view : views) seen.push_back(view.of(images));
    return torch::cat(seen).contiguous(kChannelsLast);
  }
  const Gathered seen(images, static_cast<int64_t>(views.size()) * n,
                      walk_of(views[0], height, width));
  seen.for_rows([&](int64_t image, int64_t y, float* row) {
    seen.gather(walk_of(views[image / n], height, width), image % n, y, row,
                [](float& value, float gathered) { value = gathered; });
  });
  return seen.images;
}

/// The sum over the views of what was computed in `seen_in`, as it lies on the images: [N,C,H,W].
Tensor sum_undone(const std::vector<View>& views, const Tensor& seen) {
  const auto count = static_cast<int64_t>(views.size());
  const int64_t n = seen.size(0) / count, height = seen.size(2), width = seen.size(3);
  if (!can_walk(seen)) {
    const auto parts = seen.split(n);
    Tensor sum = views[0].undone(parts[0]);
    for (int64_t v = 1; v < count; ++v) sum = sum + views[v].undone(parts[v]);
    return sum;
  }
  const Gathered sum(seen, n, walk_back(views[0], height, width));
  sum.for_rows([&](int64_t image, int64_t y, float* row) {
    std::fill_n(row, sum.width * sum.channels, 0.0F);
    for (int64_t v = 0; v < count; ++v)
      sum.gather(walk_back(views[v], height, width), v * n + image, y, row,
                 [](float& value, float gathered) { value += gathered; });
  });
  return sum.images;
}

}  // namespace

Tensor View::of(const Tensor& images) const {
  const Tensor facing = mirrored ? images.flip({3}) : images;
  return turns == 0 ? facing : facing.rot90(turns, {2, 3});
}

Tensor View::undone(const Tensor& seen) const {
  const Tensor upright = turns == 0 ? seen : seen.rot90(-turns, {2, 3});
  return mirrored ? upright.flip({3}) : upright;
}

std::vector<View> views_of(const Config& config, bool square) {
  const bool average = config.explain.average_views;
  std::vector<View> views;
  for (const bool mirrored : {false, true})
    for (int64_t turns = 0; turns < 4; ++turns) {
      const bool is_seen = (!mirrored || config.data.flip) && (turns == 0 || config.data.turn);
      const bool fits = square || turns % 2 == 0;
      if (views.empty() || (average && is_seen && fits)) views.push_back({mirrored, turns});
    }
  return views;
}

Tensor mean_over_views(const std::vector<View>& views, const Tensor& images,
                       const std::function<Tensor(const Tensor& seen)>& compute) {
  const int64_t n = images.size(0), count = static_cast<int64_t>(views.size());
  const int64_t at_once = std::clamp<int64_t>(kImagesAtOnce / n, 1, count);
  Tensor sum;
  for (int64_t begin = 0; begin < count; begin += at_once) {
    const std::vector<View> some(views.begin() + begin,
                                 views.begin() + std::min(begin + at_once, count));
    const Tensor undone = sum_undone(some, compute(seen_in(some, images)));
    sum = sum.defined() ? sum + undone : undone;
  }
  return count == 1 ? sum : (sum / static_cast<double>(count)).contiguous(kChannelsLast);
}

}  // namespace flipside
