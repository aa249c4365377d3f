#include "flipside/attack/suite.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "flipside/core/error.h"
#include "support/simple_victims.h"
#include "support/temp_folder.h"

namespace flipside::suite_test {
namespace {

double share_defended(const std::vector<int64_t>& answers, const SuiteRecord& record) {
  double count = 0;
  for (size_t i = 0; i < answers.size(); ++i)
    count += badness(answers[i], record.labels[i], record.num_classes) < 2;
  return count / static_cast<double>(answers.size());
}

/// Images of two values and a curved victim of three classes, with some labels wrong.
struct TinyCase {
  explicit TinyCase(int64_t count = 300) {
    victim = curved_victim(2, 3, 5, 1.5);
    torch::manual_seed(12);
    images = torch::rand({count, 1, 1, 2});
    labels = victim.answers(images);
    Tensor wrong = labels.slice(0, 0, count / 20);
    wrong.copy_((wrong + 1).remainder(3));
  }
  SuiteOptions options(Norm norm, std::vector<double> eps) const {
    SuiteOptions result;
    result.norm = norm;
    result.eps = std::move(eps);
    result.steps = 40;
    result.restarts = 2;
    result.queries = 300;
    result.batch = 128;
    return result;
  }
  Victim victim;
  Tensor images, labels;
};

/// Robust accuracy by trying a grid of all changes within the bound.
double enumerated_accuracy(const TinyCase& tiny, const ThreatModel& threat) {
  constexpr int64_t kGrid = 121;
  const Tensor line = torch::linspace(-threat.eps, threat.eps, kGrid);
  const auto mesh = torch::meshgrid({line, line}, "ij");
  Tensor changes = torch::stack({mesh[0].flatten(), mesh[1].flatten()}, 1);
  if (threat.norm == Norm::kL2) changes = changes.index({changes.norm(2, 1) <= threat.eps});
  double robust = 0;
  for (int64_t i = 0; i < tiny.images.size(0); ++i) {
    const Tensor all = (tiny.images[i].flatten() + changes).clamp(0, 1).view({-1, 1, 1, 2});
    robust += (tiny.victim.answers(all) == tiny.labels[i]).all().item<bool>();
  }
  return robust / static_cast<double>(tiny.images.size(0));
}

TEST(Suite, AgreesWithEnumerationOfATinyProblem) {
  const TinyCase tiny;
  for (const Norm norm : {Norm::kLinf, Norm::kL2}) {
    const SuiteRecord record = run_suite(tiny.victim, tiny.victim, tiny.images, tiny.labels,
                                         tiny.options(norm, {0.02, 0.05, 0.1}));
    for (const double eps : {0.02, 0.05, 0.1}) {
      const double exact = enumerated_accuracy(tiny, {norm, eps});
      EXPECT_NEAR(share_defended(record.worst(eps), record), exact, 0.01) << eps;
      EXPECT_LT(exact, 0.95);
      EXPECT_GT(exact, 0.1);
    }
  }
}

TEST(Suite, IsNeverWeakerThanAnyOfItsAttacks) {
  const TinyCase tiny;
  for (const bool alone : {false, true}) {
    SuiteOptions options = tiny.options(Norm::kLinf, {0.03, 0.06});
    options.alone = alone;
    const SuiteRecord record =
        run_suite(tiny.victim, tiny.victim, tiny.images, tiny.labels, options);
    EXPECT_EQ(record.stages.size(), 2 * suite_attacks(3, 3).size());
    double before = share_defended(record.clean, record);
    EXPECT_NEAR(before, 0.95, 1e-9);
    for (const double eps : options.eps) {
      const double worst = share_defended(record.worst(eps), record);
      for (const auto& stage : record.stages)
        if (stage.eps == eps) {
          EXPECT_GE(share_defended(stage.answers, record), worst) << stage.attack;
          EXPECT_EQ(stage.alone, alone || stage.attack.rfind("PGD", 0) == 0);
        }
      EXPECT_LE(worst, before);
      before = worst;
    }
  }
}

TEST(Suite, AttacksSurvivorsOfAGreaterBoundByPgdAlone) {
  const TinyCase tiny;
  SuiteOptions options = tiny.options(Norm::kLinf, {0.03, 0.06});
  const SuiteRecord record = run_suite(tiny.victim, tiny.victim, tiny.images, tiny.labels, options);
  options.alone = true;
  const SuiteRecord all = run_suite(tiny.victim, tiny.victim, tiny.images, tiny.labels, options);
  for (const double eps : options.eps)
    EXPECT_NEAR(share_defended(record.worst(eps), record), share_defended(all.worst(eps), all),
                0.01);
  // The order of the work: PGD twice at each bound, then everything else from the greatest down.
  std::vector<double> bounds;
  for (const auto& stage : record.stages) bounds.push_back(stage.eps);
  const std::vector<double> expected{0.03, 0.03, 0.06, 0.06, 0.06, 0.06, 0.06,
                                     0.06, 0.06, 0.03, 0.03, 0.03, 0.03, 0.03};
  EXPECT_EQ(bounds, expected);
  // Of 300 images, those that nothing breaks at 0.06 see no gradient attack at 0.03.
  int64_t images = 0;
  options.alone = false;
  options.eps = {0.03, 0.06};
  Victim counting = tiny.victim;
  counting.logits = [&](const Tensor& x) {
    images += x.size(0);
    return tiny.victim.logits(x);
  };
  run_suite(counting, counting, tiny.images, tiny.labels, options);
  const int64_t together = images;
  images = 0;
  for (const double eps : {0.03, 0.06}) {
    options.eps = {eps};
    run_suite(counting, counting, tiny.images, tiny.labels, options);
  }
  EXPECT_LT(static_cast<double>(together), 0.8 * static_cast<double>(images));
}

TEST(Suite, GoesOnAfterAWinWhereAnotherIsTheJudge) {
  // Two values of sum s: the victim says 1 from s = 0.9 on, the judge from 0.98 on. From 0.8 an
  // attacker with 0.1 each gets to 1.0, but has won before 0.93.
  const Tensor weights = torch::ones({1, 1, 2});
  const Victim victim = linear_victim(weights, -0.9), judge = linear_victim(weights, -0.98);
  const Tensor images = torch::full({8, 1, 1, 2}, 0.4), labels = torch::zeros({8}, torch::kInt64);
  SuiteOptions options;
  options.eps = {0.1};
  options.queries = 5;
  for (const bool stop : {true, false}) {
    options.stop_when_won = stop;
    const SuiteRecord record = run_suite(victim, judge, images, labels, options);
    for (const Stage& stage : record.stages)
      if (stage.attack.rfind("PGD", 0) == 0) {
        EXPECT_EQ(stage.answers, std::vector<int64_t>(8, stop ? 0 : 1)) << stage.attack;
      }
  }
}

TEST(Suite, GoesOnWhereItWasInterrupted) {
  const TinyCase tiny(128);
  SuiteOptions options = tiny.options(Norm::kLinf, {0.02, 0.05});
  options.batch = 64;
  const SuiteRecord whole = run_suite(tiny.victim, tiny.victim, tiny.images, tiny.labels, options);
  std::string stored;
  int batches = 0;
  const auto stop = [&](const SuiteRecord& record, int64_t) {
    stored = to_json(record);
    if (++batches == 5) throw std::runtime_error("interrupted");
  };
  EXPECT_THROW(run_suite(tiny.victim, tiny.victim, tiny.images, tiny.labels, options, {}, stop),
               std::runtime_error);
  int64_t pending = 0, attacked = 0;
  SuiteRecord partial = suite_record_from_json(stored);
  for (const auto& stage : partial.stages)
    for (int64_t answer : stage.answers) pending += answer == kPending;
  EXPECT_GT(pending, 0);
  const SuiteRecord resumed =
      run_suite(tiny.victim, tiny.victim, tiny.images, tiny.labels, options, partial,
                [&](const SuiteRecord&, int64_t count) { attacked += count; });
  EXPECT_EQ(to_json(resumed), to_json(whole));
  EXPECT_LE(attacked, static_cast<int64_t>(whole.stages.size()) * 128);
}

TEST(Suite, IsDeterministicForASeedWhateverTheBatch) {
  const TinyCase tiny(80);
  SuiteOptions options = tiny.options(Norm::kL2, {0.05});
  const auto run = [&] {
    return to_json(run_suite(tiny.victim, tiny.victim, tiny.images, tiny.labels, options));
  };
  const std::string first = run();
  EXPECT_EQ(run(), first);
  options.batch = 50;
  const SuiteRecord other = suite_record_from_json(run());
  const SuiteRecord record = suite_record_from_json(first);
  EXPECT_NEAR(share_defended(other.worst(0.05), other), share_defended(record.worst(0.05), record),
              0.03);
}

TEST(Suite, ARejectionDefendsUnlessTheAttackerKnowsOfIt) {
  // Two classes by the first value, rejected where the second is above a half: the attacker who
  // looks at the classes alone moves the first value only.
  const Victim classes{[](const Tensor& x) {
                         const Tensor score = x.flatten(1).select(1, 0) - 0.5;
                         const Tensor none = torch::zeros_like(score);
                         return torch::stack({none, score}, 1);
                       },
                       2, false};
  const Victim judge{[](const Tensor& x) {
                       const Tensor score = x.flatten(1).select(1, 0) - 0.5;
                       const Tensor none = torch::zeros_like(score);
                       const Tensor doubt = x.flatten(1).select(1, 1) - 0.5;
                       return torch::stack({none, score, torch::max(none, score) + doubt}, 1);
                     },
                     2, true};
  const Tensor images = torch::tensor({0.45f, 0.56f}).view({1, 1, 1, 2}).repeat({10, 1, 1, 1});
  const Tensor labels = torch::zeros({10}, torch::kInt64);
  SuiteOptions options;
  options.eps = {0.1};
  options.steps = 30;
  options.queries = 50;
  const SuiteRecord adaptive = run_suite(judge, judge, images, labels, options);
  EXPECT_EQ(share_defended(adaptive.clean, adaptive), 1);
  EXPECT_EQ(share_defended(adaptive.worst(0.1), adaptive), 0);
  options.eps = {0.055};  // cannot bring the second value below a half
  const SuiteRecord rejected = run_suite(classes, judge, images, labels, options);
  EXPECT_EQ(share_defended(rejected.worst(0.055), rejected), 1);
  EXPECT_EQ(badness(2, 0, 2), 1);
  EXPECT_EQ(badness(1, 0, 2), 2);
  EXPECT_EQ(badness(0, 0, 2), 0);
}

TEST(Suite, ChoosesDlrWhereThereAreEnoughLogits) {
  const auto has = [](int64_t logits, int64_t classes, const std::string& name) {
    const auto attacks = suite_attacks(logits, classes);
    return std::count(attacks.begin(), attacks.end(), name) == 1;
  };
  EXPECT_FALSE(has(2, 2, "APGD-DLR"));
  EXPECT_TRUE(has(3, 2, "APGD-DLR"));
  EXPECT_FALSE(has(3, 3, "APGD-DLR-T"));
  EXPECT_TRUE(has(4, 3, "APGD-DLR-T"));
  EXPECT_TRUE(has(2, 2, "FAB") && has(2, 2, "Square"));
}

TEST(Suite, RunsTheTargetedAttackOnFourClasses) {
  const Victim victim = curved_victim(12, 4, 3, 1.0);
  torch::manual_seed(1);
  const Tensor images = torch::rand({50, 3, 2, 2});
  const Tensor labels = victim.answers(images);
  SuiteOptions options;
  options.eps = {0.05};
  options.steps = 20;
  options.queries = 50;
  options.alone = true;
  const SuiteRecord record = run_suite(victim, victim, images, labels, options);
  for (const auto& stage : record.stages)
    if (stage.attack == "APGD-DLR-T") {
      EXPECT_LT(share_defended(stage.answers, record), 1);
    }
}

TEST(Suite, ShardsTogetherAreTheWhole) {
  const TinyCase tiny(61);
  SuiteOptions options = tiny.options(Norm::kLinf, {0.02, 0.06});
  options.steps = 8;
  options.queries = 40;
  const SuiteRecord whole = run_suite(tiny.victim, tiny.victim, tiny.images, tiny.labels, options);
  std::vector<SuiteRecord> shards;
  for (int64_t i = 0; i < 3; ++i) {
    options.shard = {i, 3};
    shards.push_back(run_suite(tiny.victim, tiny.victim, tiny.images.slice(0, i, 61, 3),
                               tiny.labels.slice(0, i, 61, 3), options));
  }
  const SuiteRecord merged = merge_shards(shards);
  EXPECT_EQ(to_json(merged), to_json(whole));
  shards[1].stages.pop_back();
  EXPECT_NE(message_of(ErrorCode::kData, [&] { merge_shards(shards); }).find("2/3"),
            std::string::npos);
}

TEST(Suite, RefusesWrongInput) {
  const TinyCase tiny;
  const auto message = [&](const SuiteOptions& options, const Tensor& labels) {
    return message_of(ErrorCode::kArgument,
                      [&] { run_suite(tiny.victim, tiny.victim, tiny.images, labels, options); });
  };
  EXPECT_NE(message(tiny.options(Norm::kLinf, {0.1, 0.05}), tiny.labels), "");
  EXPECT_NE(message(tiny.options(Norm::kLinf, {0.0}), tiny.labels), "");
  EXPECT_NE(message(tiny.options(Norm::kLinf, {0.1}), tiny.labels.slice(0, 1)), "");
  EXPECT_NE(message_of(ErrorCode::kData, [] { suite_record_from_json("{"); }), "");
  EXPECT_NE(message_of(ErrorCode::kData, [] { suite_record_from_json("{}"); }), "");
}

}  // namespace
}  // namespace flipside::suite_test
