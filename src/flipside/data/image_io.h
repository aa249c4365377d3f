#pragma once

#include <filesystem>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

#include "flipside/core/file.h"
#include "flipside/core/torch.h"

namespace flipside {

namespace fs = std::filesystem;

/// Largest image side that is decoded, in pixels; larger ones are refused with a remedy.
constexpr int kMaxImageSide = 20000;

/// Decodes JPEG, PNG, BMP, TIFF or WebP: 8-bit RGB (CV_8UC3), EXIF orientation applied, 16 bit
/// scaled to 8, gray repeated, alpha composed over mid gray. Throws `Error(kImage)` naming the
/// file: missing, empty, unreadable, truncated, or larger than `kMaxImageSide` (seen from the
/// header where the format has it, before memory is taken).
cv::Mat read_image(const fs::path& path);

/// Decodes a mask: CV_8UC1 of 0 and 255 (any value above half of the range is defect; any
/// but 0 where none is above 1). `size` (when not empty) is what it must measure, or
/// `Error(kImage)`.
cv::Mat read_mask(const fs::path& path, cv::Size size = {});

/// Resizes by area averaging when shrinking and bilinearly when growing.
cv::Mat resize_image(const cv::Mat& image, cv::Size size);
/// Resizes a 0/255 mask; a pixel is defect when at least half of it was.
cv::Mat resize_mask(const cv::Mat& mask, cv::Size size);

/// CV_8UC3 RGB -> [3,H,W] in [0,1]; a copy, H, W, C in memory. `cat` and `stack` of such do
/// not give channels_last by themselves: add `.contiguous(kChannelsLast)`.
Tensor to_tensor(const cv::Mat& image);
/// CV_8UC1 0/255 -> [1,H,W] of 0 and 1.
Tensor mask_to_tensor(const cv::Mat& mask);
/// [3,H,W] in [0,1] (clamped) -> CV_8UC3 RGB, rounded.
cv::Mat to_image(const Tensor& image);
/// [1,H,W] or [H,W] of 0 and 1 -> CV_8UC1 of 0 and 255.
cv::Mat to_mask_image(const Tensor& mask);
/// [1,H,W] or [H,W] float -> CV_32FC1, a copy; and back to [1,H,W].
cv::Mat to_float_map(const Tensor& map);
Tensor from_float_map(const cv::Mat& map);

/// The bytes of an image file, by the ending of `path` (.png, .jpg), which need not exist. `image`
/// is CV_8UC3 RGB or CV_8UC1; `parameters` as OpenCV's `imencode` takes them. Throws `Error(kIo)`.
std::string encode_image(const fs::path& path, const cv::Mat& image,
                         const std::vector<int>& parameters = {});
/// Writes them atomically.
void write_image(const fs::path& path, const cv::Mat& image,
                 Durability durability = Durability::kSynced);

}  // namespace flipside
