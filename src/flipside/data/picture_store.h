#pragma once

#include <vector>

#include "flipside/data/dataset.h"
#include "flipside/data/picture.h"

namespace flipside {

/// The pictures of one split at the size of the networks: every file is decoded once, by all
/// processors, stretched to size x size and kept as 8 bit while `data.cache_mb` allows; those
/// beyond are decoded again each time. A packed data set is in memory whole and serves from there.
/// Safe to read from several threads.
class PictureStore {
 public:
  /// Reads the split. An image that cannot be read (or its mask) is skipped with a warning. Throws
  /// `Error(kData)` when nothing readable is left.
  PictureStore(const ImageFolder& folder, Split split, const DataConfig& config);

  /// Side of the pictures in pixels.
  int64_t size() const { return size_; }
  /// Indices into the split's records of the readable images, ascending.
  const std::vector<int64_t>& readable() const { return readable_; }
  /// By index into the split's records. The pixels are shared: not to be written to.
  Picture picture(int64_t index) const;
  const ImageRecord& record(int64_t index) const { return records_.at(index); }
  /// True where these are the records that the pictures were read for.
  bool is_of(const std::vector<ImageRecord>& records) const { return records == records_; }
  /// The known image without its defect as uint8 [size,size,3]; undefined where there is none.
  Tensor counterfactual(int64_t index) const;
  /// Sizes of the image files before they were stretched, by record; 0 x 0 where an image cannot be
  /// read.
  const std::vector<ImageSize>& native_sizes() const { return native_sizes_; }

 private:
  void take_packed();
  void decode_all(int64_t cache_mb, const std::string& title);

  std::vector<ImageRecord> records_;
  std::shared_ptr<const PackedImages> pack_;  ///< null for a folder of files
  int64_t size_;
  std::vector<Picture> pictures_;  ///< by record; undefined where not kept
  std::vector<int64_t> readable_;
  std::vector<ImageSize> native_sizes_;
};

}  // namespace flipside
