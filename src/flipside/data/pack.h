#pragma once

#include "flipside/data/dataset.h"
#include "flipside/data/picture.h"

namespace flipside {

/// The pixels of a packed data set: every image at one size, as uint8, in memory.
class PackedImages {
 public:
  /// `images` [N,side,side,3], `masks` [M,side,side] of 0 and 255, `counterfactuals`
  /// [C,side,side,3], all uint8, and `native_sizes` [N,2] int32 (width, height). Row i has the mask
  /// `mask_rows[i]` and the counterfactual `counterfactual_rows[i]`, or none where that is -1.
  struct Pixels {
    Tensor images, masks, counterfactuals, native_sizes;
    std::vector<int64_t> mask_rows, counterfactual_rows;
  };
  explicit PackedImages(Pixels pixels) : pixels_(std::move(pixels)) {}

  int64_t side() const { return pixels_.images.size(1); }
  // By `ImageRecord::packed`; views, not to be written to.
  Picture picture(int64_t row) const;
  Tensor counterfactual(int64_t row) const;  ///< undefined where there is none
  ImageSize native_size(int64_t row) const;

 private:
  Pixels pixels_;
};

/// How many images went into a pack, and how many could not be read.
struct PackCounts {
  int64_t images = 0, unreadable = 0;
};

/// Writes the data set of `folder` into one safetensors file (docs/data_format.md), every image
/// stretched to `side` x `side`, splits and reference class as they are in `folder`. An image that
/// cannot be read is left out with a warning. Throws `Error(kData)` where a class would be left
/// without images or the folder is a pack itself, `Error(kIo)`.
PackCounts write_pack(const ImageFolder& folder, int64_t side, const fs::path& file);

/// True for a file that can only be meant as a pack: it ends in .safetensors.
bool is_pack_file(const fs::path& path);

/// Reads it back: classes, splits and records (whose paths are those below the folder that was
/// packed) with `pack` set. Throws `Error(kData)` for a safetensors file of something else,
/// `Error(kCheckpoint)` for a truncated or damaged one.
ImageFolder read_pack(const fs::path& file);

/// Throws `Error(kConfig)` where a pack's images have not `side` pixels.
void require_size(const ImageFolder& folder, int64_t side);

}  // namespace flipside
