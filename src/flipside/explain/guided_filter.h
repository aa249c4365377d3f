#pragma once

#include "flipside/core/torch.h"
#include "flipside/explain/mask.h"

namespace flipside {

/// What varies less than this cannot be seen, and guides nothing (a variance).
constexpr double kFlat = kVisibleChange * kVisibleChange;

/// The guided filter (He, Sun and Tang, "Guided Image Filtering", ECCV 2010, eq. 5, 6 and 8): in
/// every square window of side 2 radius + 1 the map is fitted by a linear function of the guide,
/// a I + b, and every pixel gets the mean of the fits of all windows that hold it. So edges of the
/// result are edges of the guide; where the guide varies less than `epsilon` (a variance), it is a
/// plain mean. Windows are cut off at the border. Guide and map [N,1,H,W] float32 on the CPU, and
/// so is the result. Throws `Error(kArgument)` for other shapes, radius < 1 or epsilon <= 0.
Tensor guided_filter(const Tensor& guide, const Tensor& map, int64_t radius, double epsilon);

/// The filter before it meets the pixels: each one's mean a and b, [N,1,H,W] float64.
struct GuidedFit {
  Tensor a, b;
};
/// As `guided_filter`, which is a I + b of these.
GuidedFit guided_fit(const Tensor& guide, const Tensor& map, int64_t radius, double epsilon);

/// A map of what changes, fitted to the edges of the image that it belongs to: guided by the
/// image's mean over channels, clamped to [0,1]. `map` [N,1,H,W], images [N,3,H,W] in [0,1]; comes
/// back on the CPU. Radius 0: the map as it is. (Ours; docs/equations.md, "Masks".)
Tensor follow_edges(const Tensor& map, const Tensor& images, int64_t radius);

/// A raw map as it meets its threshold: smoothed by `kSmoothing`, or by a little less and then
/// fitted to the images' edges within `radius` pixels, which smooths it as well. Shapes as above.
Tensor refined(const Tensor& map, const Tensor& images, int64_t radius);

}  // namespace flipside
