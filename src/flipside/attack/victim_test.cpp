#include "flipside/attack/victim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "flipside/core/error.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::victim_test {
namespace {

Tensor labels_of(const std::vector<int64_t>& labels) { return torch::tensor(labels); }

Victim with_outputs(int64_t num_classes, bool rejects) {
  return {[](const Tensor& images) { return images; }, num_classes, rejects};
}

TEST(AttackLoss, AgreesWithTheFormulas) {
  torch::manual_seed(3);
  const Tensor logits = torch::randn({20, 5}, torch::kDouble);
  std::vector<int64_t> truth, targets;
  for (int64_t i = 0; i < 20; ++i) {
    truth.push_back(i % 5);
    targets.push_back((i + 1 + i % 4) % 5);
  }
  const Victim victim = with_outputs(5, false);
  const Goal any{labels_of(truth), {}}, one{labels_of(truth), labels_of(targets)};
  const auto loss = [&](AttackLoss kind, const Goal& goal) {
    return attack_loss(kind, victim, logits, goal);
  };
  const Tensor ce = loss(AttackLoss::kCrossEntropy, any), cw = loss(AttackLoss::kMargin, any);
  const Tensor dlr = loss(AttackLoss::kDlr, any),
               targeted_ce = loss(AttackLoss::kCrossEntropy, one);
  const Tensor targeted_cw = loss(AttackLoss::kMargin, one);
  const Tensor targeted_dlr = loss(AttackLoss::kDlr, one);
  for (int64_t i = 0; i < 20; ++i) {
    std::vector<double> z, sorted;
    double sum = 0, wrong = -1e9, not_target = -1e9;
    for (int64_t k = 0; k < 5; ++k) {
      z.push_back(logits[i][k].item<double>());
      sum += std::exp(z[k]);
      if (k != truth[i]) wrong = std::max(wrong, z[k]);
      if (k != targets[i]) not_target = std::max(not_target, z[k]);
    }
    sorted = z;
    std::sort(sorted.rbegin(), sorted.rend());
    const double zy = z[truth[i]], zt = z[targets[i]];
    EXPECT_NEAR(ce[i].item<double>(), std::log(sum) - zy, 1e-9);
    EXPECT_NEAR(cw[i].item<double>(), wrong - zy, 1e-9);
    EXPECT_NEAR(dlr[i].item<double>(), (wrong - zy) / (sorted[0] - sorted[2]), 1e-9);
    EXPECT_NEAR(targeted_ce[i].item<double>(), zt - std::log(sum), 1e-9);
    EXPECT_NEAR(targeted_cw[i].item<double>(), zt - not_target, 1e-9);
    EXPECT_NEAR(targeted_dlr[i].item<double>(),
                (zt - zy) / (sorted[0] - 0.5 * (sorted[2] + sorted[3])), 1e-9);
  }
}

TEST(AttackLoss, WantsAWrongClassAndNoRejection) {
  const Victim victim = with_outputs(2, /*rejects=*/true);
  const Tensor logits = torch::tensor({2.0, 1.0, 0.0,   // right
                                       1.0, 2.0, 0.0,   // wrong: won
                                       1.0, 2.0, 3.0})  // wrong, but rejected
                            .view({3, 3});
  const Goal goal{labels_of({0, 0, 0}), {}};
  const Tensor margin = attack_margin(victim, logits, goal);
  EXPECT_TRUE(torch::allclose(margin, torch::tensor({-1.0, 1.0, -1.0})));
  const Tensor loss = attack_loss(AttackLoss::kCrossEntropy, victim, logits, goal);
  const Tensor p = logits.softmax(1);
  EXPECT_TRUE(torch::allclose(loss, -(p.select(1, 0) + p.select(1, 2)).log()));
  EXPECT_TRUE(torch::equal(victim.answers(logits), labels_of({0, 1, 2})));
}

TEST(AttackLoss, DlrRefusesTooFewLogits) {
  const auto message = [](int64_t outputs, bool targeted) {
    const Goal goal{labels_of({0}), targeted ? labels_of({1}) : Tensor()};
    return message_of(ErrorCode::kArgument, [&] {
      attack_loss(AttackLoss::kDlr, with_outputs(outputs, false), torch::rand({1, outputs}), goal);
    });
  };
  EXPECT_NE(message(2, false), "");
  EXPECT_EQ(message(3, false), "");
  EXPECT_NE(message(3, true), "");
  EXPECT_EQ(message(4, true), "");
}

TEST(Victim, IsTheModel) {
  torch::NoGradGuard no_grad;
  const Model model = lively_model({"bad", "good"}, 1);
  torch::manual_seed(5);
  const Tensor images = torch::rand({6, 3, 16, 16});
  Discriminator discriminator = model.discriminator;
  Generator generator = model.generator;
  const Tensor logits = discriminator->forward(images);
  EXPECT_TRUE(torch::allclose(class_victim(model).logits(images), logits.slice(1, 0, 2)));
  EXPECT_TRUE(torch::allclose(head_victim(model).logits(images), generator->classify(images)));
  const Model classifier = small_model({"bad", "good"}, 1, ModelKind::kClassifier);
  EXPECT_EQ(class_victim(classifier).logits(images).size(1), 2);
  const auto refused = [](auto make) { return message_of(ErrorCode::kArgument, make) != ""; };
  EXPECT_TRUE(refused([&] { head_victim(classifier); }));
  EXPECT_TRUE(refused([&] { reject_victim(classifier, RejectScore::kFakeness, 0.5); }));
  EXPECT_TRUE(refused([&] {
    class_victim(small_model({"bad", "good"}, 1, ModelKind::kSegmenter));
  }));
}

TEST(Victim, RejectsExactlyAboveTheThreshold) {
  torch::NoGradGuard no_grad;
  torch::manual_seed(5);
  const Tensor images = torch::rand({40, 3, 16, 16});
  for (const FakeHead head : {FakeHead::kSoftmax, FakeHead::kFactorised})
    for (const RejectScore kind : {RejectScore::kFakeness, RejectScore::kFakeLogit}) {
      Model model = lively_model({"bad", "good"}, 1);
      model.config.model.fake_head = head;
      Discriminator discriminator = model.discriminator;
      const Tensor logits = discriminator->forward(images);
      const Tensor score = reject_score(logits, kind, head);
      const Tensor sorted = std::get<0>(score.sort());
      const double threshold = 0.5 * (sorted[19].item<double>() + sorted[20].item<double>());
      const Victim victim = reject_victim(model, kind, threshold);
      const Tensor expected =
          torch::where(score > threshold, torch::full({40}, int64_t{2}, torch::kInt64),
                       logits.slice(1, 0, 2).argmax(1));
      EXPECT_TRUE(torch::equal(victim.answers(images), expected));
    }
}

}  // namespace
}  // namespace flipside::victim_test
