#include "flipside/explain/views.h"

#include <algorithm>

namespace flipside {
namespace {

constexpr int64_t kImagesAtOnce = 16;  // that fill the processor

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
    const int64_t end = std::min(begin + at_once, count);
    std::vector<Tensor> seen;
    for (int64_t v = begin; v < end; ++v) seen.push_back(views[v].of(images));
    const auto results = compute(torch::cat(seen).contiguous(kChannelsLast)).split(n);
    for (int64_t v = begin; v < end; ++v) {
      const Tensor result = views[v].undone(results[v - begin]);
      sum = sum.defined() ? sum + result : result;
    }
  }
  return count == 1 ? sum : (sum / static_cast<double>(count)).contiguous(kChannelsLast);
}

}  // namespace flipside
