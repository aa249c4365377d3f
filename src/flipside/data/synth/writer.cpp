#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/data/image_io.h"
#include "flipside/data/parallel.h"
#include "flipside/data/synth/synth.h"

namespace flipside::synth {
namespace {

// Raised whenever the same options give other pixels than before.
constexpr int kVersion = 1;
constexpr int64_t kMinCount = 6;  // both classes in each of the three splits
constexpr int64_t kMaxCount = 1'000'000;
constexpr int kMinSize = 32, kMaxSize = 1024;
constexpr const char* kOptionsFile = "synth.json";

// Which split a pair of scenes (one with, one without defect) goes to, repeated every 20 pairs:
// 14 train, 3 val, 3 test, spread evenly so that every count comes near to 70/15/15 %.
constexpr std::string_view kSplitOfPair = "tvstttttvttsttvttstt";

struct Kind {
  const char* name;
  const char* defect_class;
  const char* good_class;
  Scene (*make)(int size, bool defect, Rng& rng);
};
constexpr std::array<Kind, 2> kKinds{
    {{"cracks", "crack", "intact", make_crack_scene}, {"fruit", "bad", "good", make_fruit_scene}}};

const Kind& find_kind(const std::string& name) {
  for (const Kind& kind : kKinds)
    if (name == kind.name) return kind;
  fail(ErrorCode::kUsage, "kind = {}: unknown; choose cracks or fruit", name);
}

void check_range(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    fail(ErrorCode::kUsage, "{} = {}: must be from {} to {}", name, value, low, high);
}

/// Scenes 2p and 2p + 1 are pair p: first the defect, then the good one.
bool has_defect(int64_t index) { return index % 2 == 0; }

const char* split_of(int64_t index) {
  switch (kSplitOfPair[static_cast<size_t>(index / 2) % kSplitOfPair.size()]) {
    case 'v':
      return "val";
    case 's':
      return "test";
    default:
      return "train";
  }
}

struct ScenePaths {
  fs::path image, mask, clean;
};

ScenePaths paths_of(const fs::path& out, const Kind& kind, int64_t index) {
  const fs::path split = out / split_of(index);
  const char* label = has_defect(index) ? kind.defect_class : kind.good_class;
  const std::string name = fmt::format("{:05}.png", index);
  return {split / label / name, split / "masks" / label / name,
          split / "counterfactuals" / label / name};
}

void write_scene(const fs::path& out, const Kind& kind, const SynthOptions& options,
                 int64_t index) {
  Rng rng({options.seed, static_cast<uint64_t>(index)});
  const Scene scene = kind.make(options.size, has_defect(index), rng);
  const ScenePaths paths = paths_of(out, kind, index);
  if (has_defect(index)) {
    write_image(paths.mask, scene.mask);
    write_image(paths.clean, scene.clean);
  }
  write_image(paths.image, scene.image);  // last: where it is, the scene is whole
}

nlohmann::json describe(const SynthOptions& options) {
  return {{"version", kVersion},
          {"kind", options.kind},
          {"count", options.count},
          {"size", options.size},
          {"seed", options.seed}};
}

/// Makes OUT ours: new, empty, or begun before with the same options.
void claim_folder(const fs::path& out, const SynthOptions& options) {
  const fs::path file = out / kOptionsFile;
  if (fs::exists(file)) {
    const auto found = nlohmann::json::parse(read_file(file), nullptr, /*allow_exceptions=*/false);
    if (found == describe(options)) return;
    fail(ErrorCode::kUsage,
         "{}: holds another generated data set: {}, and {} is asked for; choose another folder or "
         "delete this one",
         out.string(), found.is_discarded() ? "unreadable options" : found.dump(),
         describe(options).dump());
  }
  if (fs::exists(out) && !fs::is_directory(out))
    fail(ErrorCode::kUsage, "{}: is a file; choose another folder", out.string());
  if (fs::exists(out) && !fs::is_empty(out))
    fail(ErrorCode::kUsage,
         "{}: is not empty and holds no {} of an earlier run; choose an empty or new folder",
         out.string(), kOptionsFile);
  atomic_write(file, describe(options).dump(2) + "\n");
}

std::vector<int64_t> missing_scenes(const fs::path& out, const Kind& kind, int64_t count) {
  std::vector<int64_t> missing;
  for (int64_t i = 0; i < count; ++i)
    if (!fs::exists(paths_of(out, kind, i).image)) missing.push_back(i);
  return missing;
}

/// Removes the half-written files of an interrupted run.
void remove_leftovers(const fs::path& out) {
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::recursive_directory_iterator(out))
    if (entry.path().filename().string().find(".png.tmp") != std::string::npos)
      leftovers.push_back(entry.path());
  for (const fs::path& path : leftovers) fs::remove(path);
}

}  // namespace

void write_data_set(const fs::path& out, const SynthOptions& options) {
  const Kind& kind = find_kind(options.kind);
  check_range("count", options.count, kMinCount, kMaxCount);
  check_range("size", options.size, kMinSize, kMaxSize);
  claim_folder(out, options);
  const std::vector<int64_t> missing = missing_scenes(out, kind, options.count);
  if (missing.empty()) {
    info("{}: already holds these {} images; nothing to do", out.string(), options.count);
    return;
  }
  remove_leftovers(out);
  const auto todo = static_cast<int64_t>(missing.size());
  Progress progress("synth " + options.kind, options.count, "img", options.count - todo);
  for_each_index(
      todo, [&](int64_t i) { write_scene(out, kind, options, missing[static_cast<size_t>(i)]); },
      [&](int64_t) { progress.advance(1); }, options.threads);
}

}  // namespace flipside::synth
