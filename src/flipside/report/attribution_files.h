#pragma once

#include "flipside/eval/class_maps.h"
#include "flipside/eval/evaluator.h"
#include "flipside/report/explain_files.h"

namespace flipside {

struct AttributionFilesOptions {
  AttributionMethod method = AttributionMethod::kGradCam;  ///< any but the counterfactual
  MapSetting setting;
  double threshold = kUndefined;  ///< of the finished map; NaN: by Otsu on each image's own map
  double sensitivity = 1.0;       ///< > 0; divides the threshold
  int64_t target = -1;            ///< class that the map speaks for; -1: the predicted one
  int64_t batch = 16;             ///< images that go through the network together, at most
  Shard shard;                    ///< of which these files are; names results.jsonl
};

/// Shows what a classifier or the K+1 discriminator looks at, by any method without counterfactual:
/// `<name>.heatmap.png`, `.mask.png` and `.overlay.png` at the original size, and `results.jsonl`
/// with one line per image in order. An attribution map has no unit: its heat map is bright at the
/// image's own strongest pixel, on good parts too. The mask is empty where the reference class is
/// predicted. An unreadable image is reported on standard error and skipped. Gives the number of
/// those. Throws `Error(kIo)` when `out` cannot be written, and as `class_maps` does.
int64_t attribute_files(const Model& model, const std::vector<ImageFile>& files,
                        const fs::path& out, const AttributionFilesOptions& options);

}  // namespace flipside
