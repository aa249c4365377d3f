#pragma once

#include <opencv2/core.hpp>
#include <string>

#include "flipside/report/markup.h"

namespace flipside {

/// RFC 4648, with padding.
std::string base64(const std::string& bytes);

enum class PictureCode {
  kPng,   ///< exact: drawings, masks
  kJpeg,  ///< small: photographs
};

/// CV_8UC3 RGB or CV_8UC1 as "data:image/...;base64,...": a picture that needs no file beside the
/// page. Throws `Error(kArgument)` for other or empty pictures.
std::string data_uri(const cv::Mat& image, PictureCode code);

/// A picture as an element, with the text that stands for it where it cannot be seen.
std::string picture_element(const cv::Mat& image, PictureCode code, const std::string& alternative);

}  // namespace flipside
