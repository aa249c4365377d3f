#pragma once

#include <cstdint>
#include <string_view>

namespace flipside {

/// What an image file says about itself, read without decoding a pixel.
struct ImageHeader {
  enum class Format { kUnknown, kJpeg, kPng, kBmp, kTiff, kWebp } format = Format::kUnknown;
  int64_t width = 0, height = 0;  ///< pixels as stored; 0 where the header does not tell
  int orientation = 1;            ///< EXIF: 1 upright ... 8; how the stored pixels must be turned
  bool complete = true;           ///< false when the file ends before its format says
};

/// Reads the header of a JPEG, PNG, BMP, TIFF or WebP file. Never throws: bytes that make no sense
/// give `kUnknown` or an incomplete header.
ImageHeader read_image_header(std::string_view bytes);

}  // namespace flipside
