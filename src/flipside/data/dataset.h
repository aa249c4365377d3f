#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "flipside/config/config.h"
#include "flipside/core/torch.h"

namespace flipside {

namespace fs = std::filesystem;

enum class Split { kTrain = 0, kVal = 1, kTest = 2 };
inline constexpr std::array<Split, 3> kSplits{Split::kTrain, Split::kVal, Split::kTest};
const char* to_string(Split split);

/// One image file of a data set. `mask` and `counterfactual` (the known image without its defect,
/// of generated data) are empty where there is none.
struct ImageRecord {
  fs::path image;
  fs::path mask;
  fs::path counterfactual;
  int64_t label = 0;    ///< in [0, K)
  int64_t packed = -1;  ///< row in `ImageFolder::pack`, -1 where the files are to be read

  bool operator==(const ImageRecord& other) const {
    return std::tie(image, mask, counterfactual, label, packed) ==
           std::tie(other.image, other.mask, other.counterfactual, other.label, other.packed);
  }
};

/// A labelled image: image [3,H,W] in [0,1]; mask [1,H,W] of 0 and 1, undefined where there is
/// none.
struct Sample {
  Tensor image;
  int64_t label = 0;
  Tensor mask;
  fs::path path;
};

/// images [N,3,H,W] in [0,1], channels_last; labels [N] int64; masks [N,1,H,W] of 0 and 1,
/// undefined when no sample has one (a sample without a mask among others has NaN in its place);
/// indices [N] int64 into the split's records. Where several processes share a batch, each has its
/// `Shard` of the images, and all_labels [M] int64 are those of the whole; else undefined.
struct Batch {
  Tensor images, labels, masks, indices;
  Tensor all_labels = {};

  /// The same on another device; from pinned memory the copy goes on while the caller does.
  Batch to(at::Device device) const;
};

class PackedImages;  // data/pack.h
class PictureStore;  // data/picture_store.h

/// A folder of labelled images, its classes and splits, without pixels.
///
/// `root/{train,val,test}/<class>/...` is taken as it is (no val: taken from train, seeded);
/// `root/<class>/...` is split per class by the configured fractions and `split_seed`. Masks lie at
/// `<split>/masks/<class>/<stem>.png` or, as in MVTec AD, `ground_truth/<class>/<stem>_mask.png`
/// in the split's folder or in the root; without split folders, `root` takes the place of
/// `<split>`. These folder names and `counterfactuals` (the exact counterfactuals of generated
/// data) are never classes. Images may lie in folders below their class; their masks then lie in
/// folders of the same names. Classes are the union over the splits, sorted by name; hidden files
/// and files that are no images are passed over.
struct ImageFolder {
  fs::path root;
  std::vector<std::string> class_names;  ///< K names, sorted
  int64_t reference_class = 0;           ///< class of good parts
  std::string reference_reason;          ///< why this one, in words
  bool has_splits = false;               ///< folders train/, val/ or test/ were found
  std::vector<ImageRecord> records[3];   ///< by Split, sorted by path
  /// The pixels of a packed data set, whose `root` is its file; null for a folder of files.
  std::shared_ptr<const PackedImages> pack;
  /// By Split, pictures that `keep_pictures` has read; null, or of other records than these, where
  /// every loader reads its own.
  std::shared_ptr<const PictureStore> kept[3];

  int64_t num_classes() const { return static_cast<int64_t>(class_names.size()); }
  const std::vector<ImageRecord>& split(Split which) const {
    return records[static_cast<int>(which)];
  }
  /// The image's path below `root`; of a packed data set as it was below the folder packed.
  std::string name_of(const ImageRecord& record) const;
  /// True when at least one defect image of the split has a mask.
  bool has_masks(Split which) const;
};

/// Scans the folder, or reads the file of `flipside data pack`. Throws `Error(kData)` for a missing
/// folder, an empty class, fewer than two classes, an unknown `reference_class`, and
/// `Error(kConfig)` for a pack of another size than `config.size`; each message names the remedy.
ImageFolder scan_image_folder(const fs::path& root, const DataConfig& config);

/// The folder with `most` records of the split or hardly more: every class keeps its share of them,
/// spread over its files, and one at least. The whole folder where `most` is 0 or enough.
ImageFolder thinned(ImageFolder folder, Split split, int64_t most);

/// Throws `Error(kData)` when a class has no training images, no image is there to validate on or a
/// class's name is not UTF-8; scanning and evaluating allow all three.
void require_trainable(const ImageFolder& folder);

/// The files below `path` that look like images by their ending, sorted; a file gives itself.
/// Folders named masks, ground_truth and counterfactuals and hidden ones are skipped. Throws
/// `Error(kData)` when `path` does not exist or a folder cannot be read.
std::vector<fs::path> find_images(const fs::path& path);

/// True for an ending that is an image's (any case): .jpg, .png, .bmp, .tif, .webp and their like.
bool has_image_ending(const fs::path& path);

/// Index of the class that means "good part" by its name (good, ok, intact, normal, negative,
/// fresh, free, ...), or -1 when none or more than one does.
int64_t guess_reference_class(const std::vector<std::string>& class_names);

}  // namespace flipside
