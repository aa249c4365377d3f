#pragma once

#include <opencv2/core.hpp>
#include <string>
#include <vector>

#include "flipside/core/torch.h"

namespace flipside {

// Pictures for people. All images are CV_8UC3 RGB.

/// Saliency at which the heat map's colour is full, in [0,1] units: one fixed scale, never
/// stretched per image, so that good parts stay dark.
constexpr double kHeatScale = 0.5;

/// Pixels of the pictures that are decoded at once, about 100 MB; one larger picture goes alone.
constexpr int64_t kMaxBatchPixels = 32'000'000;

/// [1,H,W] saliency in [0,1] -> colours (black through red and yellow to white at `kHeatScale`).
cv::Mat heatmap(const Tensor& saliency);
cv::Mat heatmap(const cv::Mat& saliency);  ///< CV_32FC1
/// The image with the mask's outline drawn and its inside tinted; mask CV_8UC1 0/255.
cv::Mat overlay(const cv::Mat& image, const cv::Mat& mask);

/// Rows of square cells with a caption line above each column and a label left of each row
/// (either may be empty; a label may have several lines; too long ones lose their middle). Each
/// picture is resized to fit a cell of `cell` pixels, aspect ratio kept; rows may differ in length
/// and pictures may be empty.
cv::Mat picture_grid(const std::vector<std::vector<cv::Mat>>& rows,
                     const std::vector<std::string>& captions,
                     const std::vector<std::string>& row_labels, int cell = 128);

}  // namespace flipside
