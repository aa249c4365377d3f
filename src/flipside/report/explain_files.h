#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "flipside/core/shard.h"
#include "flipside/explain/explainer.h"
#include "flipside/explain/tiling.h"

namespace flipside {

namespace fs = std::filesystem;

/// An image to explain, and where its pictures go: below the output folder, without an ending.
struct ImageFile {
  fs::path path;
  fs::path name;  ///< "crack/017" for 017.jpg in the folder crack below the argument
};

/// The images of the arguments (files and folders), in order. A name is the path below its
/// argument without the ending, which is kept where two images would else share a name. A file
/// named twice is taken once; pictures that an earlier run wrote into `out` are passed over.
/// Throws `Error(kUsage)` when there is no image, or when two still share a name.
std::vector<ImageFile> list_images(const std::vector<fs::path>& arguments, const fs::path& out);
/// The files at the shard's places.
std::vector<ImageFile> files_of(const Shard& shard, const std::vector<ImageFile>& files);

struct ExplainFilesOptions {
  int64_t target = -1;      ///< class of the counterfactuals; -1: as `Explainer::explain` chooses
  int64_t batch = 16;       ///< images or windows that go through the networks together, at most
  Scaling scaling;          ///< how large the networks see an image
  int64_t window = 0;       ///< side of the windows, pixels of the networks; 0: the training size
  double mm_per_pixel = 0;  ///< of the images, for measures in mm; 0: unknown
  Shard shard;              ///< of which these files are; names the tables and the contact sheet
};

/// Of the images of one call.
struct ExplainedFiles {
  int64_t seen = 0;  ///< all, or fewer where a signal stopped it
  int64_t unreadable = 0;
  int64_t doubtful = 0;  ///< whose answer is not certain by the model's rule
};

/// Explains every image into `out`: `<name>.counterfactual.png`, `.heatmap.png`, `.mask.png` and
/// `.overlay.png` at the original size, `results.jsonl` with one line per image in order and
/// `defects.csv` with one line per defect (both appear when all are done), and `contact_sheet.png`.
/// SIGINT or SIGTERM ends it after the images begun, with the results of these.
/// The next images are decoded while the networks run; memory does not grow with the number of
/// images. An unreadable image is reported on standard error and skipped. Throws `Error(kIo)` when
/// `out` cannot be written.
ExplainedFiles explain_files(const Explainer& explainer, const std::vector<ImageFile>& files,
                             const fs::path& out, const ExplainFilesOptions& options = {});

}  // namespace flipside
