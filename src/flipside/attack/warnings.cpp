#include "flipside/attack/warnings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace flipside {
namespace {

constexpr int64_t kLooks = 64;            // images that the victim is looked at on
constexpr double kStepsTolerance = 0.03;  // accuracy; random starts alone differ by less
constexpr double kRiseTolerance = 0.02;   // accuracy
constexpr double kSquareShare = 0.01;     // of the images, found by Square alone
constexpr double kNoise = 1e-4;           // relative to the largest logit

/// Share of images that no answer makes wrong.
double defended(const std::vector<int64_t>& answers, const SuiteRecord& record) {
  int64_t count = 0;
  for (size_t i = 0; i < answers.size(); ++i)
    count += badness(answers[i], record.labels[i], record.num_classes) < 2;
  return static_cast<double>(count) / static_cast<double>(std::max<size_t>(1, answers.size()));
}

const Stage* stage_of(const SuiteRecord& record, double eps, const std::string& attack) {
  for (const auto& stage : record.stages)
    if (stage.eps == eps && stage.attack == attack) return &stage;
  return nullptr;
}

void check_square(const SuiteRecord& record, double eps, std::vector<Warning>& warnings) {
  const Stage* square = stage_of(record, eps, "Square");
  if (!square) return;
  SuiteRecord others = record;
  others.stages.erase(std::remove_if(others.stages.begin(), others.stages.end(),
                                     [](const Stage& s) { return s.attack == "Square"; }),
                      others.stages.end());
  const auto without = others.worst(eps), with = record.worst(eps);
  int64_t extra = 0;
  for (size_t i = 0; i < with.size(); ++i)
    extra += badness(with[i], record.labels[i], record.num_classes) == 2 &&
             badness(without[i], record.labels[i], record.num_classes) < 2;
  if (extra < 2 || static_cast<double>(extra) < kSquareShare * static_cast<double>(with.size()))
    return;
  warnings.push_back({WarningKind::kSquareWins,
                      fmt::format("at eps {:.4g} the black-box attack Square breaks {} images that "
                                  "no gradient attack breaks: the gradients mislead",
                                  eps, extra)});
}

void check_steps(const SuiteRecord& record, double eps, std::vector<Warning>& warnings) {
  const Stage *few = stage_of(record, eps, "PGD-20"), *many = stage_of(record, eps, "PGD-100");
  if (!few || !many) return;
  const double a = defended(few->answers, record), b = defended(many->answers, record);
  if (std::abs(a - b) <= kStepsTolerance) return;
  warnings.push_back({WarningKind::kStepsDisagree,
                      fmt::format("at eps {:.4g} PGD leaves {:.3f} with 20 steps and {:.3f} with "
                                  "100: it has not converged; raise --steps and --restarts",
                                  eps, a, b)});
}

void check_curve(const SuiteRecord& record, const std::set<double>& bounds,
                 std::vector<Warning>& warnings) {
  // Of PGD-100 alone: the worst case carries what smaller bounds have broken, and cannot rise.
  double lowest = 1.0;
  for (double eps : bounds) {
    const Stage* stage = stage_of(record, eps, "PGD-100");
    if (!stage) continue;
    const double now = defended(stage->answers, record);
    if (now > lowest + kRiseTolerance)
      warnings.push_back({WarningKind::kCurveDoesNotFall,
                          fmt::format("PGD-100 leaves {:.3f} at eps {:.4g}, more than {:.3f} at a "
                                      "smaller one",
                                      now, eps, lowest)});
    lowest = std::min(lowest, now);
  }
  if (bounds.size() < 2) return;
  const double clean = defended(record.clean, record);
  const double first = defended(record.worst(*bounds.begin()), record);
  const double last = defended(record.worst(*bounds.rbegin()), record);
  const double chance = 1.0 / static_cast<double>(std::max<int64_t>(1, record.num_classes));
  if (last >= clean && last >= first && clean > chance)
    warnings.push_back({WarningKind::kCurveDoesNotFall,
                        fmt::format("the worst case stays at {:.3f} up to eps {:.4g}: no attack "
                                    "does anything",
                                    last, *bounds.rbegin())});
}

void check_outputs(const Victim& victim, const Tensor& images, std::vector<Warning>& warnings) {
  torch::NoGradGuard no_grad;
  const Tensor first = victim.logits(images).cpu(), second = victim.logits(images).cpu();
  const double largest = first.abs().max().item<double>();
  const double difference = (first - second).abs().max().item<double>();
  if (difference > kNoise * std::max(largest, 1e-6))
    warnings.push_back({WarningKind::kRandom,
                        fmt::format("the model is random: the same images give logits that differ "
                                    "by {:.3g}; attacks on one draw say little of the next",
                                    difference)});
  const Tensor sums = first.sum(/*dim=*/1);
  if (first.min().item<double>() >= 0 && (sums - 1).abs().max().item<double>() < 1e-3)
    warnings.push_back({WarningKind::kProbabilities,
                        "the outputs look like probabilities: attacks need logits, as the "
                        "softmax's gradient vanishes where the model is sure"});
}

void check_gradients(const Victim& victim, const Tensor& images, const Tensor& labels,
                     std::vector<Warning>& warnings) {
  const Slope slope = attack_slope(AttackLoss::kCrossEntropy, victim, images, {labels, {}});
  const Tensor still = slope.gradient.flatten(1).abs().amax(/*dim=*/1) == 0;
  const auto count = still.sum().item<int64_t>();
  if (count == 0) return;
  warnings.push_back({WarningKind::kZeroGradient,
                      fmt::format("the gradient is exactly zero for {} of {} images: gradient "
                                  "attacks are blind there",
                                  count, images.size(0))});
}

void check_full_range(const Victim& victim, const Tensor& images, const Tensor& labels,
                      const SuiteOptions& options, std::vector<Warning>& warnings) {
  const ThreatModel everything{options.norm, full_range(options.norm, images)};
  Tensor left = victim.answers(images) == labels;
  for (const char* attack : {"PGD-20", "PGD-100", "Square"}) {
    const Tensor rows = left.nonzero().flatten();
    if (rows.numel() == 0) break;
    std::vector<int64_t> numbers(rows.data_ptr<int64_t>(), rows.data_ptr<int64_t>() + rows.numel());
    const Tensor truth = labels.index_select(0, rows);
    const Tensor attacked = run_attack(attack, victim, everything, images.index_select(0, rows),
                                       truth, numbers, options);
    const Tensor answers = victim.answers(attacked);
    const Tensor lost = (answers != truth) & (answers < victim.num_classes);
    left.index_fill_(0, rows.index_select(0, lost.nonzero().flatten()), false);
  }
  const double accuracy = left.to(torch::kDouble).mean().item<double>();
  const double chance = 1.0 / static_cast<double>(victim.num_classes);
  if (accuracy <= chance) return;
  warnings.push_back({WarningKind::kFullRange,
                      fmt::format("accuracy {:.3f} where any image is allowed, above chance "
                                  "({:.3f}): the attacks fail, the model is not robust",
                                  accuracy, chance)});
}

}  // namespace

std::vector<Warning> check_victim(const Victim& victim, const Tensor& images, const Tensor& labels,
                                  const SuiteOptions& options) {
  // Spread over the images, which are often sorted by class.
  const int64_t n = images.size(0), count = std::min(n, kLooks);
  const Tensor rows = (torch::arange(count, torch::kInt64) * n).div(count, "floor");
  const Tensor some = images.index_select(0, rows), truth = labels.index_select(0, rows);
  std::vector<Warning> warnings;
  check_outputs(victim, some, warnings);
  check_gradients(victim, some, truth, warnings);
  check_full_range(victim, some, truth, options, warnings);
  return warnings;
}

std::vector<Warning> check_record(const SuiteRecord& record) {
  std::set<double> bounds;
  for (const auto& stage : record.stages) bounds.insert(stage.eps);
  std::vector<Warning> warnings;
  for (double eps : bounds) {
    check_square(record, eps, warnings);
    check_steps(record, eps, warnings);
  }
  check_curve(record, bounds, warnings);
  return warnings;
}

}  // namespace flipside
