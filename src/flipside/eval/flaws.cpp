#include "flipside/eval/flaws.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "flipside/eval/intervals.h"
#include "flipside/eval/text_table.h"

namespace flipside {
namespace {

using Severity = Finding::Severity;

/// Looks for one kind of flaw after the other.
class FlawFinder {
 public:
  explicit FlawFinder(const Results& results) : results_(results) {}
  std::vector<Finding> find();

 private:
  void check_classes();
  void check_chance();
  void check_counts();
  void check_flips();
  void check_judge();
  void check_false_marks();
  void check_masks();
  void check_diversity();
  void check_casts();
  void check_extent();
  void check_faithfulness();

  void warn_of(std::string what, std::string remedy) {
    findings_.push_back({Severity::kWarning, std::move(what), std::move(remedy)});
  }
  void note(std::string what, std::string remedy) {
    findings_.push_back({Severity::kNote, std::move(what), std::move(remedy)});
  }
  const std::string& name(int64_t label) const { return results_.class_names.at(label); }
  /// "crack > intact (0.120), stain > intact (0.310)": the directions of `scores` (of flips or
  /// changes) that are `chosen`, each with what `shown` says of it.
  template <typename Scores, typename Chosen, typename Shown>
  std::string directions(const std::vector<Scores>& scores, Chosen chosen, Shown shown) const {
    std::vector<std::string> found;
    for (const auto& one : scores)
      if (chosen(one))
        found.push_back(fmt::format("{} > {} ({})", name(one.from), name(one.to), shown(one)));
    return fmt::format("{}", fmt::join(found, ", "));
  }
  /// Whether a direction takes a defect out.
  template <typename Scores>
  bool heals(const Scores& scores) const {
    return scores.from != results_.reference_class && scores.to == results_.reference_class;
  }
  /// Whether the model takes most counterfactuals of this direction for their target.
  bool flips(int64_t from, int64_t to) const;

  const Results& results_;
  std::vector<Finding> findings_;
};

int64_t sum(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

bool FlawFinder::flips(int64_t from, int64_t to) const {
  return std::any_of(results_.flips.begin(), results_.flips.end(), [&](const FlipScores& flip) {
    return flip.from == from && flip.to == to && flip.by_discriminator >= kHalf;
  });
}

void FlawFinder::check_classes() {
  for (size_t k = 0; k < results_.confusion.size(); ++k) {
    const auto& row = results_.confusion[k];
    const int64_t images = sum(row);
    if (images == 0 || static_cast<double>(row[k]) >= kHalf * static_cast<double>(images)) continue;
    const auto taken = std::max_element(row.begin(), row.end()) - row.begin();
    warn_of(fmt::format("class {}: {} of {} images are recognised, {} are taken for {}", name(k),
                        row[k], images, row[taken], name(taken)),
            "look at these images and their labels (flipside data check, flipside report); a "
            "defect thinner than a pixel at the training size needs a larger --size; else more "
            "--steps");
  }
}

void FlawFinder::check_chance() {
  if (!findings_.empty()) return;  // of single classes, which says more
  double recalls = 0, classes = 0;
  for (size_t k = 0; k < results_.confusion.size(); ++k) {
    const int64_t images = sum(results_.confusion[k]);
    if (images == 0) continue;
    recalls += static_cast<double>(results_.confusion[k][k]) / static_cast<double>(images);
    ++classes;
  }
  if (classes < 2) return;
  const double balanced = recalls / classes, chance = 1 / classes;
  if (balanced >= chance + kBetterThanChance * (1 - chance)) return;
  warn_of(fmt::format("the classes are hardly told apart: balanced accuracy {}, chance has {}",
                      number(balanced), number(chance)),
          "look at the labels (flipside data check); else give --lr-classifier 0.0002 and more "
          "--steps (of --model counterfactual: --discriminator-warmup 6000), a larger --size, or "
          "more images");
}

void FlawFinder::check_counts() {
  std::vector<std::string> few;
  for (size_t k = 0; k < results_.confusion.size(); ++k) {
    const int64_t images = sum(results_.confusion[k]);
    if (images == 0 || images >= kFewImages) continue;
    const Interval known = wilson_interval(results_.confusion[k][k], images);
    few.push_back(fmt::format("{} {} to {} ({} images)", name(k), number(known.low, 2),
                              number(known.high, 2), images));
  }
  if (!few.empty())
    note(fmt::format("few images, so that it is known roughly which share is recognised (95 %): {}",
                     fmt::join(few, ", ")),
         "set more labelled images of these classes aside for " +
             std::string(to_string(results_.split)));
}

void FlawFinder::check_flips() {
  const auto failed = [this](bool healing) {
    return directions(
        results_.flips,
        [&](const FlipScores& f) { return heals(f) == healing && f.by_discriminator < kHalf; },
        [](const FlipScores& f) { return number(f.by_discriminator); });
  };
  const std::string healed = failed(true), damaged = failed(false);
  const char* remedy =
      "train again with another --seed (chance has its part in it), with --fake-weight 0.15 (the "
      "discriminator is then easier to convince) or more --steps";
  if (!healed.empty())
    warn_of(
        "the generator gives up: few counterfactuals convince the model, so that maps and "
        "masks of these defects are no explanation: " +
            healed,
        remedy);
  if (!damaged.empty())
    note("few good images can be turned into these defects, which are therefore not shown well: " +
             damaged,
         remedy);
}

void FlawFinder::check_judge() {
  const std::string unconvinced = directions(
      results_.flips,
      [](const FlipScores& f) {
        return f.by_judge && *f.by_judge < kHalf && f.by_discriminator >= kHalf;
      },
      [](const FlipScores& f) {
        return fmt::format("model {}, judge {}", number(f.by_discriminator), number(*f.by_judge));
      });
  if (!unconvinced.empty())
    warn_of(
        "counterfactuals convince the model but not the judge, so that they show what deceives "
        "this model more than what the class looks like: " +
            unconvinced,
        "look at the pictures; train again with another --seed or more --steps");
}

void FlawFinder::check_false_marks() {
  if (std::isnan(results_.false_marks) || results_.false_marks < kFalseMarks) return;
  warn_of(
      fmt::format("good images are marked nearly as much as defects: {} of the pixels, where {} "
                  "stays {}, per pixel marked on defects",
                  number(results_.false_marks, 2), name(results_.reference_class),
                  name(results_.reference_class)),
      "do not rely on these masks; train again with a smaller --false-change-goal (0.2: good "
      "images "
      "are held to stay as they are) or another --seed, and look with flipside data check whether "
      "the classes differ in more than the defect");
}

void FlawFinder::check_masks() {
  if (!results_.label_free || !results_.darkness_iou) return;
  if (results_.label_free->iou >= *results_.darkness_iou) return;
  warn_of(
      fmt::format("masks are worse than the trivial map \"darker than its surroundings\": IoU {} "
                  "and {}",
                  number(results_.label_free->iou), number(*results_.darkness_iou)),
      "more --steps or another --seed; is the training scale fine enough (--size)?");
}

void FlawFinder::check_diversity() {
  const std::string alike = directions(
      results_.changes,
      [this](const ChangeScores& c) {
        return c.diversity < kLeastDiversity && flips(c.from, c.to);
      },
      [](const ChangeScores& c) { return number(c.diversity); });
  if (!alike.empty())
    note("the same change in every image (diversity of 0 to 1): " + alike,
         "right where a class always looks alike, such as an empty place; otherwise the generator "
         "paints one stroke everywhere: train again with another --seed");
}

void FlawFinder::check_casts() {
  if (results_.without_cast)
    note("mended images get another colour all over, which maps leave out",
         "the classes differ in colour, perhaps by the lamp: photograph all under one light, or "
         "train with a larger --tint (0.12)");
}

void FlawFinder::check_extent() {
  const std::string wide = directions(
      results_.changes, [this](const ChangeScores& c) { return heals(c) && c.changed > kHalf; },
      [](const ChangeScores& c) { return number(c.changed); });
  if (!wide.empty())
    note("most of the image changes (share of the pixels): " + wide,
         "right where the classes differ in the whole object; otherwise they differ in light or "
         "background too: see flipside data check and configs/objects.toml");
}

void FlawFinder::check_faithfulness() {
  const auto& scores =
      results_.judge_faithfulness ? results_.judge_faithfulness : results_.faithfulness;
  if (!scores || scores->images == 0 || scores->deletion >= kHalf) return;
  note(fmt::format("what lies in the mask alone turns {} of the {}'s answers: it goes by more than "
                   "the masks show",
                   number(scores->deletion), results_.judge_faithfulness ? "judge" : "model"),
       "look at the counterfactual and the heat map beside the mask; --sensitivity 2 of explain "
       "marks fainter changes too");
}

std::vector<Finding> FlawFinder::find() {
  check_classes();
  check_chance();
  check_flips();
  check_judge();
  check_false_marks();
  check_masks();
  check_diversity();
  check_casts();
  check_extent();
  check_faithfulness();
  check_counts();
  sort_by_severity(findings_);
  return std::move(findings_);
}

}  // namespace

std::vector<Finding> find_flaws(const Results& results) { return FlawFinder(results).find(); }

}  // namespace flipside
