#pragma once

#include <vector>

#include "flipside/data/dataset.h"
#include "flipside/data/transforms.h"

namespace flipside {

/// The pictures of one split at the size of the networks: every file is decoded once, by all
/// processors, stretched to size x size and kept as 8 bit while `data.cache_mb` allows; those
/// beyond are decoded again each time. Safe to read from several threads.
class PictureStore {
 public:
  /// Reads the split. An image that cannot be read (or its mask) is skipped with a warning. Throws
  /// `Error(kData)` when nothing readable is left.
  PictureStore(const ImageFolder& folder, Split split, const DataConfig& config);

  /// Indices into the split's records of the readable images, ascending.
  const std::vector<int64_t>& readable() const { return readable_; }
  /// By index into the split's records. The pixels are shared: not to be written to.
  Picture picture(int64_t index) const;
  const ImageRecord& record(int64_t index) const { return records_.at(index); }
  /// Sizes of the image files before they were stretched, in pixels, by record; empty where an
  /// image cannot be read.
  const std::vector<cv::Size>& native_sizes() const { return native_sizes_; }

 private:
  Picture decode(const ImageRecord& record, cv::Size* native_size = nullptr) const;

  std::vector<ImageRecord> records_;
  int size_;
  std::vector<Picture> pictures_;  ///< by record; empty where not kept
  std::vector<int64_t> readable_;
  std::vector<cv::Size> native_sizes_;
};

}  // namespace flipside
