#include "flipside/eval/robustness.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/eval/text_table.h"

namespace flipside {
namespace {

/// Counts over some images' answers.
struct Counts {
  int64_t right = 0, rejected = 0;
  double macro_f1 = 0;
};

Counts count(const std::vector<int64_t>& answers, const std::vector<int64_t>& labels,
             const std::vector<int64_t>& rows, int64_t num_classes) {
  Counts counts;
  // Counted here and not with a meter, since the bootstrap comes by a thousand times.
  std::vector<int64_t> hits(num_classes), occurring(num_classes), predicted(num_classes);
  for (int64_t row : rows) {
    const int64_t answer = answers[row], label = labels[row];
    if (answer >= num_classes || answer < 0) {
      ++counts.rejected;
      continue;
    }
    ++occurring[label];
    ++predicted[answer];
    if (answer != label) continue;
    ++hits[label];
    ++counts.right;
  }
  int64_t classes = 0;
  for (int64_t k = 0; k < num_classes; ++k) {
    if (occurring[k] == 0) continue;
    ++classes;
    counts.macro_f1 +=
        2.0 * static_cast<double>(hits[k]) / static_cast<double>(occurring[k] + predicted[k]);
  }
  counts.macro_f1 = classes > 0 ? counts.macro_f1 / static_cast<double>(classes)
                                : std::numeric_limits<double>::quiet_NaN();
  return counts;
}

RobustnessScores score(const SuiteRecord& record, const std::vector<int64_t>& answers, double eps,
                       const std::string& attack, bool alone) {
  const auto n = static_cast<int64_t>(answers.size());
  std::vector<int64_t> all(answers.size());
  for (int64_t i = 0; i < n; ++i) all[i] = i;
  const Counts counts = count(answers, record.labels, all, record.num_classes);
  const auto share = [](int64_t part, int64_t whole) {
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole)
                     : std::numeric_limits<double>::quiet_NaN();
  };
  RobustnessScores scores;
  scores.eps = eps;
  scores.attack = attack;
  scores.alone = alone;
  scores.accuracy = share(counts.right, n);
  scores.accuracy_interval = wilson_interval(counts.right, n);
  scores.macro_f1 = counts.macro_f1;
  scores.macro_f1_interval = bootstrap_interval(n, [&](const std::vector<int64_t>& rows) {
    return count(answers, record.labels, rows, record.num_classes).macro_f1;
  });
  scores.accepted = share(n - counts.rejected, n);
  scores.accepted_accuracy = share(counts.right, n - counts.rejected);
  scores.defended = share(counts.right + counts.rejected, n);
  scores.defended_interval = wilson_interval(counts.right + counts.rejected, n);
  return scores;
}
/// 4/255 for L-inf, as the field writes it.
std::string bound_text(Norm norm, double eps) {
  return norm == Norm::kLinf ? fmt::format("{:.4g}/255", eps * 255) : fmt::format("{:.4g}", eps);
}

std::string interval_text(const Interval& interval) {
  return fmt::format("{}-{}", number(interval.low), number(interval.high));
}

nlohmann::ordered_json scores_json(const RobustnessScores& scores, bool rejects) {
  const auto pair = [](const Interval& i) { return nlohmann::ordered_json{i.low, i.high}; };
  nlohmann::ordered_json json{{"eps", scores.eps},
                              {"attack", scores.attack},
                              {"alone", scores.alone},
                              {"accuracy", scores.accuracy},
                              {"accuracy_interval", pair(scores.accuracy_interval)},
                              {"macro_f1", scores.macro_f1},
                              {"macro_f1_interval", pair(scores.macro_f1_interval)}};
  if (!rejects) return json;
  json["accepted"] = scores.accepted;
  json["accepted_accuracy"] = scores.accepted_accuracy;
  json["right_or_rejected"] = scores.defended;
  json["right_or_rejected_interval"] = pair(scores.defended_interval);
  return json;
}

}  // namespace

Batch spread_images(const ImageFolder& folder, const DataConfig& config, Split split,
                    int64_t limit) {
  EvalLoader loader(folder, split, config, /*batch=*/1);
  const int64_t count = limit > 0 ? std::min(limit, loader.size()) : loader.size();
  if (count == 0)
    fail(ErrorCode::kData, "{}: no readable image in split {}; choose another with --split",
         folder.root.string(), to_string(split));
  std::vector<Tensor> images, labels;
  int64_t place = 0;
  for (Batch one; loader.next(one); ++place) {
    if (static_cast<int64_t>(images.size()) * loader.size() / count != place) continue;
    images.push_back(one.images);
    labels.push_back(one.labels);
    if (static_cast<int64_t>(images.size()) == count) break;
  }
  return {torch::cat(images), torch::cat(labels), {}, {}};
}

Robustness summarise(const SuiteRecord& record, const std::vector<double>& eps,
                     const std::string& name, std::vector<Warning> warnings) {
  Robustness result{name, record.rejects, {}, std::move(warnings)};
  result.scores.push_back(score(record, record.clean, 0, "none", /*alone=*/true));
  for (double bound : eps) {
    for (const auto& stage : record.stages)
      if (stage.eps == bound)
        result.scores.push_back(score(record, stage.answers, bound, stage.attack, stage.alone));
    result.scores.push_back(score(record, record.worst(bound), bound, kWorstCase, /*alone=*/false));
  }
  return result;
}

std::string to_text(const RobustnessReport& report) {
  std::string text = fmt::format(
      "{} images of split {}, {}; PGD step 2.5 eps/steps, APGD and FAB {} steps, {} restarts, "
      "Square {} queries, seed {}\n",
      report.images, report.split, report.norm == Norm::kLinf ? "L-inf" : "L2",
      report.options.steps, report.options.restarts, report.options.queries, report.options.seed);
  if (report.reject_threshold)
    text += fmt::format("rejected above {:.4g}, chosen on clean validation images\n",
                        *report.reject_threshold);
  for (const auto& victim : report.victims) {
    text += victim.name + "\n";
    std::vector<std::vector<std::string>> rows{
        {"eps, attack", "accuracy", "95 %", "macro F1", "95 %"}};
    if (victim.rejects)
      rows[0].insert(rows[0].end(), {"accepted", "accuracy of these", "right or rejected", "95 %"});
    for (const auto& s : victim.scores) {
      const bool after = !s.alone && s.attack != kWorstCase;
      rows.push_back({bound_text(report.norm, s.eps) + (after ? " after " : " ") + s.attack,
                      number(s.accuracy), interval_text(s.accuracy_interval), number(s.macro_f1),
                      interval_text(s.macro_f1_interval)});
      if (victim.rejects)
        rows.back().insert(rows.back().end(),
                           {number(s.accepted), number(s.accepted_accuracy), number(s.defended),
                            interval_text(s.defended_interval)});
    }
    text += table(rows);
    for (const auto& warning : victim.warnings) text += "  WARNING: " + warning.text + "\n";
  }
  return text;
}

SuiteRecord attack_with_progress(const std::string& title, const Victim& victim,
                                 const Victim& judge, const Batch& images,
                                 const SuiteOptions& options, SuiteRecord record,
                                 const std::function<void(const SuiteRecord&)>& save) {
  const int64_t n = images.images.size(0);
  const auto attacks = suite_attacks(victim.num_logits(images.images), judge.num_classes);
  const auto stages = static_cast<int64_t>(options.eps.size() * attacks.size());
  Progress progress(title, std::max<int64_t>(1, stages * n), "img");
  record =
      run_suite(victim, judge, images.images, images.labels, options, std::move(record),
                [&](const SuiteRecord& partial, int64_t count) {
                  if (save) save(partial);
                  const Stage& stage = partial.stages.back();
                  progress.advance(count, fmt::format("{} eps {:.4g}", stage.attack, stage.eps));
                });
  progress.finish();
  return record;
}

Robustness summarise_with_warnings(const SuiteRecord& record, const std::string& name,
                                   const Victim& victim, const Batch& images,
                                   const SuiteOptions& options) {
  std::vector<Warning> warnings = check_victim(victim, images.images, images.labels, options);
  for (auto& warning : check_record(record)) warnings.push_back(std::move(warning));
  return summarise(record, options.eps, name, std::move(warnings));
}

std::string to_json(const RobustnessReport& report) {
  using Json = nlohmann::ordered_json;
  Json victims = Json::array();
  for (const auto& victim : report.victims) {
    Json scores = Json::array(), warnings = Json::array();
    for (const auto& s : victim.scores) scores.push_back(scores_json(s, victim.rejects));
    for (const auto& warning : victim.warnings) warnings.push_back(warning.text);
    victims.push_back({{"victim", victim.name}, {"scores", scores}, {"warnings", warnings}});
  }
  Json json{{"norm", to_string(report.norm)},
            {"split", report.split},
            {"images", report.images},
            {"class_names", report.class_names},
            {"steps", report.options.steps},
            {"restarts", report.options.restarts},
            {"queries", report.options.queries},
            {"seed", report.options.seed},
            {"reject_threshold", report.reject_threshold ? Json(*report.reject_threshold) : Json()},
            {"victims", victims}};
  return json.dump(2) + "\n";
}

}  // namespace flipside
