#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "flipside/eval/doubt.h"
#include "flipside/eval/text_table.h"

namespace flipside {
namespace {

using Json = nlohmann::ordered_json;

std::string decimals(double value, int digits = 3) {
  return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, digits);
}

}  // namespace

std::string to_text(const DoubtResults& results) {
  std::string text = fmt::format(
      "uncertainty on {} images of split {}, {} answered wrongly; fitted on {} validation images, "
      "{} wrong\n",
      results.images, to_string(results.split), results.wrong, results.validation_images,
      results.validation_wrong);
  text += table({{"calibration error (15 bins)", decimals(results.ece)},
                 {fmt::format("after temperature {:.3f}", results.temperature),
                  decimals(results.ece_scaled)}});
  std::vector<std::vector<std::string>> rows{
      {"wrong answers told by", "AUROC", "AURC", "risk at 80 %", "at 90 %", "at 95 %"}};
  for (const auto& s : results.scores)
    rows.push_back({s.score, decimals(s.auroc), decimals(s.aurc, 4), decimals(s.risk_80),
                    decimals(s.risk_90), decimals(s.risk_95)});
  text += table(rows);
  std::vector<std::vector<std::string>> strange{{"AUROC / FPR95 against clean"}};
  std::vector<std::string> accuracies{"(accuracy there)"};
  for (const auto& kind : results.strange) {
    strange[0].push_back(kind.name);
    accuracies.push_back(decimals(kind.accuracy));
  }
  for (size_t i = 0; i < results.scores.size(); ++i) {
    strange.push_back({results.scores[i].score});
    for (const auto& kind : results.strange)
      strange.back().push_back(decimals(kind.scores[i].auroc, 2) + " / " +
                               decimals(kind.scores[i].fpr95, 2));
  }
  strange.push_back(accuracies);
  text += table(strange);
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
      detected.push_back({{"score", s.score}, {"auroc", s.auroc}, {"fpr95", s.fpr95}});
    strange.push_back({{"name", kind.name},
                       {"how", kind.how},
                       {"images", kind.images},
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
