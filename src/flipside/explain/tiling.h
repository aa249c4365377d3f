#pragma once

#include <opencv2/core.hpp>
#include <optional>
#include <vector>

#include "flipside/explain/explainer.h"

namespace flipside {

/// Equal square windows that cover an image, evenly spread, each overlapping its neighbours by at
/// least `overlap` pixels. The image's sides must not be smaller than the windows'.
class TileGrid {
 public:
  /// Throws `Error(kArgument)` unless 0 <= overlap <= side / 2 and side is in [1, sides of image].
  TileGrid(cv::Size image, int side, int overlap);
  /// All windows, row by row.
  const std::vector<cv::Rect>& tiles() const { return tiles_; }
  /// The window's part in each of its pixels: [side * side], row by row, in [0,1]. Over the windows
  /// that share a pixel they sum to 1. Each falls off to a neighbour by sin^2 over the whole
  /// overlap, since the networks see least beyond a window's border.
  std::vector<float> weights(size_t tile) const;

 private:
  int side_;
  size_t columns_;
  std::vector<cv::Rect> tiles_;
  std::vector<std::vector<float>> weights_x_, weights_y_;  ///< [side] by column and by row
};

/// How large an image is when the networks see it.
struct Scaling {
  enum class Mode {
    kAuto,   ///< `kFit` for images about as large as the training images, else in windows at the
             ///< scale of training
    kFit,    ///< the whole image stretched to the training size
    kScale,  ///< `factor` pixels of the networks per pixel of the image, in windows
  } mode = Mode::kAuto;
  double factor = 1.0;
};

/// The scale at which an image of this size is explained in windows, in pixels of the networks per
/// pixel of the image, or none where it is stretched whole. `kAuto` stretches images of which no
/// side is longer than 1.5 times the longest side of any training image. Throws `Error(kArgument)`
/// for a factor that is not > 0, or that gives a side of more than `kMaxImageSide`.
std::optional<double> window_scale(const Model& model, cv::Size image, const Scaling& scaling);

struct WindowOptions {
  int64_t side = 0;     ///< of the windows, pixels of the networks; 0: the training size
  int64_t batch = 16;   ///< windows that go through the networks together, at most
  int64_t target = -1;  ///< class of the counterfactual; -1: as `Explainer::explain` chooses
};

/// One image of any size, explained window by window. Maps are of the networks' resolution.
struct WindowedExplanation {
  Explanation verdict;           ///< N = 1: the worst window, whose answer is the image's
  cv::Mat seen, counterfactual;  ///< CV_8UC3 RGB
  cv::Mat saliency;              ///< CV_32FC1 in [0,1]: blended change
  cv::Mat evidence;              ///< the same, of windows predicted as a defect alone: for the mask
  std::vector<cv::Rect> windows;
  std::vector<int64_t> predicted;  ///< class by window
  size_t worst = 0;                ///< number of the worst window
  double scale = 1;                ///< pixels of the networks per pixel of the image
  /// The explainer's options with the smallest area taken as a share of a window, not of the image.
  MaskOptions mask_options;

  /// The class that most of the windows around a box say it is, of those predicted as a defect,
  /// by area they share with it; the image's class where none does. Box in the maps' pixels.
  int64_t class_of(const cv::Rect2d& box, int64_t reference_class) const;
};

/// Explains `image` (CV_8UC3 RGB) at `scale` in overlapping windows of the training size, so that
/// the normalisation of the networks, which goes over all pixels they are given, meets what it met
/// in training. An image smaller than a window is continued by reflection. Memory beyond the maps
/// does not grow with the image.
///
/// The worst window is, among those predicted as a defect or else among all, the one of the lowest
/// probability of the reference class. Towards the reference class every window's change is taken;
/// towards a defect class that of the worst window alone, since one defect makes the image one.
/// Only windows predicted as a defect are averaged over their views (`Effort::kDefects`): the mask
/// takes nothing from the others.
/// `verdict.counterfactual_probs` are those of the worst changed window. Throws `Error(kArgument)`
/// for a side that is no multiple of the networks' stride.
WindowedExplanation explain_in_windows(const Explainer& explainer, const cv::Mat& image,
                                       double scale, const WindowOptions& options = {});

}  // namespace flipside
