#include "flipside/data/pack.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/core/safetensors.h"
#include "flipside/data/parallel.h"
#include "flipside/data/picture_files.h"

namespace flipside {
namespace {

using nlohmann::json;

constexpr char kPackFormat[] = "flipside data";
constexpr char kPackVersion[] = "1";
constexpr const char* kPaths[] = {"images", "masks", "counterfactuals"};

/// One image of the pack in the making.
struct PackedRecord {
  ImageRecord record;
  Split split = Split::kTrain;
  Picture picture;
  Tensor counterfactual;
  ImageSize native_size;
  std::string problem;
};

/// All records of a folder, split by split.
std::vector<PackedRecord> list_records(const ImageFolder& folder) {
  std::vector<PackedRecord> list;
  for (const Split split : kSplits)
    for (const auto& record : folder.split(split)) list.push_back({record, split, {}, {}, {}, {}});
  return list;
}

void read_pictures(std::vector<PackedRecord>& list, int64_t side) {
  Progress bar("packing", static_cast<int64_t>(list.size()), "img");
  for_each_index(
      static_cast<int64_t>(list.size()),
      [&](int64_t i) {
        PackedRecord& packed = list[i];
        try {
          packed.picture = read_picture(packed.record, side, &packed.native_size);
          if (!packed.record.counterfactual.empty())
            packed.counterfactual = read_square(packed.record.counterfactual, side);
        } catch (const Error& error) {
          if (error.code() == ErrorCode::kUsage) throw;
          packed.problem = error.what();
        }
      },
      [&](int64_t) { bar.advance(1); });
}

/// Drops what could not be read; gives how many.
int64_t drop_unreadable(std::vector<PackedRecord>& list, const ImageFolder& folder) {
  for (const auto& packed : list)
    if (!packed.problem.empty()) warn("{}; left out", packed.problem);
  const auto bad = std::remove_if(list.begin(), list.end(),
                                  [](const PackedRecord& p) { return !p.problem.empty(); });
  const int64_t dropped = list.end() - bad;
  list.erase(bad, list.end());
  for (int64_t label = 0; label < folder.num_classes(); ++label)
    if (std::none_of(list.begin(), list.end(),
                     [label](const PackedRecord& p) { return p.record.label == label; }))
      fail(ErrorCode::kData, "{}: class {} has no readable image; add some or remove the class",
           folder.root.string(), folder.class_names[label]);
  return dropped;
}

/// uint8 [H,W,3] each -> [N,3,H,W]; masks [H,W] -> [N,H,W].
Tensor stacked(const std::vector<Tensor>& pictures, int64_t side, bool has_channels) {
  if (pictures.empty())
    return torch::empty(
        has_channels ? std::vector<int64_t>{0, 3, side, side} : std::vector<int64_t>{0, side, side},
        torch::kUInt8);
  const Tensor all = torch::stack(pictures);
  return has_channels ? all.permute({0, 3, 1, 2}).contiguous() : all;
}

/// A path as it is written: below the folder where it lies there.
std::string path_below(const fs::path& root, const fs::path& path) {
  return path.empty() ? "" : path.lexically_proximate(root).generic_string();
}

/// The pictures are taken out of the records.
std::map<std::string, Tensor> pack_tensors(std::vector<PackedRecord>& records, int64_t side) {
  const auto count = static_cast<int64_t>(records.size());
  std::vector<Tensor> images, masks, counterfactuals;
  Tensor labels = torch::empty({count}, torch::kInt64);
  Tensor splits = torch::empty({count}, torch::kUInt8);
  Tensor sizes = torch::empty({count, 2}, torch::kInt32);
  for (int64_t i = 0; i < count; ++i) {
    PackedRecord& packed = records[i];
    images.push_back(std::move(packed.picture.image));
    if (packed.picture.mask.defined()) masks.push_back(std::move(packed.picture.mask));
    if (packed.counterfactual.defined())
      counterfactuals.push_back(std::move(packed.counterfactual));
    labels.data_ptr<int64_t>()[i] = packed.record.label;
    splits.data_ptr<uint8_t>()[i] = static_cast<uint8_t>(packed.split);
    auto* size = sizes.data_ptr<int32_t>() + 2 * i;
    size[0] = static_cast<int32_t>(packed.native_size.width);
    size[1] = static_cast<int32_t>(packed.native_size.height);
  }
  return {{"images", stacked(images, side, /*has_channels=*/true)},
          {"masks", stacked(masks, side, /*has_channels=*/false)},
          {"counterfactuals", stacked(counterfactuals, side, /*has_channels=*/true)},
          {"labels", labels},
          {"splits", splits},
          {"native_sizes", sizes}};
}

std::map<std::string, std::string> pack_metadata(const std::vector<PackedRecord>& records,
                                                 const ImageFolder& folder) {
  json paths[3] = {json::array(), json::array(), json::array()};
  for (const auto& packed : records) {
    const fs::path* files[] = {&packed.record.image, &packed.record.mask,
                               &packed.record.counterfactual};
    for (int kind = 0; kind < 3; ++kind)
      paths[kind].push_back(path_below(folder.root, *files[kind]));
  }
  return {{"format", kPackFormat},
          {"format_version", kPackVersion},
          {"class_names", json(folder.class_names).dump()},
          {"reference_class", folder.class_names.at(folder.reference_class)},
          {kPaths[0], paths[0].dump()},
          {kPaths[1], paths[1].dump()},
          {kPaths[2], paths[2].dump()}};
}

/// Reads a pack; every refusal names the file.
class PackReader {
 public:
  explicit PackReader(const fs::path& path) : path_(path), file_(read_safetensors(path)) {
    if (text("format") != kPackFormat)
      refuse("is no packed data set; make one with: flipside data pack DIR {}", path.string());
    if (text("format_version") != kPackVersion)
      refuse("is of version {}, this program reads {}; pack the folder again",
             text("format_version"), kPackVersion);
    text("crc32");  // the reader has checked it where it is there
  }

  ImageFolder read() {
    ImageFolder folder;
    folder.root = path_;
    folder.has_splits = true;
    folder.class_names = list("class_names");
    if (folder.class_names.size() < 2) refuse("class_names: must be two or more");
    const auto reference =
        std::find(folder.class_names.begin(), folder.class_names.end(), text("reference_class"));
    if (reference == folder.class_names.end())
      refuse("reference_class = {}: must be one of {}", text("reference_class"),
             fmt::join(folder.class_names, ", "));
    folder.reference_class = reference - folder.class_names.begin();
    folder.reference_reason = "as it was packed";
    PackedImages::Pixels pixels = read_pixels();
    add_records(folder, pixels);
    folder.pack = std::make_shared<const PackedImages>(std::move(pixels));
    return folder;
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::kData, "{}: {}", path_.string(),
         fmt::format(format, std::forward<Args>(args)...));
  }

  const std::string& text(const std::string& key) const {
    const auto found = file_.metadata.find(key);
    if (found == file_.metadata.end())
      refuse(
          "is no packed data set (metadata {} is missing); make one with: flipside data pack "
          "DIR {}",
          key, path_.string());
    return found->second;
  }

  std::vector<std::string> list(const std::string& key) const {
    const json values = json::parse(text(key), nullptr, /*allow_exceptions=*/false);
    const bool strings =
        values.is_array() &&
        std::all_of(values.begin(), values.end(), [](const json& v) { return v.is_string(); });
    if (!strings) refuse("metadata {}: must be a JSON list of texts", key);
    return values;
  }

  /// A tensor of the given type and sizes; -1 stands for any.
  Tensor take(const std::string& name, at::ScalarType type, const std::vector<int64_t>& sizes) {
    const auto found = file_.tensors.find(name);
    if (found == file_.tensors.end()) refuse("tensor {} is missing", name);
    Tensor tensor = std::move(found->second);
    file_.tensors.erase(found);
    bool fits = tensor.scalar_type() == type && tensor.dim() == static_cast<int64_t>(sizes.size());
    for (size_t d = 0; fits && d < sizes.size(); ++d)
      fits = sizes[d] < 0 || tensor.size(static_cast<int64_t>(d)) == sizes[d];
    if (!fits)
      refuse("tensor {} is {} [{}], expected {} [{}] (-1: any)", name,
             at::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ","), at::toString(type),
             fmt::join(sizes, ","));
    return tensor;
  }

  PackedImages::Pixels read_pixels() {
    const auto pixels_last = [](const Tensor& t) { return t.permute({0, 2, 3, 1}).contiguous(); };
    PackedImages::Pixels pixels;
    const Tensor images = take("images", at::kByte, {-1, 3, -1, -1});
    const int64_t side = images.size(2);
    if (images.size(0) == 0 || side == 0 || images.size(3) != side)
      refuse("tensor images is [{}]: must be square images, one or more",
             fmt::join(images.sizes(), ","));
    pixels.images = pixels_last(images);
    pixels.masks = take("masks", at::kByte, {-1, side, side});
    if (pixels.masks.numel() > 0 &&
        !((pixels.masks == 0) | (pixels.masks == 255)).all().item<bool>())
      refuse("tensor masks: values must be 0 or 255");
    pixels.counterfactuals = pixels_last(take("counterfactuals", at::kByte, {-1, 3, side, side}));
    pixels.native_sizes = take("native_sizes", at::kInt, {images.size(0), 2});
    return pixels;
  }

  /// Row numbers of those that have a path, one after the other; -1 for the others.
  std::vector<int64_t> rows_of(const std::string& name, const std::vector<std::string>& paths,
                               int64_t available) const {
    std::vector<int64_t> rows;
    int64_t next = 0;
    for (const auto& path : paths) rows.push_back(path.empty() ? -1 : next++);
    if (next != available) refuse("{} has {} paths for {} images", name, next, available);
    return rows;
  }

  void add_records(ImageFolder& folder, PackedImages::Pixels& pixels) {
    const int64_t n = pixels.images.size(0);
    const Tensor labels = take("labels", at::kLong, {n}), splits = take("splits", at::kByte, {n});
    std::vector<std::string> paths[3];
    for (int kind = 0; kind < 3; ++kind) {
      paths[kind] = list(kPaths[kind]);
      if (static_cast<int64_t>(paths[kind].size()) != n)
        refuse("metadata {}: {} paths for {} images", kPaths[kind], paths[kind].size(), n);
    }
    pixels.mask_rows = rows_of("masks", paths[1], pixels.masks.size(0));
    pixels.counterfactual_rows =
        rows_of("counterfactuals", paths[2], pixels.counterfactuals.size(0));
    for (int64_t i = 0; i < n; ++i) {
      const int64_t label = labels.data_ptr<int64_t>()[i];
      const int split = splits.data_ptr<uint8_t>()[i];
      if (label < 0 || label >= folder.num_classes() || split >= static_cast<int>(kSplits.size()))
        refuse("image {} has label {} and split {}: must be in [0,{}) and [0,{})", i, label, split,
               folder.num_classes(), kSplits.size());
      folder.records[split].push_back({paths[0][i], paths[1][i], paths[2][i], label, i});
    }
  }

  fs::path path_;
  SafetensorsFile file_;
};

}  // namespace

Picture PackedImages::picture(int64_t row) const {
  const int64_t mask = pixels_.mask_rows.at(row);
  return {pixels_.images[row], mask < 0 ? Tensor() : pixels_.masks[mask]};
}

Tensor PackedImages::counterfactual(int64_t row) const {
  const int64_t place = pixels_.counterfactual_rows.at(row);
  return place < 0 ? Tensor() : pixels_.counterfactuals[place];
}

ImageSize PackedImages::native_size(int64_t row) const {
  const auto* sizes = pixels_.native_sizes.data_ptr<int32_t>();
  return {sizes[2 * row], sizes[2 * row + 1]};
}

PackCounts write_pack(const ImageFolder& folder, int64_t side, const fs::path& file) {
  if (folder.pack)
    fail(ErrorCode::kData, "{}: is a pack already; give the folder of images",
         folder.root.string());
  std::vector<PackedRecord> records = list_records(folder);
  read_pictures(records, side);
  PackCounts counts;
  counts.unreadable = drop_unreadable(records, folder);
  counts.images = static_cast<int64_t>(records.size());
  SafetensorsFile pack;
  pack.tensors = pack_tensors(records, side);
  try {
    pack.metadata = pack_metadata(records, folder);
  } catch (const json::exception& error) {
    fail(ErrorCode::kData, "{}: names must be UTF-8; rename the files: {}", folder.root.string(),
         error.what());
  }
  write_safetensors(file, pack);
  return counts;
}

bool is_pack_file(const fs::path& path) {
  return path.extension() == ".safetensors" && !fs::is_directory(path);
}

ImageFolder read_pack(const fs::path& file) {
  if (!fs::exists(file))
    fail(ErrorCode::kData, "{}: no such file; make it with: flipside data pack DIR {}",
         file.string(), file.string());
  return PackReader(file).read();
}

void require_size(const ImageFolder& folder, int64_t side) {
  if (folder.pack && folder.pack->side() != side)
    fail(ErrorCode::kConfig,
         "{}: holds images of {}x{} pixels, but data.size = {}: train with --size {}, or pack the "
         "folder again with --size {}",
         folder.root.string(), folder.pack->side(), folder.pack->side(), side, folder.pack->side(),
         side);
}

}  // namespace flipside
