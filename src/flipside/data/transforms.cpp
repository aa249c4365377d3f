#include "flipside/data/transforms.h"

#include <cmath>
#include <opencv2/imgproc.hpp>

namespace flipside {
namespace {

template <typename Change>
void change_both(Picture& picture, const Change& change) {
  change(picture.image);
  if (!picture.mask.empty()) change(picture.mask);
}

void flip(Picture& picture, Rng& rng) {
  if (!rng.chance(0.5)) return;
  change_both(picture, [](cv::Mat& pixels) {
    cv::Mat flipped;
    cv::flip(pixels, flipped, /*left-right*/ 1);
    pixels = flipped;
  });
}

void turn(Picture& picture, Rng& rng) {
  const int64_t quarters = rng.below(4);
  if (quarters == 0) return;
  const auto code = static_cast<cv::RotateFlags>(quarters - 1);  // 90, 180, 270 degrees clockwise
  change_both(picture, [code](cv::Mat& pixels) {
    cv::Mat turned;
    cv::rotate(pixels, turned, code);
    pixels = turned;
  });
}

/// Scales about the centre by 1 +- zoom and moves by up to `shift` of each side, in one warp.
void zoom_and_shift(Picture& picture, double zoom, double shift, Rng& rng) {
  const double scale = rng.uniform(1 - zoom, 1 + zoom);
  const double move_x = rng.uniform(-shift, shift) * picture.image.cols;
  const double move_y = rng.uniform(-shift, shift) * picture.image.rows;
  const double centre_x = 0.5 * (picture.image.cols - 1), centre_y = 0.5 * (picture.image.rows - 1);
  const cv::Matx23d map(scale, 0, (1 - scale) * centre_x + move_x,  //
                        0, scale, (1 - scale) * centre_y + move_y);
  const auto warp = [&map](cv::Mat& pixels, int interpolation) {
    cv::Mat warped;
    cv::warpAffine(pixels, warped, map, pixels.size(), interpolation, cv::BORDER_REFLECT_101);
    pixels = warped;
  };
  warp(picture.image, cv::INTER_LINEAR);
  if (!picture.mask.empty()) warp(picture.mask, cv::INTER_NEAREST);
}

void change_light(Picture& picture, double gain, double offset, Rng& rng) {
  const double factor = rng.uniform(1 - gain, 1 + gain);
  const double term = 255 * rng.uniform(-offset, offset);
  cv::Mat lit;
  picture.image.convertTo(lit, CV_8U, factor, term);  // saturates
  picture.image = lit;
}

void tint_light(Picture& picture, double tint, Rng& rng) {
  cv::Scalar factors;
  for (int channel = 0; channel < 3; ++channel) factors[channel] = rng.uniform(1 - tint, 1 + tint);
  cv::Mat lit;
  cv::multiply(picture.image, factors, lit);  // saturates
  picture.image = lit;
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
