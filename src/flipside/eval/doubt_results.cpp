#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "flipside/eval/doubt.h"
#include "flipside/eval/text_table.h"

namespace flipside {
namespace {

using Json = nlohmann::ordered_json;

/// A line per kind of strange image, a column per score.
std::string strange_table(const char* title, const DoubtResults& results,
                          double StrangeQuality::*measure) {
  std::vector<std::vector<std::string>> rows{{title, "(accuracy)"}};
  for (const auto& score : results.scores) rows[0].push_back(score.score);
  for (const auto& kind : results.strange) {
    rows.push_back({kind.name, number(kind.accuracy)});
    for (const auto& score : kind.scores) rows.back().push_back(number(score.*measure, 2));
  }
  return table(rows);
}

}  // namespace

std::string to_text(const DoubtResults& results) {
  std::string text = fmt::format(
      "uncertainty on {} images of split {}, {} answered wrongly; fitted on {} validation images, "
      "{} wrong\n",
      results.images, to_string(results.split), results.wrong, results.validation_images,
      results.validation_wrong);
  text += table(
      {{"calibration error (15 bins)", number(results.ece)},
       {fmt::format("after temperature {:.3f}", results.temperature), number(results.ece_scaled)}});
  std::vector<std::vector<std::string>> rows{
      {"wrong answers told by", "AUROC", "AURC", "risk at 80 %", "at 90 %", "at 95 %"}};
  for (const auto& s : results.scores)
    rows.push_back({s.score, number(s.auroc), number(s.aurc, 5), number(s.risk_80),
                    number(s.risk_90), number(s.risk_95)});
  text += table(rows);
  text += strange_table("AUROC against clean", results, &StrangeQuality::auroc);
  text += strange_table("AUROC, wrong ones alone", results, &StrangeQuality::auroc_wrong);
  text += strange_table("FPR95", results, &StrangeQuality::fpr95);
  for (const auto& kind : results.strange)
    text += fmt::format("  {}: {} images, {}\n", kind.name, kind.images, kind.how);
  return text;
}

std::string to_json(const DoubtResults& results) {
  Json scores = Json::array(), strange = Json::array();
  for (const auto& s : results.scores)
    scores.push_back({{"score", s.score},
                      {"auroc", s.auroc},
                      {"aurc", s.aurc},
                      {"risk_80", s.risk_80},
                      {"risk_90", s.risk_90},
                      {"risk_95", s.risk_95}});
  for (const auto& kind : results.strange) {
    Json detected = Json::array();
    for (const auto& s : kind.scores)
      detected.push_back({{"score", s.score},
                          {"auroc", s.auroc},
                          {"fpr95", s.fpr95},
                          {"auroc_wrong", s.auroc_wrong}});
    strange.push_back({{"name", kind.name},
                       {"how", kind.how},
                       {"images", kind.images},
                       {"wrong", kind.wrong},
                       {"accuracy", kind.accuracy},
                       {"scores", detected}});
  }
  const Json json{{"split", to_string(results.split)},
                  {"images", results.images},
                  {"wrong", results.wrong},
                  {"validation_images", results.validation_images},
                  {"validation_wrong", results.validation_wrong},
                  {"ece", results.ece},
                  {"temperature", results.temperature},
                  {"ece_scaled", results.ece_scaled},
                  {"scores", scores},
                  {"strange", strange}};
  return json.dump(2) + "\n";
}

}  // namespace flipside
