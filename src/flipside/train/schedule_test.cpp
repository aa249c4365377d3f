#include "flipside/train/schedule.h"

#include <gtest/gtest.h>

namespace flipside::schedule_test {
namespace {

TrainConfig hundred_steps() {
  TrainConfig config;
  config.steps = 100;
  config.discriminator_warmup = 10;
  config.lr_warmup = 4;
  config.lr_decay = 0.4;
  config.ramp = 0.2;
  return config;
}

TEST(Schedule, WarmupComesFirst) {
  const Schedule schedule(hundred_steps(), /*has_phases=*/true);
  EXPECT_EQ(schedule.total_steps(), 110);
  EXPECT_EQ(schedule.phase(9), Phase::kWarmup);
  EXPECT_EQ(schedule.phase(10), Phase::kJoint);
  EXPECT_EQ(schedule.phase(110), Phase::kJoint);  // the end
  EXPECT_EQ(Schedule(hundred_steps(), false).total_steps(), 100);
}

TEST(Schedule, LearningRateRisesStaysAndFalls) {
  const Schedule schedule(hundred_steps(), true);
  EXPECT_DOUBLE_EQ(schedule.lr_factor(0), 0.25);
  EXPECT_DOUBLE_EQ(schedule.lr_factor(3), 1.0);
  EXPECT_DOUBLE_EQ(schedule.lr_factor(69), 1.0);     // joint step 59: 41 left of 40
  EXPECT_DOUBLE_EQ(schedule.lr_factor(90), 0.5);     // joint step 80: 20 left of 40
  EXPECT_DOUBLE_EQ(schedule.lr_factor(109), 0.025);  // the last one: 1 left
  EXPECT_DOUBLE_EQ(schedule.generator_lr_factor(10), 0.25);
  EXPECT_DOUBLE_EQ(schedule.generator_lr_factor(13), 1.0);
}

TEST(Schedule, PenaltiesGrowToTheirFullWeight) {
  const Schedule schedule(hundred_steps(), true);
  EXPECT_DOUBLE_EQ(schedule.penalty_factor(10), 0.05);
  EXPECT_DOUBLE_EQ(schedule.penalty_factor(19), 0.5);
  EXPECT_DOUBLE_EQ(schedule.penalty_factor(29), 1.0);
}

TEST(Schedule, BoundGrowsOverAllSteps) {
  TrainConfig config = hundred_steps();
  config.robust_ramp = 0.5;
  const Schedule schedule(config, true);
  EXPECT_DOUBLE_EQ(schedule.bound_factor(10), 0.2);  // of 110 steps, 55 to grow in
  EXPECT_DOUBLE_EQ(schedule.bound_factor(54), 1.0);
  EXPECT_DOUBLE_EQ(schedule.bound_factor(109), 1.0);
  config.robust_ramp = 0;
  EXPECT_DOUBLE_EQ(Schedule(config, true).bound_factor(0), 1.0);
}

TEST(Schedule, OnlySettledModelsCanBeBest) {
  const Schedule schedule(hundred_steps(), true);
  EXPECT_FALSE(schedule.settled(60));
  EXPECT_FALSE(schedule.settled(89));
  EXPECT_TRUE(schedule.settled(90));  // the learning rate has fallen to half
  EXPECT_TRUE(schedule.settled(110));

  TrainConfig constant = hundred_steps();
  constant.lr_decay = 0;
  EXPECT_FALSE(Schedule(constant, true).settled(28));
  EXPECT_TRUE(Schedule(constant, true).settled(29));  // the penalties have their full weight
}

TEST(Schedule, StepsAfterwardsRiseAndFallAnew) {
  TrainConfig config = hundred_steps();
  config.discriminator_after = 50;
  const Schedule schedule(config, true);
  EXPECT_EQ(schedule.total_steps(), 160);
  EXPECT_EQ(schedule.phase(109), Phase::kJoint);
  EXPECT_EQ(schedule.phase(110), Phase::kAfter);
  EXPECT_DOUBLE_EQ(schedule.lr_factor(109), 0.025);  // the joint steps end as without
  EXPECT_DOUBLE_EQ(schedule.lr_factor(110), 0.25);
  EXPECT_DOUBLE_EQ(schedule.lr_factor(113), 1.0);
  EXPECT_DOUBLE_EQ(schedule.lr_factor(150), 0.5);  // 10 left of 20
  EXPECT_FALSE(schedule.settled(109));             // the discriminator is not finished
  EXPECT_FALSE(schedule.settled(149));
  EXPECT_TRUE(schedule.settled(150));
  EXPECT_EQ(Schedule(config, /*has_phases=*/false).total_steps(), 100);
}

}  // namespace
}  // namespace flipside::schedule_test
