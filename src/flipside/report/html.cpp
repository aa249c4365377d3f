#include "flipside/report/html.h"

#include <algorithm>
#include <opencv2/imgcodecs.hpp>

#include "flipside/core/error.h"
#include "flipside/data/image_io.h"

namespace flipside {
namespace {

constexpr int kJpegQuality = 88;  // of 100: no visible blocks at the sizes shown

}  // namespace

std::string base64(const std::string& bytes) {
  static const char* const kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (k < count ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) text += k <= count ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::string data_uri(const cv::Mat& image, PictureCode code) {
  if (image.empty() || (image.type() != CV_8UC3 && image.type() != CV_8UC1))
    fail(ErrorCode::kArgument, "data_uri: the picture must be CV_8UC3 or CV_8UC1 and not empty");
  const bool is_png = code == PictureCode::kPng;
  const std::vector<int> how = is_png ? std::vector<int>{cv::IMWRITE_PNG_COMPRESSION, 9}
                                      : std::vector<int>{cv::IMWRITE_JPEG_QUALITY, kJpegQuality};
  const char* const type = is_png ? "png" : "jpeg";
  return fmt::format("data:image/{};base64,{}", type,
                     base64(encode_image(std::string("picture.") + type, image, how)));
}

std::string picture_element(const cv::Mat& image, PictureCode code,
                            const std::string& alternative) {
  return fmt::format("<img width=\"{}\" height=\"{}\" alt=\"{}\" src=\"{}\">", image.cols,
                     image.rows, escaped(alternative), data_uri(image, code));
}

}  // namespace flipside
