#include "flipside/attack/suite.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "flipside/attack/apgd.h"
#include "flipside/attack/fab.h"
#include "flipside/attack/pgd.h"
#include "flipside/attack/square.h"
#include "flipside/core/error.h"

namespace flipside {
namespace {

constexpr int64_t kMostTargets = 9;  // of targeted attacks, as in AutoAttack

bool is_pgd(const std::string& attack) { return attack.rfind("PGD", 0) == 0; }

Tensor to_tensor(const std::vector<int64_t>& values) {
  return torch::tensor(values, torch::kInt64);
}

std::vector<int64_t> to_integers(const Tensor& values) {
  const Tensor host = values.to(torch::kCPU, torch::kInt64).contiguous();
  return {host.data_ptr<int64_t>(), host.data_ptr<int64_t>() + host.numel()};
}

/// The streams of one piece of work: an attack at a bound.
uint64_t work_number(const std::string& attack, double eps) {
  uint64_t number = static_cast<uint64_t>(std::llround(eps * 1e9));
  for (char c : attack) number = number * 131 + static_cast<unsigned char>(c);
  return number;
}

/// DLR towards each of the most likely wrong classes in turn, for images not yet won against.
Tensor targeted_apgd(const Victim& victim, const ThreatModel& threat, const Tensor& images,
                     const Goal& goal, std::vector<Rng>& streams, const SuiteOptions& options) {
  torch::NoGradGuard no_grad;
  Tensor logits = victim.logits(images).cpu().slice(1, 0, victim.num_classes).clone();
  logits.scatter_(1, goal.labels.unsqueeze(1), -std::numeric_limits<float>::infinity());
  const Tensor ranking = logits.argsort(/*dim=*/1, /*descending=*/true);
  Tensor result = images.clone();
  Tensor rows = torch::arange(images.size(0), torch::kInt64);
  for (int64_t t = 0; t < std::min(kMostTargets, victim.num_classes - 1) && rows.numel() > 0; ++t) {
    Goal wish = goal.select(rows);
    wish.targets = ranking.select(1, t).index_select(0, rows).contiguous();
    std::vector<Rng> chosen;
    for (int64_t row : to_integers(rows)) chosen.push_back(Rng({streams[row].next()}));
    torch::AutoGradMode gradients(true);
    const Tensor attacked =
        apgd(victim, threat, images.index_select(0, rows), wish, chosen,
             {options.steps, options.restarts, AttackLoss::kDlr, options.stop_when_won});
    result.index_copy_(0, rows, attacked);
    const Tensor margin =
        attack_margin(victim, victim.logits(attacked).detach().cpu(), goal.select(rows));
    rows = rows.index_select(0, (margin > 0).logical_not().nonzero().flatten());
  }
  return result;
}

void check_input(const Tensor& images, const Tensor& labels, const SuiteOptions& options) {
  if (images.dim() != 4 || labels.dim() != 1 || labels.size(0) != images.size(0) ||
      images.size(0) == 0)
    fail(ErrorCode::kArgument, "attack: images must be [N,3,H,W] with N labels, N > 0");
  double before = 0;
  for (double eps : options.eps) {
    if (!(eps > before) || !std::isfinite(eps))
      fail(ErrorCode::kArgument, "attack: eps = {}: bounds must be > 0 and rising", eps);
    before = eps;
  }
  if (options.steps < 1 || options.restarts < 1 || options.queries < 1 || options.batch < 1)
    fail(ErrorCode::kArgument, "attack: steps, restarts, queries and batch must be > 0");
}

/// Where `fresh` is worse for the defender, it replaces `answers`.
void keep_worse(std::vector<int64_t>& answers, const std::vector<int64_t>& fresh,
                const SuiteRecord& record) {
  for (size_t i = 0; i < answers.size(); ++i)
    if (fresh[i] != kPending && badness(fresh[i], record.labels[i], record.num_classes) >
                                    badness(answers[i], record.labels[i], record.num_classes))
      answers[i] = fresh[i];
}

/// An attack at a bound, still to be run.
struct Work {
  double eps = 0;
  std::string attack;
  bool alone = false;
  double greater = 0;  ///< the bound whose survivors need no attack here; 0: none
};

/// PGD from bound to bound, on every image; then the others from the greatest bound down, each
/// bound on what the greater one has broken.
std::vector<Work> work_of(const SuiteOptions& options, int64_t num_logits, int64_t num_classes) {
  const auto attacks = suite_attacks(num_logits, num_classes);
  std::vector<Work> works;
  for (const double eps : options.eps)
    for (const auto& attack : attacks)
      if (is_pgd(attack)) works.push_back({eps, attack, /*alone=*/true});
  double greater = 0;
  for (auto eps = options.eps.rbegin(); eps != options.eps.rend(); ++eps) {
    for (const auto& attack : attacks)
      if (!is_pgd(attack)) works.push_back({*eps, attack, options.alone, greater});
    if (!options.alone) greater = *eps;
  }
  return works;
}

/// The stage of this work in the record, begun there if it is new: images on which the judge is
/// already wrong, and those it stays right on at a greater bound, keep their answer; the others are
/// pending.
size_t find_stage(SuiteRecord& record, const Work& work) {
  for (size_t i = 0; i < record.stages.size(); ++i)
    if (record.stages[i].eps == work.eps && record.stages[i].attack == work.attack) return i;
  Stage stage{work.eps, work.attack, work.alone,
              work.alone ? record.clean : record.worst(work.eps)};
  const std::vector<int64_t> beyond = record.worst(work.greater);
  const auto bad = [&](int64_t answer, size_t image) {
    return badness(answer, record.labels[image], record.num_classes);
  };
  for (size_t i = 0; i < stage.answers.size(); ++i) {
    const bool is_broken = bad(stage.answers[i], i) == 2;
    const bool survives = work.greater > 0 && bad(beyond[i], i) == 0;
    if (!is_broken && !survives) stage.answers[i] = kPending;
  }
  record.stages.push_back(std::move(stage));
  return record.stages.size() - 1;
}

}  // namespace

int badness(int64_t answer, int64_t label, int64_t num_classes) {
  if (answer == label) return 0;
  return answer == num_classes ? 1 : 2;
}

std::vector<int64_t> SuiteRecord::worst(double eps) const {
  std::vector<int64_t> answers = clean;
  for (const auto& stage : stages)
    if (stage.eps <= eps) keep_worse(answers, stage.answers, *this);
  return answers;
}

std::vector<std::string> suite_attacks(int64_t num_logits, int64_t num_classes) {
  std::vector<std::string> attacks{"PGD-20", "PGD-100", "APGD-CE", "APGD-CW"};
  if (num_logits >= 3) attacks.push_back("APGD-DLR");
  if (num_logits >= 4 && num_classes >= 3) attacks.push_back("APGD-DLR-T");
  attacks.insert(attacks.end(), {"FAB", "Square"});
  return attacks;
}

Tensor run_attack(const std::string& attack, const Victim& victim, const ThreatModel& threat,
                  const Tensor& images, const Tensor& labels,
                  const std::vector<int64_t>& image_numbers, const SuiteOptions& options) {
  auto streams = image_streams(options.seed, work_number(attack, threat.eps), image_numbers);
  const Goal goal{labels, {}};
  const auto apgd_with = [&](AttackLoss loss) {
    return apgd(victim, threat, images, goal, streams,
                {options.steps, options.restarts, loss, options.stop_when_won});
  };
  const auto pgd_of = [&](int64_t steps) {
    PgdOptions of_steps;
    of_steps.steps = steps;
    of_steps.stop_when_won = options.stop_when_won;
    return pgd(victim, threat, images, goal, streams, of_steps);
  };
  if (attack == "PGD-20") return pgd_of(20);
  if (attack == "PGD-100") return pgd_of(100);
  if (attack == "APGD-CE") return apgd_with(AttackLoss::kCrossEntropy);
  if (attack == "APGD-CW") return apgd_with(AttackLoss::kMargin);
  if (attack == "APGD-DLR") return apgd_with(AttackLoss::kDlr);
  if (attack == "APGD-DLR-T") return targeted_apgd(victim, threat, images, goal, streams, options);
  if (attack == "FAB")
    return fab(victim, threat, images, goal, streams, {options.steps, options.restarts});
  if (attack == "Square") return square(victim, threat, images, goal, streams, {options.queries});
  fail(ErrorCode::kArgument, "attack \"{}\" does not exist", attack);
}

SuiteRecord run_suite(
    const Victim& victim, const Victim& judge, const Tensor& images, const Tensor& labels,
    const SuiteOptions& options, SuiteRecord record,
    const std::function<void(const SuiteRecord& record, int64_t images)>& on_batch) {
  check_input(images, labels, options);
  const int64_t n = images.size(0);
  const int64_t num_logits = victim.num_logits(images);
  if (record.clean.empty()) {
    record = {judge.num_classes, judge.rejects, to_integers(labels), {}, {}};
    for (int64_t begin = 0; begin < n; begin += options.batch) {
      const auto answers =
          to_integers(judge.answers(images.slice(0, begin, begin + options.batch)));
      record.clean.insert(record.clean.end(), answers.begin(), answers.end());
    }
  }
  TORCH_CHECK(static_cast<int64_t>(record.clean.size()) == n, "record of other images");
  for (const Work& work : work_of(options, num_logits, judge.num_classes)) {
    const size_t place = find_stage(record, work);
    std::vector<int64_t> pending;
    for (int64_t i = 0; i < n; ++i)
      if (record.stages[place].answers[i] == kPending) pending.push_back(i);
    if (on_batch) on_batch(record, n - static_cast<int64_t>(pending.size()));
    const auto before = work.alone ? record.clean : record.worst(work.eps);
    for (size_t begin = 0; begin < pending.size(); begin += options.batch) {
      const size_t end = std::min(pending.size(), begin + static_cast<size_t>(options.batch));
      const std::vector<int64_t> numbers(pending.begin() + begin, pending.begin() + end);
      const Tensor rows = to_tensor(numbers);
      std::vector<int64_t> image_numbers = numbers;  // in the set that the shard is of
      for (int64_t& number : image_numbers)
        number = options.shard.index + options.shard.count * number;
      const Tensor attacked =
          run_attack(work.attack, victim, {options.norm, work.eps}, images.index_select(0, rows),
                     labels.index_select(0, rows), image_numbers, options);
      const auto answers = to_integers(judge.answers(attacked));
      for (size_t i = 0; i < numbers.size(); ++i) {
        const int64_t row = numbers[i], label = record.labels[row];
        const bool worse = badness(answers[i], label, record.num_classes) >
                           badness(before[row], label, record.num_classes);
        record.stages[place].answers[row] = worse ? answers[i] : before[row];
      }
      if (on_batch) on_batch(record, static_cast<int64_t>(numbers.size()));
    }
  }
  return record;
}

}  // namespace flipside
