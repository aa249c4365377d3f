#include "flipside/data/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "flipside/core/error.h"
#include "flipside/data/effect_size.h"
#include "flipside/data/image_facts.h"
#include "flipside/data/strays.h"

namespace flipside {
namespace {

using Severity = Finding::Severity;

constexpr size_t kExamples = 3;       // files named in a finding
constexpr int64_t kFewImages = 20;    // of a class, in training
constexpr double kImbalance = 3.0;    // most to fewest images of a class
constexpr double kLargeEffect = 0.8;  // Cohen's d; "large" in Cohen (1988)
/// "Medium" there, and enough for a note on colour: generators have painted whole images where the
/// classes differed by .56 (docs/experiments.md, "Casts of colour").
constexpr double kMediumEffect = 0.5;
constexpr size_t kFewForEffect = 5;  // images of a class below which d says nothing
constexpr double kLongImage = 1.5;   // long to short side
constexpr int kDarkest = 31;         // an eighth of the range

/// Gathers findings; what they are about is named relative to the data set's folder.
class Checker {
 public:
  Checker(DataReport& report, const std::vector<ImageFacts>& facts, const DataConfig& config)
      : report_(report), folder_(report.folder), facts_(facts), config_(config) {}

  void check_files();
  void check_mask_contents();
  void check_mask_pairs();
  void check_equal_images();
  void check_counts();
  void check_splits();
  void check_reference();
  void check_range();
  void check_shapes();
  void check_cues();
  void check_strays();

 private:
  using Paths = std::vector<fs::path>;
  using Measure = std::function<double(const ImageFacts&)>;

  void add(Severity severity, std::string what, std::string remedy) {
    report_.findings.push_back({severity, std::move(what), std::move(remedy)});
  }
  /// Adds nothing where there are no paths; `what` follows their number.
  void add_paths(Severity severity, Paths paths, const std::string& what,
                 const std::string& remedy) {
    std::sort(paths.begin(), paths.end());
    if (!paths.empty())
      add(severity, fmt::format("{} {}: {}", paths.size(), what, examples(paths)), remedy);
  }
  std::string examples(const Paths& paths) const;
  std::string relative(const fs::path& path) const {
    return path.lexically_relative(folder_.root).string();
  }
  const std::string& name(int64_t label) const { return folder_.class_names[label]; }
  Paths paths_where(const std::function<bool(const ImageFacts&)>& condition, bool masks) const;
  void compare_with_reference(Severity severity, const std::string& quantity,
                              const Measure& measure, const std::function<double(double)>& shown,
                              const std::string& remedy, double least = kLargeEffect);

  DataReport& report_;
  const ImageFolder& folder_;
  const std::vector<ImageFacts>& facts_;
  const DataConfig& config_;
};

std::string Checker::examples(const Paths& paths) const {
  std::string text;
  for (size_t i = 0; i < std::min(paths.size(), kExamples); ++i)
    text += (i > 0 ? ", " : "") + relative(paths[i]);
  if (paths.size() > kExamples) text += fmt::format(" and {} more", paths.size() - kExamples);
  return text;
}

Checker::Paths Checker::paths_where(const std::function<bool(const ImageFacts&)>& condition,
                                    bool masks) const {
  Paths paths;
  for (const auto& facts : facts_)
    if (condition(facts)) paths.push_back(masks ? facts.record.mask : facts.record.image);
  return paths;
}

void Checker::check_files() {
  for (const auto& facts : facts_) {
    if (!facts.problem.empty())
      add(Severity::kError, facts.problem, "mend or remove it; training and evaluation skip it");
    if (!facts.mask_problem.empty())
      add(Severity::kError, facts.mask_problem,
          "mend or remove it; training and evaluation skip its image");
  }
}

void Checker::check_mask_contents() {
  const auto has_good_mask = [](const ImageFacts& facts) {
    return facts.problem.empty() && facts.mask_problem.empty() && !facts.record.mask.empty();
  };
  const int64_t reference = folder_.reference_class;
  add_paths(Severity::kWarning,
            paths_where(
                [&](const ImageFacts& facts) {
                  return has_good_mask(facts) && facts.record.label != reference &&
                         facts.mask_is_empty;
                },
                /*masks=*/true),
            "masks of defect images mark no pixel",
            "defects must be brighter than half of the range: 0 and 255, or 0 and 1");
  add_paths(
      Severity::kWarning,
      paths_where(
          [&](const ImageFacts& facts) {
            return has_good_mask(facts) && facts.record.label == reference && !facts.mask_is_empty;
          },
          /*masks=*/true),
      fmt::format("images of the reference class {} have a defect in their mask", name(reference)),
      "move the images to a defect class, or set data.reference_class");
}

void Checker::check_mask_pairs() {
  std::map<fs::path, Paths> images_of_mask;
  for (const auto& facts : facts_)
    if (!facts.record.mask.empty()) images_of_mask[facts.record.mask].push_back(facts.record.image);
  Paths shared;
  for (const auto& [mask, images] : images_of_mask)
    if (images.size() > 1) shared.push_back(mask);
  add_paths(Severity::kWarning, shared, "masks belong to more than one image",
            "rename the images so that each has a name of its own over all splits");
  for (Split split : kSplits) {
    if (!folder_.has_masks(split)) continue;
    const int s = static_cast<int>(split);
    for (int64_t label = 0; label < folder_.num_classes(); ++label) {
      const int64_t missing = report_.count[s][label] - report_.masks[s][label];
      if (label == folder_.reference_class || missing == 0) continue;
      add(Severity::kNote,
          fmt::format("{} of the {} {} images of class {} have no mask", missing,
                      report_.count[s][label], to_string(split), name(label)),
          "they are left out where masks are measured; add the masks if you have them");
    }
  }
}

void Checker::check_equal_images() {
  std::map<uint64_t, std::vector<const ImageFacts*>> by_hash;
  for (const auto& facts : facts_)
    if (facts.problem.empty()) by_hash[facts.hash].push_back(&facts);
  Paths across_classes, across_splits, within;
  for (const auto& [hash, equal] : by_hash) {
    if (equal.size() < 2) continue;
    const auto differ = [&equal = equal](const auto& property) {
      return std::any_of(equal.begin(), equal.end(), [&](const ImageFacts* facts) {
        return property(*facts) != property(*equal[0]);
      });
    };
    Paths& found = differ([](const ImageFacts& f) { return f.record.label; }) ? across_classes
                   : differ([](const ImageFacts& f) { return f.split; })      ? across_splits
                                                                              : within;
    for (const ImageFacts* facts : equal) found.push_back(facts->record.image);
  }
  add_paths(Severity::kError, across_classes, "images have an equal one in another class",
            "decide for one class and remove the other files");
  add_paths(Severity::kWarning, across_splits, "images have an equal one in another split",
            "keep each in one split only; results on copies of training images are worth nothing");
  add_paths(Severity::kNote, within, "images have an equal one in their split and class",
            "remove the copies unless you want them to count double");
}

void Checker::check_counts() {
  const auto& train = report_.count[static_cast<int>(Split::kTrain)];
  for (int64_t label = 0; label < folder_.num_classes(); ++label) {
    if (train[label] == 0)
      add(Severity::kError, fmt::format("class {} has no training images", name(label)),
          fmt::format("move images of another split to train/{}; evaluating works without",
                      name(label)));
    else if (train[label] < kFewImages)
      add(Severity::kWarning,
          fmt::format("class {} has {} training images only", name(label), train[label]),
          fmt::format("collect more: {} are few, some hundred are good", kFewImages));
  }
  const auto [least, most] = std::minmax_element(train.begin(), train.end());
  if (*least > 0 && static_cast<double>(*most) > kImbalance * static_cast<double>(*least))
    add(config_.balanced ? Severity::kNote : Severity::kWarning,
        fmt::format("class {} has {:.1f} times as many training images as class {}",
                    name(most - train.begin()),
                    static_cast<double>(*most) / static_cast<double>(*least),
                    name(least - train.begin())),
        config_.balanced ? "batches are balanced (data.balanced); more images of the rare class "
                           "still help"
                         : "set data.balanced = true");
}

void Checker::check_splits() {
  for (Split split : kSplits) {
    if (split == Split::kTrain) continue;
    const auto& count = report_.count[static_cast<int>(split)];
    const bool is_empty = folder_.split(split).empty();
    if (is_empty)
      add(split == Split::kVal ? Severity::kError : Severity::kNote,
          fmt::format("the {} split has no images", to_string(split)),
          fmt::format("add {}/<class>/ with images that training has not seen", to_string(split)));
    for (int64_t label = 0; label < folder_.num_classes() && !is_empty; ++label)
      if (count[label] == 0)
        add(Severity::kWarning,
            fmt::format("class {} has no {} images", name(label), to_string(split)),
            fmt::format("nothing can be said about it there; move some to {}/{}", to_string(split),
                        name(label)));
  }
  if (folder_.has_splits && !fs::is_directory(folder_.root / to_string(Split::kVal)) &&
      !folder_.split(Split::kVal).empty())
    add(Severity::kNote,
        fmt::format("there is no val/: {} training images are set aside for validation",
                    folder_.split(Split::kVal).size()),
        "add val/<class>/ to choose them yourself, or change data.val_fraction");
}

void Checker::check_reference() {
  if (!config_.reference_class.empty() || guess_reference_class(folder_.class_names) >= 0) return;
  add(Severity::kWarning,
      fmt::format("the reference class {} is {}", name(folder_.reference_class),
                  folder_.reference_reason),
      "set data.reference_class to the class of the good parts");
}

/// A camera's 12 bits in a file of 16 fill a sixteenth of its range.
void Checker::check_range() {
  add_paths(Severity::kWarning,
            paths_where(
                [](const ImageFacts& facts) {
                  return facts.problem.empty() && facts.brightest <= kDarkest;
                },
                /*masks=*/false),
            fmt::format("images are darker than {} of 255 everywhere", kDarkest + 1),
            "stretch them to the whole range when they are exported, if they are 10 to 14 bits of "
            "a camera in files of 16, or photograph with more light");
}

void Checker::check_shapes() {
  const auto readable_where = [this](const std::function<bool(const cv::Size&)>& condition) {
    return paths_where(
        [&](const ImageFacts& facts) { return facts.problem.empty() && condition(facts.size); },
        /*masks=*/false);
  };
  const auto side = static_cast<int>(config_.size);
  add_paths(Severity::kNote, readable_where([side](const cv::Size& size) {
              return std::min(size.width, size.height) < side;
            }),
            fmt::format("images are smaller than data.size = {} and are enlarged", side),
            "lower data.size if most of your images are so small");
  add_paths(Severity::kNote, readable_where([](const cv::Size& size) {
              return std::max(size.width, size.height) >
                     kLongImage * std::min(size.width, size.height);
            }),
            fmt::format("images have a side over {} times the other and are squeezed to squares",
                        kLongImage),
            "crop or tile them to squares if defects are thin");
}

/// One finding for all classes whose `measure` differs from the reference class's by more than
/// `least` (Cohen's d) over the training images: what a model could learn. `shown` turns a mean
/// into what a person reads.
void Checker::compare_with_reference(Severity severity, const std::string& quantity,
                                     const Measure& measure,
                                     const std::function<double(double)>& shown,
                                     const std::string& remedy, double least) {
  std::vector<std::vector<double>> values(folder_.class_names.size());
  for (const auto& facts : facts_)
    if (facts.problem.empty() && facts.split == Split::kTrain)
      values[facts.record.label].push_back(measure(facts));
  const auto& reference = values[folder_.reference_class];
  std::string different;
  for (int64_t label = 0; label < folder_.num_classes(); ++label) {
    const auto& other = values[label];
    if (label == folder_.reference_class ||
        std::min(other.size(), reference.size()) < kFewForEffect)
      continue;
    const double effect = cohens_d(reference, other);
    if (effect > least)
      different += fmt::format("{}{} {:.3g} (d = {:.1f})", different.empty() ? "" : ", ",
                               name(label), shown(mean(other)), effect);
  }
  if (!different.empty())
    add(severity,
        fmt::format("the classes differ in {}: {} {:.3g} against {}", quantity,
                    name(folder_.reference_class), shown(mean(reference)), different),
        remedy);
}

void Checker::check_cues() {
  const auto as_is = [](double value) { return value; };
  const auto exponential = [](double value) { return std::exp(value); };
  compare_with_reference(
      Severity::kWarning, "mean brightness", [](const ImageFacts& f) { return f.brightness; },
      as_is,
      "a model can take the light for the defect: photograph all under one light, or raise "
      "data.gain and data.offset");
  compare_with_reference(
      Severity::kNote, "colour (red over blue)", [](const ImageFacts& f) { return f.warmth; },
      exponential,
      "harmless when the defect itself has a colour; otherwise a model can take the lamp for the "
      "defect: photograph all under one light, or raise data.tint to 0.12",
      kMediumEffect);
  compare_with_reference(
      Severity::kWarning, "size (megapixels)",
      [](const ImageFacts& f) { return std::log(f.size.area() * 1e-6); }, exponential,
      "a model can take the sharpness for the defect: crop all images to one size");
  compare_with_reference(
      Severity::kWarning, "shape (width over height)",
      [](const ImageFacts& f) { return std::log(double(f.size.width) / f.size.height); },
      exponential, "a model can take the squeezing for the defect: crop all images to one shape");
  compare_with_reference(
      Severity::kNote, "file size (bytes per pixel)",
      [](const ImageFacts& f) { return std::log(double(f.bytes) / f.size.area()); }, exponential,
      "harmless when the defect itself adds detail; otherwise save all images with one format and "
      "quality");
}

void Checker::check_strays() {
  const Strays strays = find_strays(folder_);
  add_paths(Severity::kWarning, strays.companions, "masks or counterfactuals belong to no image",
            "name them masks/<class>/<stem of the image>.png (or ground_truth/<class>/<stem>"
            "_mask.png)");
  add_paths(Severity::kWarning, strays.outside,
            "images lie outside of a class folder and are passed over",
            "move them into the folder of their class");
  add_paths(Severity::kNote, strays.folders, "folders beside the splits are passed over",
            "rename them if they are meant as train, val or test");
  add_paths(Severity::kNote, strays.no_image,
            "files in class folders are no images and are passed over",
            "convert them to PNG or JPEG if they are pictures");
}

void count_records(DataReport& report, const std::vector<ImageFacts>& facts) {
  const std::vector<int64_t> none(report.folder.class_names.size());
  report.count.assign(3, none);
  report.masks.assign(3, none);
  for (const auto& one : facts) {
    const int split = static_cast<int>(one.split);
    ++report.count[split][one.record.label];
    if (!one.record.mask.empty()) ++report.masks[split][one.record.label];
    if (one.problem.empty()) ++report.sizes[fmt::format("{}x{}", one.size.width, one.size.height)];
  }
}

}  // namespace

bool DataReport::has_errors() const {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.severity == Severity::kError; });
}

DataReport check_data(const fs::path& root, const DataConfig& config) {
  DataReport report;
  report.folder = scan_image_folder(root, config);
  if (report.folder.pack)
    fail(ErrorCode::kUsage,
         "{}: is a packed data set, whose files are gone; check the folder that it was made from",
         root.string());
  const auto facts = gather_facts(report.folder);
  count_records(report, facts);
  Checker checker(report, facts, config);
  checker.check_files();
  checker.check_mask_contents();
  checker.check_mask_pairs();
  checker.check_equal_images();
  checker.check_counts();
  checker.check_splits();
  checker.check_reference();
  checker.check_range();
  checker.check_shapes();
  checker.check_cues();
  checker.check_strays();
  sort_by_severity(report.findings);
  return report;
}

}  // namespace flipside
