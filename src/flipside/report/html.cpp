#include "flipside/report/html.h"

#include <algorithm>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "flipside/core/error.h"

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
  cv::Mat stored;
  if (image.channels() == 3)
    cv::cvtColor(image, stored, cv::COLOR_RGB2BGR);
  else
    stored = image;
  std::vector<uint8_t> bytes;
  const bool is_png = code == PictureCode::kPng;
  if (is_png)
    cv::imencode(".png", stored, bytes, {cv::IMWRITE_PNG_COMPRESSION, 9});
  else
    cv::imencode(".jpg", stored, bytes, {cv::IMWRITE_JPEG_QUALITY, kJpegQuality});
  return std::string("data:image/") + (is_png ? "png" : "jpeg") + ";base64," +
         base64({bytes.begin(), bytes.end()});
}

std::string picture_element(const cv::Mat& image, PictureCode code,
                            const std::string& alternative) {
  return fmt::format("<img width=\"{}\" height=\"{}\" alt=\"{}\" src=\"{}\">", image.cols,
                     image.rows, escaped(alternative), data_uri(image, code));
}

}  // namespace flipside
