#pragma once

#include <functional>
#include <vector>

#include "flipside/config/config.h"
#include "flipside/core/torch.h"

namespace flipside {

/// One of the eight ways to hold an image: mirrored or not, then turned by right angles.
struct View {
  bool mirrored = false;
  int64_t turns = 0;  ///< in [0,4)

  /// Images [N,C,H,W] as seen in this view; a quarter turn swaps H and W.
  Tensor of(const Tensor& images) const;
  /// The inverse: what was computed in this view, as it lies on the image.
  Tensor undone(const Tensor& seen) const;
};

/// The views over which a model of this configuration averages: the image as it is, first; with
/// `explain.average_views` every other that training made equally likely (`data.flip`,
/// `data.turn`). Images that are not square get no quarter turns.
std::vector<View> views_of(const Config& config, bool square);

/// The mean over the views of `compute`, [N,C',H,W]: it is given views of images [N,C,H,W], one
/// after the other in one batch [V N,C,H,W], and returns one result for each. Few images share a
/// pass in all their views; of many, each view gets its own.
Tensor mean_over_views(const std::vector<View>& views, const Tensor& images,
                       const std::function<Tensor(const Tensor& seen)>& compute);

}  // namespace flipside
