#pragma once

#include <filesystem>
#include <opencv2/core.hpp>
#include <string>

#include "flipside/core/random.h"

namespace flipside::synth {

namespace fs = std::filesystem;

/// One generated image. `clean` is the exact counterfactual: the same scene without its defect
/// (equal to `image` where there is none); `mask` is 255 where the defect lies.
struct Scene {
  cv::Mat image;  ///< CV_8UC3 RGB, size x size
  cv::Mat clean;  ///< CV_8UC3 RGB
  cv::Mat mask;   ///< CV_8UC1 0/255
};

/// Concrete: multi-octave texture, stains, aggregate, uneven light and distractors as dark as
/// cracks (joints, shadow edges, wires, pores); with `defect`, one crack from hairline to wide and
/// branching.
Scene make_crack_scene(int size, bool defect, Rng& rng);
/// One whole fruit on varied ground with stem, highlight and speckle as distractors; with
/// `defect`, spots, bruises, mould or scars.
Scene make_fruit_scene(int size, bool defect, Rng& rng);

/// Options of `write_data_set`.
struct SynthOptions {
  std::string kind = "cracks";  ///< "cracks" or "fruit"
  int64_t count = 1000;         ///< images over all splits and both classes
  int size = 64;                ///< pixels
  uint64_t seed = 1;
  int threads = 0;  ///< 0: one per processor; the bytes do not depend on it
};

/// Writes OUT/{train,val,test}/{crack,intact}/NNNNN.png (fruit: bad, good), 70/15/15 %, half of
/// them defects; for the defects also masks at OUT/<split>/masks/<class>/NNNNN.png and the exact
/// counterfactuals at OUT/<split>/counterfactuals/<class>/NNNNN.png; and the options in
/// OUT/synth.json. Scene i and its split depend on (seed, i) alone: same seed, same bytes. Run
/// again with the same options it makes what is missing, or nothing. Throws `Error(kUsage)` for a
/// bad kind, count or size, or when OUT holds something else, and `Error(kIo)` when writing fails.
void write_data_set(const fs::path& out, const SynthOptions& options);

}  // namespace flipside::synth
