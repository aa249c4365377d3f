#include "flipside/data/image_io.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <new>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "flipside/core/error.h"
#include "flipside/data/image_header.h"

namespace flipside {
namespace {

constexpr int kMidGray = 128;               // ground of transparent images
constexpr double kFrom16Bit = 1.0 / 257.0;  // 65535 -> 255

std::string lower_ending(const fs::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return ending;
}

void require_file(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);  // asked once: it may go at any time
  if (!fs::exists(status))
    fail(ErrorCode::kImage, "{}: no such file; check the path", path.string());
  if (!fs::is_regular_file(status))
    fail(ErrorCode::kImage, "{}: is no file; name an image", path.string());
}

std::string read_image_bytes(const fs::path& path) {
  require_file(path);
  try {
    std::string bytes = read_file(path);
    if (bytes.empty()) fail(ErrorCode::kImage, "{}: is empty; copy it again", path.string());
    return bytes;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kImage) throw;
    require_file(path);  // it may have gone since
    throw Error(ErrorCode::kImage, error.what());
  }
}

ImageHeader checked_header(const fs::path& path, std::string_view bytes) {
  const ImageHeader header = read_image_header(bytes);
  if (header.format == ImageHeader::Format::kUnknown)
    fail(ErrorCode::kImage, "{}: is no JPEG, PNG, BMP, TIFF or WebP image; convert or remove it",
         path.string());
  if (header.width > kMaxImageSide || header.height > kMaxImageSide)
    fail(ErrorCode::kImage, "{}: {}x{} pixels: sides may measure at most {}; tile or scale it down",
         path.string(), header.width, header.height, kMaxImageSide);
  if (!header.complete)
    fail(ErrorCode::kImage, "{}: ends too early (truncated); copy or export it again",
         path.string());
  return header;
}

/// Turns stored pixels upright (EXIF 2.32, tag 0x0112).
cv::Mat turn_upright(cv::Mat image, int orientation) {
  if (orientation >= 5) cv::transpose(image, image);
  switch (orientation) {
    case 2:
    case 6:
      cv::flip(image, image, /*left-right*/ 1);
      break;
    case 3:
    case 7:
      cv::flip(image, image, /*both*/ -1);
      break;
    case 4:
    case 8:
      cv::flip(image, image, /*up-down*/ 0);
      break;
    default:
      break;
  }
  return image;
}

/// Pixels as stored, upright: 8 or 16 bit with 1, 3 (BGR) or 4 (BGRA) channels.
cv::Mat decode(const fs::path& path) {
  static const bool quiet = [] {
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
    return true;
  }();
  static_cast<void>(quiet);
  const std::string bytes = read_image_bytes(path);
  const ImageHeader header = checked_header(path, bytes);
  if (bytes.size() > std::numeric_limits<int>::max())
    fail(ErrorCode::kImage, "{}: {} bytes: OpenCV decodes files below 2 GiB; compress or tile it",
         path.string(), bytes.size());
  const cv::Mat buffer(1, static_cast<int>(bytes.size()), CV_8UC1, const_cast<char*>(bytes.data()));
  // IMREAD_UNCHANGED keeps depth and alpha and leaves the orientation to us.
  const cv::Mat image = cv::imdecode(buffer, cv::IMREAD_UNCHANGED);
  if (image.empty())
    fail(ErrorCode::kImage, "{}: could not be decoded (damaged); copy or export it again",
         path.string());
  const int channels = image.channels(), depth = image.depth();
  if ((depth != CV_8U && depth != CV_16U) || (channels != 1 && channels != 3 && channels != 4))
    fail(ErrorCode::kImage,
         "{}: has {} channels of {} bytes: must be gray, RGB or RGBA of 8 or 16 "
         "bit; convert it",
         path.string(), channels, image.elemSize1());
  // libtiff turns the picture by itself.
  return header.format == ImageHeader::Format::kTiff ? image
                                                     : turn_upright(image, header.orientation);
}

/// `read()`, whose lack of memory and whose failures in OpenCV are errors of this file.
template <typename Read>
cv::Mat of_file(const fs::path& path, const Read& read) {
  try {
    return read();
  } catch (const cv::Exception& error) {
    fail(ErrorCode::kImage, "{}: could not be decoded: {}; export it again", path.string(),
         error.err);
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kImage, "{}: is too large for the memory that is free; tile or scale it down",
         path.string());
  }
}

void to_8_bit(cv::Mat& image) {
  if (image.depth() == CV_16U) image.convertTo(image, CV_8U, kFrom16Bit);
}

/// What a mask's values must exceed: 0 where none is above 1, else half of white, of which files of
/// 16 bit may also keep that of 8.
int mask_threshold(const cv::Mat& mask) {
  double largest = 0;
  cv::minMaxLoc(mask, nullptr, &largest);
  if (largest <= 1) return 0;
  return largest <= 0xff ? 0xff / 2 : 0xffff / 2;
}

/// BGRA over one gray value -> BGR.
cv::Mat compose(const cv::Mat& image, int ground) {
  cv::Mat result(image.size(), CV_8UC3);
  for (int y = 0; y < image.rows; ++y) {
    const auto* from = image.ptr<cv::Vec4b>(y);
    auto* to = result.ptr<cv::Vec3b>(y);
    for (int x = 0; x < image.cols; ++x)
      for (int c = 0; c < 3; ++c) {
        const int alpha = from[x][3];
        to[x][c] = static_cast<uint8_t>((from[x][c] * alpha + ground * (255 - alpha) + 127) / 255);
      }
  }
  return result;
}

/// Largest of the colour channels, so that a mask painted in any colour counts, over black.
cv::Mat visible_brightness(cv::Mat image) {
  if (image.channels() == 4) {
    to_8_bit(image);
    image = compose(image, /*ground=*/0);
  }
  std::vector<cv::Mat> planes;
  cv::split(image, planes);
  for (size_t c = 1; c < planes.size(); ++c) cv::max(planes[0], planes[c], planes[0]);
  return planes[0];
}

/// Shrinks by area, grows bilinearly, each side by itself.
cv::Mat resize_by_area(const cv::Mat& image, cv::Size size) {
  const cv::Size smaller(std::min(size.width, image.cols), std::min(size.height, image.rows));
  cv::Mat result = image;
  if (smaller != result.size()) cv::resize(result, result, smaller, 0, 0, cv::INTER_AREA);
  if (size != result.size()) cv::resize(result, result, size, 0, 0, cv::INTER_LINEAR);
  return result;
}

/// [1,H,W] or [H,W] -> a contiguous [H,W] on the CPU.
Tensor as_plane(const Tensor& map, at::ScalarType type) {
  TORCH_CHECK(map.dim() == 2 || (map.dim() == 3 && map.size(0) == 1),
              "a map must be [1,H,W] or [H,W], not ", map.sizes());
  const Tensor plane = map.dim() == 3 ? map[0] : map;
  return plane.detach().to(at::kCPU, type).contiguous();
}

}  // namespace

cv::Mat read_image(const fs::path& path) {
  return of_file(path, [&] {
    cv::Mat image = decode(path);
    to_8_bit(image);
    if (image.channels() == 1)
      cv::cvtColor(image, image, cv::COLOR_GRAY2RGB);
    else
      cv::cvtColor(image.channels() == 4 ? compose(image, kMidGray) : image, image,
                   cv::COLOR_BGR2RGB);
    return image;
  });
}

cv::Mat read_mask(const fs::path& path, cv::Size size) {
  const cv::Mat mask = of_file(path, [&] {
    const cv::Mat stored = decode(path);
    const cv::Mat values = visible_brightness(stored);
    return cv::Mat(values > mask_threshold(values));
  });
  if (!size.empty() && mask.size() != size)
    fail(ErrorCode::kImage,
         "{}: the mask measures {}x{} and its image {}x{}: they must be equal; export the mask at "
         "the size of the image",
         path.string(), mask.cols, mask.rows, size.width, size.height);
  return mask;
}

cv::Mat resize_image(const cv::Mat& image, cv::Size size) { return resize_by_area(image, size); }

cv::Mat resize_mask(const cv::Mat& mask, cv::Size size) {
  return resize_by_area(mask, size) > 127;  // 127.5 is rounded up
}

Tensor to_tensor(const cv::Mat& image) {
  TORCH_CHECK(image.type() == CV_8UC3, "an image must be CV_8UC3");
  cv::Mat pixels;
  image.convertTo(pixels, CV_32F, 1.0 / 255.0);
  return torch::from_blob(pixels.data, {image.rows, image.cols, 3}).clone().permute({2, 0, 1});
}

Tensor mask_to_tensor(const cv::Mat& mask) {
  TORCH_CHECK(mask.type() == CV_8UC1, "a mask must be CV_8UC1");
  cv::Mat pixels;
  mask.convertTo(pixels, CV_32F, 1.0 / 255.0);
  return from_float_map(pixels);
}

cv::Mat to_image(const Tensor& image) {
  TORCH_CHECK(image.dim() == 3 && image.size(0) == 3, "an image must be [3,H,W], not ",
              image.sizes());
  const Tensor pixels = image.detach().to(at::kCPU, at::kFloat).clamp(0, 1).mul(255).round();
  const Tensor bytes = pixels.to(at::kByte).permute({1, 2, 0}).contiguous();
  return cv::Mat(static_cast<int>(bytes.size(0)), static_cast<int>(bytes.size(1)), CV_8UC3,
                 bytes.data_ptr())
      .clone();
}

cv::Mat to_mask_image(const Tensor& mask) { return to_float_map(mask) > 0.5; }

cv::Mat to_float_map(const Tensor& map) {
  const Tensor plane = as_plane(map, at::kFloat);
  return cv::Mat(static_cast<int>(plane.size(0)), static_cast<int>(plane.size(1)), CV_32FC1,
                 plane.data_ptr())
      .clone();
}

Tensor from_float_map(const cv::Mat& map) {
  TORCH_CHECK(map.type() == CV_32FC1, "a map must be CV_32FC1");
  const cv::Mat whole = map.isContinuous() ? map : map.clone();
  return torch::from_blob(whole.data, {1, whole.rows, whole.cols}).clone();
}

std::string encode_image(const fs::path& path, const cv::Mat& image,
                         const std::vector<int>& parameters) {
  const std::string ending = lower_ending(path);
  if (ending != ".png" && ending != ".jpg" && ending != ".jpeg")
    fail(ErrorCode::kIo, "{}: images are written as .png or .jpg; choose one of these endings",
         path.string());
  cv::Mat stored;
  if (image.channels() == 3)
    cv::cvtColor(image, stored, cv::COLOR_RGB2BGR);
  else
    stored = image;
  std::vector<uint8_t> bytes;
  bool encoded = false;
  try {
    encoded = cv::imencode(ending, stored, bytes, parameters);
  } catch (const cv::Exception& error) {
    fail(ErrorCode::kIo, "{}: could not be encoded: {}", path.string(), error.err);
  }
  if (!encoded) fail(ErrorCode::kIo, "{}: could not be encoded", path.string());
  return {bytes.begin(), bytes.end()};
}

void write_image(const fs::path& path, const cv::Mat& image, Durability durability) {
  atomic_write(path, encode_image(path, image), durability);
}

}  // namespace flipside
