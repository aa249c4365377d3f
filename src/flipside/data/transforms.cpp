#include "flipside/data/transforms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "flipside/core/numbers.h"

namespace flipside {
namespace {

// Plain loops: libtorch's operators would start their threads inside the loader's.

int64_t channels_of(const Tensor& pixels) { return pixels.dim() == 3 ? pixels.size(2) : 1; }

template <typename Change>
void change_both(Picture& picture, const Change& change) {
  picture.image = change(picture.image);
  if (picture.mask.defined()) picture.mask = change(picture.mask);
}

/// Pixel (x, y) of the result is pixel number `start + x * right + y * down` of a square one.
Tensor rearranged(const Tensor& pixels, int64_t start, int64_t right, int64_t down) {
  const int64_t side = pixels.size(0), channels = channels_of(pixels);
  TORCH_CHECK(pixels.size(1) == side, "pictures must be square");
  Tensor result = torch::empty_like(pixels);
  const uint8_t* from = pixels.data_ptr<uint8_t>();
  uint8_t* to = result.data_ptr<uint8_t>();
  for (int64_t y = 0; y < side; ++y)
    for (int64_t x = 0; x < side; ++x, to += channels)
      std::copy_n(from + (start + x * right + y * down) * channels, channels, to);
  return result;
}

void flip(Picture& picture, Rng& rng) {
  if (!rng.chance(0.5)) return;
  const int64_t side = picture.image.size(0);
  change_both(picture, [side](const Tensor& p) { return rearranged(p, side - 1, -1, side); });
}

/// By 90, 180 or 270 degrees clockwise.
void turn(Picture& picture, Rng& rng) {
  const int64_t quarters = rng.below(4), side = picture.image.size(0);
  if (quarters == 0) return;
  const int64_t starts[] = {(side - 1) * side, side * side - 1, side - 1};
  const int64_t rights[] = {-side, -1, side}, downs[] = {1, -side, -1};
  change_both(picture, [&](const Tensor& p) {
    return rearranged(p, starts[quarters - 1], rights[quarters - 1], downs[quarters - 1]);
  });
}

/// Where one place of a resampled axis reads: two neighbours and the second one's share.
struct Tap {
  int64_t first, second;
  float share;
  int64_t nearest() const { return share < 0.5f ? first : second; }
};

/// One axis, scaled about its centre and then moved by `move` pixels.
std::vector<Tap> axis_taps(int64_t side, double scale, double move) {
  const double centre = 0.5 * static_cast<double>(side - 1);
  std::vector<Tap> taps(side);
  for (int64_t i = 0; i < side; ++i) {
    const double at = (static_cast<double>(i) - move - centre) / scale + centre;
    const auto below = static_cast<int64_t>(std::floor(at));
    taps[i] = {mirrored(below, side), mirrored(below + 1, side),
               static_cast<float>(at - static_cast<double>(below))};
  }
  return taps;
}

Tensor warp_bilinear(const Tensor& image, const std::vector<Tap>& xs, const std::vector<Tap>& ys) {
  const int64_t width = image.size(1) * 3;
  Tensor result = torch::empty_like(image);
  const uint8_t* from = image.data_ptr<uint8_t>();
  uint8_t* to = result.data_ptr<uint8_t>();
  std::vector<float> row(width);
  for (const Tap& y : ys) {
    const uint8_t *upper = from + y.first * width, *lower = from + y.second * width;
    for (int64_t i = 0; i < width; ++i)
      row[i] = static_cast<float>(upper[i]) +
               y.share * (static_cast<float>(lower[i]) - static_cast<float>(upper[i]));
    for (const Tap& x : xs)
      for (int c = 0; c < 3; ++c) {
        const float left = row[3 * x.first + c], right = row[3 * x.second + c];
        *to++ = static_cast<uint8_t>(left + x.share * (right - left) + 0.5f);
      }
  }
  return result;
}

Tensor warp_nearest(const Tensor& mask, const std::vector<Tap>& xs, const std::vector<Tap>& ys) {
  Tensor result = torch::empty_like(mask);
  const uint8_t* from = mask.data_ptr<uint8_t>();
  uint8_t* to = result.data_ptr<uint8_t>();
  for (const Tap& y : ys)
    for (const Tap& x : xs) *to++ = from[y.nearest() * mask.size(1) + x.nearest()];
  return result;
}

/// Scales about the centre by 1 +- zoom and moves by up to `shift` of each side, in one warp.
void zoom_and_shift(Picture& picture, double zoom, double shift, Rng& rng) {
  const int64_t side = picture.image.size(0);
  const double scale = rng.uniform(1 - zoom, 1 + zoom);
  const double move_x = rng.uniform(-shift, shift) * static_cast<double>(side);
  const double move_y = rng.uniform(-shift, shift) * static_cast<double>(side);
  const auto xs = axis_taps(side, scale, move_x), ys = axis_taps(side, scale, move_y);
  picture.image = warp_bilinear(picture.image, xs, ys);
  if (picture.mask.defined()) picture.mask = warp_nearest(picture.mask, xs, ys);
}

/// value * factor + term for every byte, rounded; what is beyond 0 and 255 stays there.
std::array<uint8_t, 256> light_table(double factor, double term) {
  std::array<uint8_t, 256> table{};
  for (int value = 0; value < 256; ++value)
    table[value] = static_cast<uint8_t>(std::clamp(std::lrint(value * factor + term), 0L, 255L));
  return table;
}

/// Of bytes RGBRGB...
bool has_colour(const Tensor& image) {
  const uint8_t* pixel = image.data_ptr<uint8_t>();
  for (int64_t i = 0; i < image.numel(); i += 3)
    if (pixel[i] != pixel[i + 1] || pixel[i] != pixel[i + 2]) return true;
  return false;
}

/// Every channel through its table.
Tensor relit(const Tensor& image, const std::array<uint8_t, 256> (&tables)[3]) {
  Tensor result = torch::empty_like(image);
  const uint8_t* from = image.data_ptr<uint8_t>();
  uint8_t* to = result.data_ptr<uint8_t>();
  for (int64_t i = 0; i < image.numel(); i += 3)
    for (int64_t c = 0; c < 3; ++c) to[i + c] = tables[c][from[i + c]];
  return result;
}

void change_light(Picture& picture, double gain, double offset, Rng& rng) {
  const double factor = rng.uniform(1 - gain, 1 + gain);
  const double term = 255 * rng.uniform(-offset, offset);
  const auto table = light_table(factor, term);
  picture.image = relit(picture.image, {table, table, table});
}

/// Gray images stay gray: a camera without colour sees none under any lamp.
void tint_light(Picture& picture, double tint, Rng& rng) {
  std::array<uint8_t, 256> tables[3];
  for (auto& table : tables) table = light_table(rng.uniform(1 - tint, 1 + tint), 0);
  if (has_colour(picture.image)) picture.image = relit(picture.image, tables);
}

}  // namespace

Transform training_transform(const DataConfig& config) {
  return [config](Picture picture, Rng& rng) {
    if (config.flip) flip(picture, rng);
    if (config.turn) turn(picture, rng);
    // Warping blurs; the others stay as sharp as those that will be asked about.
    if ((config.zoom > 0 || config.shift > 0) && rng.chance(config.warp_fraction))
      zoom_and_shift(picture, config.zoom, config.shift, rng);
    if (config.gain > 0 || config.offset > 0)
      change_light(picture, config.gain, config.offset, rng);
    if (config.tint > 0) tint_light(picture, config.tint, rng);
    return picture;
  };
}

}  // namespace flipside
