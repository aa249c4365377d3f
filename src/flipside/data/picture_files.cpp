#include "flipside/data/picture_files.h"

#include <opencv2/core/utility.hpp>
#include <opencv2/imgcodecs.hpp>

#include "flipside/data/image_io.h"

namespace flipside {
namespace {

/// OpenCV's own threads would take the processors from libtorch's.
void use_one_thread() {
  static const bool once = [] {
    cv::setNumThreads(1);
    return true;
  }();
  static_cast<void>(once);
}

Tensor bytes_of_pixels(const cv::Mat& pixels) {
  Tensor bytes = torch::empty({pixels.rows, pixels.cols, pixels.channels()}, torch::kUInt8);
  pixels.copyTo(cv::Mat(pixels.rows, pixels.cols, pixels.type(), bytes.data_ptr()));
  return pixels.channels() == 1 ? bytes.squeeze(2) : bytes;
}

cv::Size square(int64_t side) { return {static_cast<int>(side), static_cast<int>(side)}; }

}  // namespace

bool handles_image_files() { return true; }

Picture read_picture(const ImageRecord& record, int64_t side, ImageSize* native_size) {
  use_one_thread();
  const cv::Mat image = read_image(record.image);
  if (native_size != nullptr) *native_size = {image.cols, image.rows};
  Picture picture{bytes_of_pixels(resize_image(image, square(side))), {}};
  if (!record.mask.empty())
    picture.mask = bytes_of_pixels(resize_mask(read_mask(record.mask, image.size()), square(side)));
  return picture;
}

Tensor read_square(const fs::path& image, int64_t side) {
  use_one_thread();
  return bytes_of_pixels(resize_image(read_image(image), square(side)));
}

Tensor through_jpeg(const Tensor& images, int quality) {
  std::vector<Tensor> changed;
  for (int64_t i = 0; i < images.size(0); ++i) {
    std::vector<uint8_t> bytes;
    cv::imencode(".jpg", to_image(images[i]), bytes, {cv::IMWRITE_JPEG_QUALITY, quality});
    // The order of the channels comes back as it went in.
    changed.push_back(to_tensor(cv::imdecode(bytes, cv::IMREAD_COLOR)));
  }
  return torch::stack(changed).contiguous(kChannelsLast);
}

}  // namespace flipside
