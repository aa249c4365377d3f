#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/eval/evaluator.h"
#include "flipside/eval/flaws.h"
#include "flipside/eval/text_table.h"

namespace flipside {
namespace {

using Json = nlohmann::ordered_json;

/// NaN becomes null when written.
Json json_or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Json mask_json(const std::optional<MaskScores>& scores) {
  if (!scores) return Json();
  return {{"threshold", scores->threshold},
          {"iou", scores->iou},
          {"mean_iou", scores->mean_iou},
          {"f1", scores->f1},
          {"tolerant_f1", scores->tolerant_f1},
          {"precision", scores->precision},
          {"recall", scores->recall}};
}

Json faithfulness_json(const std::optional<FaithfulnessScores>& scores) {
  if (!scores) return Json();
  return {{"images", scores->images},
          {"deletion", scores->deletion},
          {"deletion_wide", scores->deletion_wide},
          {"flipped", scores->flipped},
          {"insertion", scores->insertion},
          {"cout_images", scores->cout_images},
          {"cout", scores->cout}};
}

std::string class_text(const Results& results) {
  std::vector<std::vector<std::string>> scores{{"accuracy", number(results.accuracy)},
                                               {"balanced", number(results.balanced_accuracy)},
                                               {"macro F1", number(results.macro_f1)},
                                               {"AUROC, defect or not", number(results.auroc)}};
  if (!std::isnan(results.head_accuracy))
    scores.push_back({"accuracy of the generator's head", number(results.head_accuracy)});
  if (results.judge_accuracy)
    scores.push_back({"accuracy of the judge", number(results.judge_accuracy)});
  std::vector<std::vector<std::string>> confusion{{"true \\ predicted"}};
  for (const auto& name : results.class_names) confusion[0].push_back(name);
  for (size_t k = 0; k < results.confusion.size(); ++k) {
    confusion.push_back({results.class_names[k]});
    for (int64_t count : results.confusion[k]) confusion.back().push_back(std::to_string(count));
  }
  return "classes\n" + table(scores) + "confusion\n" + table(confusion);
}

std::string certain_text(const CertainScores& certain) {
  return fmt::format("certain answers: {} at most {} (chosen to cover {} of validation images)\n",
                     certain.rule.score, number(certain.rule.threshold),
                     number(certain.rule.coverage)) +
         table({{"share of the images", number(certain.coverage)},
                {"accuracy of the certain answers", number(certain.accuracy)},
                {"accuracy of the others", number(certain.doubtful_accuracy)}});
}

Json certain_json(const std::optional<CertainScores>& certain) {
  if (!certain) return Json();
  return {{"score", certain->rule.score},
          {"threshold", certain->rule.threshold},
          {"coverage", certain->coverage},
          {"accuracy", certain->accuracy},
          {"doubtful_accuracy", certain->doubtful_accuracy}};
}

std::string flip_text(const Results& results) {
  std::vector<std::vector<std::string>> rows{
      {"from > to", "images", "model", "model, fake allowed", "judge"}};
  for (const auto& flip : results.flips)
    rows.push_back({results.class_names[flip.from] + " > " + results.class_names[flip.to],
                    std::to_string(flip.images), number(flip.by_discriminator),
                    number(flip.by_discriminator_strict), number(flip.by_judge)});
  return "counterfactuals taken for their target class\n" + table(rows);
}

std::string change_text(const Results& results) {
  std::vector<std::vector<std::string>> rows{
      {"from > to", "L1", "pixels changed", "in the mask", "diversity", "Frechet", "real halves"}};
  for (const auto& change : results.changes)
    rows.push_back({results.class_names[change.from] + " > " + results.class_names[change.to],
                    number(change.l1), number(change.changed), number(change.marked),
                    number(change.diversity), number(change.frechet), number(change.frechet_real)});
  std::vector<std::vector<std::string>> others{
      {"marked on good images, per pixel marked on defects", number(results.false_marks)}};
  if (!std::isnan(results.mask_diversity))
    others.push_back({"diversity of the true masks", number(results.mask_diversity)});
  return "what the counterfactuals change\n" + table(rows) + table(others);
}

std::string mask_text(const Results& results) {
  std::vector<std::vector<std::string>> rows{{"threshold", "value", "IoU", "IoU per image", "F1",
                                              "F1, 2 px tolerance", "precision", "recall"}};
  const auto add = [&](const char* name, const std::optional<MaskScores>& scores) {
    if (!scores) return;
    rows.push_back({name, number(scores->threshold), number(scores->iou), number(scores->mean_iou),
                    number(scores->f1), number(scores->tolerant_f1), number(scores->precision),
                    number(scores->recall)});
  };
  add("label-free", results.label_free);
  add("fixed", results.fixed);
  add("tuned on validation masks", results.tuned);
  std::vector<std::vector<std::string>> others{
      {"pixel average precision", number(results.pixel_average_precision)}};
  if (results.darkness_iou)
    others.push_back({"IoU of the trivial darkness map", number(results.darkness_iou)});
  return fmt::format("masks of {} defect images, given the true label\n", results.mask_images) +
         table(rows) + table(others);
}

std::string faithfulness_text(const Results& results) {
  std::vector<std::vector<std::string>> rows{{"", "deletion", "2 px wider", "insertion", "COUT"}};
  const auto add = [&](const std::string& name, const std::optional<FaithfulnessScores>& scores) {
    if (scores)
      rows.push_back({name, number(scores->deletion), number(scores->deletion_wide),
                      number(scores->insertion), number(scores->cout)});
  };
  add("model", results.faithfulness);
  add("judge", results.judge_faithfulness);
  const std::string by = results.judge_faithfulness ? "judge" : "model";
  add(by + ", true masks", results.true_mask_faithfulness);
  add(by + ", true masks and counterfactuals", results.exact_faithfulness);
  return fmt::format(
             "faithfulness on {} defect images: prediction turned by the label-free mask alone, "
             "and "
             "turned back by it\n",
             results.faithfulness->cout_images) +
         table(rows);
}

std::string truth_text(const Results& results) {
  return "mean error to the true counterfactual (0 to 1)\n" +
         table({{"inside the defect", number(results.error_inside)},
                {"outside", number(results.error_outside)}});
}

}  // namespace

std::string to_text(const Results& results) {
  std::string text =
      fmt::format("{} images of split {}, reference class {}\n", results.images,
                  to_string(results.split), results.class_names.at(results.reference_class));
  if (!results.confusion.empty()) text += class_text(results);
  if (results.certain) text += certain_text(*results.certain);
  if (!results.flips.empty()) text += flip_text(results);
  if (!results.changes.empty()) text += change_text(results);
  if (results.mask_images > 0) text += mask_text(results);
  if (results.faithfulness && results.faithfulness->cout_images > 0)
    text += faithfulness_text(results);
  if (results.error_inside) text += truth_text(results);
  return text + to_text(find_flaws(results));
}

std::string to_json(const Results& results) {
  Json flips = Json::array();
  for (const auto& flip : results.flips)
    flips.push_back({{"from", results.class_names[flip.from]},
                     {"to", results.class_names[flip.to]},
                     {"images", flip.images},
                     {"by_discriminator", flip.by_discriminator},
                     {"by_discriminator_strict", flip.by_discriminator_strict},
                     {"by_judge", json_or_null(flip.by_judge)}});
  Json changes = Json::array();
  for (const auto& change : results.changes)
    changes.push_back({{"from", results.class_names[change.from]},
                       {"to", results.class_names[change.to]},
                       {"images", change.images},
                       {"l1", change.l1},
                       {"changed", change.changed},
                       {"marked", change.marked},
                       {"diversity", change.diversity},
                       {"frechet", json_or_null(change.frechet)},
                       {"frechet_real", json_or_null(change.frechet_real)}});
  const Json json{{"split", to_string(results.split)},
                  {"class_names", results.class_names},
                  {"reference_class", results.class_names.at(results.reference_class)},
                  {"images", results.images},
                  {"accuracy", results.accuracy},
                  {"balanced_accuracy", results.balanced_accuracy},
                  {"macro_f1", results.macro_f1},
                  {"auroc", results.auroc},
                  {"head_accuracy", results.head_accuracy},
                  {"certain", certain_json(results.certain)},
                  {"judge_accuracy", json_or_null(results.judge_accuracy)},
                  {"confusion", results.confusion},
                  {"flips", flips},
                  {"changes", changes},
                  {"false_marks", results.false_marks},
                  {"mask_diversity", results.mask_diversity},
                  {"without_cast", results.without_cast},
                  {"mask_images", results.mask_images},
                  {"label_free", mask_json(results.label_free)},
                  {"tuned", mask_json(results.tuned)},
                  {"fixed", mask_json(results.fixed)},
                  {"pixel_average_precision", json_or_null(results.pixel_average_precision)},
                  {"darkness_iou", json_or_null(results.darkness_iou)},
                  {"faithfulness", faithfulness_json(results.faithfulness)},
                  {"judge_faithfulness", faithfulness_json(results.judge_faithfulness)},
                  {"true_mask_faithfulness", faithfulness_json(results.true_mask_faithfulness)},
                  {"exact_faithfulness", faithfulness_json(results.exact_faithfulness)},
                  {"error_inside", json_or_null(results.error_inside)},
                  {"error_outside", json_or_null(results.error_outside)},
                  {"findings", Json::parse(to_json(find_flaws(results)))}};
  return json.dump(2) + "\n";
}

}  // namespace flipside
