#pragma once

#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "flipside/explain/explainer.h"
#include "flipside/explain/measure.h"
#include "flipside/explain/tiling.h"

namespace flipside {

/// A region of the mask and what it is.
struct Defect {
  Region region;
  int64_t label = 0;  ///< class
};

/// An explanation at the size of the original image.
struct ExplainedImage {
  cv::Mat counterfactual;  ///< CV_8UC3 RGB
  cv::Mat heatmap;         ///< CV_8UC3 RGB
  cv::Mat mask;            ///< CV_8UC1 of 0 and 255; empty where the reference class is predicted
  cv::Mat overlay;         ///< CV_8UC3 RGB
  std::vector<Defect> defects;  ///< regions of `mask`, largest first
  double mask_area = 0;         ///< share of the image
  std::optional<double> scale;  ///< pixels of the networks per pixel; none: stretched whole
  size_t windows = 1;           ///< that the networks saw
  cv::Rect worst_window;        ///< whose answer is the image's; pixels of the original
};

/// An image as the networks take it: [3,S,S] in [0,1], stretched to the model's square.
Tensor network_input(const Explainer& explainer, const cv::Mat& image);

/// Brings row `row` of an explanation to the size of `original` (CV_8UC3 RGB). The counterfactual
/// is the original plus the enlarged change, so that the original's detail stays; the mask is
/// thresholded and cleaned at the original size.
ExplainedImage draw_explanation(const Explainer& explainer, const Explanation& explanation,
                                int64_t row, const cv::Mat& original);

/// The same for an image explained in windows.
ExplainedImage draw_explanation(const WindowedExplanation& explanation, int64_t reference_class,
                                const cv::Mat& original);

/// One line of `results.jsonl`, without the line's end; numbers rounded to six decimals.
/// `mm_per_pixel` 0: unknown.
std::string explanation_json(const std::string& image, const Model& model,
                             const Explanation& explanation, int64_t row,
                             const ExplainedImage& drawn, double mm_per_pixel = 0);

}  // namespace flipside
