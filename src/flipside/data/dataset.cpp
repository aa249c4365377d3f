#include "flipside/data/dataset.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/core/random.h"
#include "flipside/core/utf8.h"
#include "flipside/data/class_names.h"
#include "flipside/data/hash.h"
#include "flipside/data/pack.h"

namespace flipside {
namespace {

constexpr uint64_t kSplitTag = 0x73706c6974;  // "split": this use's own random stream

uint64_t hash_of(const std::string& text) {
  Hash hash;
  for (const char c : text) hash.mix(static_cast<uint8_t>(c));
  return hash.value();
}

bool is_hidden(const fs::path& path) { return path.filename().string().front() == '.'; }

bool is_reserved(const fs::path& path) {
  const std::string name = path.filename().string();
  return name == "masks" || name == "ground_truth" || name == "counterfactuals";
}

/// Image files below `folder`, any depth, in no order.
void collect_images(const fs::path& folder, std::vector<fs::path>& found) {
  fs::recursive_directory_iterator at(folder, fs::directory_options::follow_directory_symlink);
  for (; at != fs::recursive_directory_iterator(); ++at) {
    const bool is_folder = at->is_directory();
    if (is_hidden(at->path())) {
      if (is_folder) at.disable_recursion_pending();
    } else if (is_folder) {
      if (is_reserved(at->path())) at.disable_recursion_pending();
    } else if (has_image_ending(at->path())) {
      found.push_back(at->path());
    }
  }
}

/// Names of the class folders in `folder`, sorted; none where it does not exist.
std::vector<std::string> class_folders(const fs::path& folder) {
  std::vector<std::string> names;
  if (!fs::is_directory(folder)) return names;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_directory() && !is_hidden(entry.path()) && !is_reserved(entry.path()))
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// The file that belongs to `stem` (a path below a class, without ending) in one of `folders`, or
/// an empty path.
fs::path companion(const std::vector<fs::path>& folders, const fs::path& stem) {
  static const std::array<const char*, 4> endings{".png", "_mask.png", ".bmp", ".tif"};
  for (const auto& folder : folders)
    for (const char* ending : endings) {
      fs::path candidate = folder / stem;
      candidate += ending;
      if (fs::is_regular_file(candidate)) return candidate;
    }
  return {};
}

/// The images of one class of the split folder `base`, with masks and counterfactuals.
std::vector<ImageRecord> class_records(const fs::path& root, const fs::path& base,
                                       const std::string& name, int64_t label) {
  std::vector<fs::path> masks{base / "masks" / name, base / "ground_truth" / name};
  if (base != root) masks.push_back(root / "ground_truth" / name);
  std::vector<fs::path> existing;
  std::copy_if(masks.begin(), masks.end(), std::back_inserter(existing),
               [](const fs::path& folder) { return fs::is_directory(folder); });
  const fs::path counterfactuals = base / "counterfactuals" / name;
  const bool has_counterfactuals = fs::is_directory(counterfactuals);
  std::vector<ImageRecord> records;
  if (!fs::is_directory(base / name)) return records;
  for (const auto& image : find_images(base / name)) {
    const fs::path stem = image.lexically_relative(base / name).replace_extension();
    ImageRecord record{image, companion(existing, stem), {}, label};
    if (has_counterfactuals) record.counterfactual = companion({counterfactuals}, stem);
    records.push_back(std::move(record));
  }
  return records;
}

/// Moves a seeded share of each class (but never all of it) from one split to another: those whose
/// names draw the lowest numbers, so that a file that is added or removed moves hardly any other.
void move_share(ImageFolder& folder, Split from, Split to, double fraction, uint64_t seed) {
  auto& source = folder.records[static_cast<int>(from)];
  auto& target = folder.records[static_cast<int>(to)];
  std::vector<ImageRecord> kept;
  for (int64_t label = 0; label < folder.num_classes(); ++label) {
    std::vector<ImageRecord> records;
    std::copy_if(source.begin(), source.end(), std::back_inserter(records),
                 [label](const ImageRecord& record) { return record.label == label; });
    std::map<fs::path, uint64_t> lots;
    for (const auto& record : records)
      lots[record.image] =
          Rng({seed, kSplitTag, static_cast<uint64_t>(to), hash_of(folder.name_of(record))}).next();
    std::sort(records.begin(), records.end(), [&](const ImageRecord& a, const ImageRecord& b) {
      return std::tie(lots.at(a.image), a.image) < std::tie(lots.at(b.image), b.image);
    });
    const auto total = static_cast<int64_t>(records.size());
    const int64_t wished = fraction > 0 ? std::max<int64_t>(1, std::llround(fraction * total)) : 0;
    const int64_t moved = std::clamp<int64_t>(wished, 0, std::max<int64_t>(0, total - 1));
    target.insert(target.end(), records.begin(), records.begin() + moved);
    kept.insert(kept.end(), records.begin() + moved, records.end());
  }
  source = std::move(kept);
}

void sort_records(ImageFolder& folder) {
  for (auto& records : folder.records)
    std::sort(records.begin(), records.end(),
              [](const ImageRecord& a, const ImageRecord& b) { return a.image < b.image; });
}

void read_split_folders(ImageFolder& folder, const DataConfig& config) {
  std::set<std::string> names;
  for (Split split : kSplits)
    for (const auto& name : class_folders(folder.root / to_string(split))) names.insert(name);
  folder.class_names.assign(names.begin(), names.end());
  for (Split split : kSplits)
    for (int64_t label = 0; label < folder.num_classes(); ++label)
      for (auto& record : class_records(folder.root, folder.root / to_string(split),
                                        folder.class_names[label], label))
        folder.records[static_cast<int>(split)].push_back(std::move(record));
  if (!fs::is_directory(folder.root / to_string(Split::kVal)))
    move_share(folder, Split::kTrain, Split::kVal, config.val_fraction, config.split_seed);
}

void read_class_folders(ImageFolder& folder, const DataConfig& config) {
  folder.class_names = class_folders(folder.root);
  for (int64_t label = 0; label < folder.num_classes(); ++label)
    for (auto& record : class_records(folder.root, folder.root, folder.class_names[label], label))
      folder.records[0].push_back(std::move(record));
  // The second share is taken from what the first one left.
  move_share(folder, Split::kTrain, Split::kTest, config.test_fraction, config.split_seed);
  move_share(folder, Split::kTrain, Split::kVal, config.val_fraction / (1 - config.test_fraction),
             config.split_seed);
}

/// Of one split.
std::vector<int64_t> images_per_class(const ImageFolder& folder, Split split) {
  std::vector<int64_t> counts(folder.class_names.size());
  for (const auto& record : folder.split(split)) ++counts[record.label];
  return counts;
}

/// Of all splits.
std::vector<int64_t> images_per_class(const ImageFolder& folder) {
  std::vector<int64_t> counts(folder.class_names.size());
  for (const Split split : kSplits) {
    const auto of_split = images_per_class(folder, split);
    for (size_t label = 0; label < counts.size(); ++label) counts[label] += of_split[label];
  }
  return counts;
}

/// Folders that can only be meant as splits, under names that are not theirs.
void refuse_splits_as_classes(const ImageFolder& folder) {
  static const std::set<std::string> kWords{"train",      "training", "val",    "valid",
                                            "validation", "test",     "testing"};
  const auto is_split = [](std::string name) {
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    return kWords.count(name) > 0;
  };
  const auto& names = folder.class_names;
  if (!names.empty() && std::all_of(names.begin(), names.end(), is_split))
    fail(ErrorCode::kData,
         "{}: {} would be taken for classes, and look like splits: name them train, val and test",
         folder.root.string(), fmt::join(names, ", "));
}

void check_classes(const ImageFolder& folder) {
  refuse_splits_as_classes(folder);
  if (folder.num_classes() < 2)
    fail(ErrorCode::kData,
         "{}: {} found: must hold a folder of images for each of two or more classes, as in "
         "{}/good/*.jpg and {}/bad/*.jpg, or train/, val/ and test/ with such folders",
         folder.root.string(),
         folder.class_names.empty() ? "no class folders"
                                    : "one class only (" + folder.class_names[0] + ")",
         folder.root.string(), folder.root.string());
  const auto counts = images_per_class(folder);
  for (size_t label = 0; label < counts.size(); ++label)
    if (counts[label] == 0)
      fail(ErrorCode::kData,
           "{}: class {} has no images (.jpg, .png, .bmp, .tif, .webp); add some or remove its "
           "folder",
           folder.root.string(), folder.class_names[label]);
}

void choose_reference(ImageFolder& folder, const std::string& configured) {
  const auto& names = folder.class_names;
  if (!configured.empty()) {
    const auto found = std::find(names.begin(), names.end(), configured);
    if (found == names.end())
      fail(ErrorCode::kData,
           "data.reference_class = {}: {} has no such class, but {}; did you mean "
           "{}?",
           configured, folder.root.string(), fmt::join(names, ", "),
           nearest_name(configured, names));
    folder.reference_class = found - names.begin();
    folder.reference_reason = "set by data.reference_class";
    return;
  }
  folder.reference_class = guess_reference_class(names);
  if (folder.reference_class >= 0) {
    folder.reference_reason = "its name says that its parts are good";
    return;
  }
  // No name decides. Good parts are usually the most numerous ones.
  const bool any = std::any_of(names.begin(), names.end(), names_good_parts);
  const auto counts = images_per_class(folder);
  for (int64_t label = 0; label < folder.num_classes(); ++label) {
    if (any && !names_good_parts(names[label])) continue;
    if (folder.reference_class < 0 || counts[label] > counts[folder.reference_class])
      folder.reference_class = label;
  }
  folder.reference_reason = fmt::format(
      "a guess: {}, and this one has the most images; set data.reference_class if it is wrong",
      any ? "several names say that their parts are good" : "no name says which parts are good");
}

}  // namespace

const char* to_string(Split split) {
  switch (split) {
    case Split::kTrain:
      return "train";
    case Split::kVal:
      return "val";
    case Split::kTest:
      return "test";
  }
  return "";
}

Batch Batch::to(at::Device device) const {
  const auto move = [device](const Tensor& tensor) {
    return tensor.defined() ? tensor.to(device, /*non_blocking=*/true) : tensor;
  };
  return {move(images), move(labels), move(masks), move(indices), move(all_labels)};
}

std::string ImageFolder::name_of(const ImageRecord& record) const {
  return (pack ? record.image : record.image.lexically_relative(root)).string();
}

bool ImageFolder::has_masks(Split which) const {
  const auto& records = split(which);
  return std::any_of(records.begin(), records.end(), [this](const ImageRecord& record) {
    return record.label != reference_class && !record.mask.empty();
  });
}

ImageFolder scan_image_folder(const fs::path& root, const DataConfig& config) try {
  if (is_pack_file(root)) {
    ImageFolder packed = read_pack(root);
    require_size(packed, config.size);
    if (!config.reference_class.empty()) choose_reference(packed, config.reference_class);
    return packed;
  }
  if (!fs::is_directory(root))
    fail(ErrorCode::kData, "{}: {}; give the folder of a data set", root.string(),
         fs::exists(root) ? "is no folder" : "no such folder");
  ImageFolder folder;
  folder.root = root;
  folder.has_splits = std::any_of(kSplits.begin(), kSplits.end(), [&root](Split split) {
    return fs::is_directory(root / to_string(split));
  });
  if (folder.has_splits)
    read_split_folders(folder, config);
  else
    read_class_folders(folder, config);
  check_classes(folder);
  choose_reference(folder, config.reference_class);
  sort_records(folder);
  return folder;
} catch (const fs::filesystem_error& error) {
  fail(ErrorCode::kData, "{}: could not be read: {}; check its permissions", root.string(),
       error.code().message());
}

ImageFolder thinned(ImageFolder folder, Split split, int64_t most) {
  std::vector<ImageRecord>& records = folder.records[static_cast<int>(split)];
  const auto all = static_cast<int64_t>(records.size());
  if (most == 0 || most >= all) return folder;
  std::vector<int64_t> count(folder.class_names.size()), seen(count.size());
  for (const auto& record : records) ++count[record.label];
  std::vector<ImageRecord> chosen;
  for (const auto& record : records) {
    // Of n images of a class the k with another value of floor(i k / n) than the one before.
    const int64_t n = count[record.label], k = (n * most + all - 1) / all;
    const int64_t i = seen[record.label]++;
    if (i == 0 || i * k / n != (i - 1) * k / n) chosen.push_back(record);
  }
  records = std::move(chosen);
  return folder;
}

void require_trainable(const ImageFolder& folder) {
  for (const auto& name : folder.class_names)  // checkpoints and reports are
    if (!is_utf8(name))
      fail(ErrorCode::kData, "{}: the name of class {} must be UTF-8; rename its folder",
           folder.root.string(), name);
  const auto trained = images_per_class(folder, Split::kTrain);
  for (size_t label = 0; label < trained.size(); ++label)
    if (trained[label] == 0)
      fail(
          ErrorCode::kData,
          "{}: class {} has no training images: training needs some of every class; move images of "
          "another split to {}",
          folder.root.string(), folder.class_names[label],
          (folder.root / to_string(Split::kTrain) / folder.class_names[label]).string());
  if (folder.split(Split::kVal).empty())
    fail(ErrorCode::kData,
         "{}: no image is left for validation; add images, or remove an empty val/ so that some of "
         "train/ are taken",
         folder.root.string());
  const auto validated = images_per_class(folder, Split::kVal);
  for (size_t label = 0; label < validated.size(); ++label)
    if (validated[label] == 0)
      warn(
          "{}: class {} has no validation images: the step that is kept and the thresholds are "
          "chosen without it; move some of train/ to val/",
          folder.root.string(), folder.class_names[label]);
}

std::vector<fs::path> find_images(const fs::path& path) try {
  if (fs::is_regular_file(path)) return {path};
  if (!fs::is_directory(path))
    fail(ErrorCode::kData, "{}: no such file or folder; check the path", path.string());
  std::vector<fs::path> found;
  collect_images(path, found);
  std::sort(found.begin(), found.end());
  return found;
} catch (const fs::filesystem_error& error) {
  fail(ErrorCode::kData, "{}: could not be read: {}; check its permissions", path.string(),
       error.code().message());
}

bool has_image_ending(const fs::path& path) {
  static const std::array<std::string, 7> endings{".jpg", ".jpeg", ".png", ".bmp",
                                                  ".tif", ".tiff", ".webp"};
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return std::find(endings.begin(), endings.end(), ending) != endings.end();
}

int64_t guess_reference_class(const std::vector<std::string>& class_names) {
  const auto first = std::find_if(class_names.begin(), class_names.end(), names_good_parts);
  if (first == class_names.end()) return -1;
  return std::any_of(first + 1, class_names.end(), names_good_parts) ? -1
                                                                     : first - class_names.begin();
}

}  // namespace flipside
