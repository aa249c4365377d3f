#include "flipside/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "flipside/config/fields.h"
#include "flipside/core/error.h"

namespace flipside::config_test {
namespace {

using ::testing::HasSubstr;

std::string message_of(const std::function<void()>& action, ErrorCode code) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(Config, TomlRoundTripIsEqual) {
  Config config;
  config.model.generator_widths = {8, 16, 24};
  config.model.output = GeneratorOutput::kDirect;
  config.loss.lambda_prox = 1.0 / 3.0;
  config.data.reference_class = "MT Free";
  config.data.balanced = false;
  config.train.seed = 123456789012345;
  Config back;
  parse_config(to_toml(config), "test", back);
  EXPECT_EQ(to_toml(back), to_toml(config));
  EXPECT_EQ(back.loss.lambda_prox, config.loss.lambda_prox);
  EXPECT_EQ(back.model.generator_widths, config.model.generator_widths);
}

TEST(Config, StoredOnesOfEarlierVersionsKeepWhatTheyWereTrainedWith) {
  const Config earlier = parse_stored_config("[train]\nseed = 7\n", "earlier");
  EXPECT_EQ(earlier.data.split_seed, 7);
  EXPECT_EQ(earlier.loss.false_change_goal, 0);
  EXPECT_EQ(earlier.loss.lambda_mask, 0);
  Config config;
  config.train.seed = 7;
  const Config stored = parse_stored_config(to_toml(config), "today's");
  EXPECT_EQ(stored.data.split_seed, 1);
  EXPECT_EQ(stored.loss.false_change_goal, config.loss.false_change_goal);
  EXPECT_EQ(stored.loss.lambda_mask, config.loss.lambda_mask);
}

TEST(Config, NamesAreUniqueAndDescribed) {
  Config config;
  std::set<std::string> names;
  for (const auto& field : config_fields(config)) {
    EXPECT_TRUE(names.insert(field.name).second) << field.name;
    EXPECT_FALSE(field.help.empty()) << field.name;
    EXPECT_FALSE(field.range.empty()) << field.name;
    EXPECT_THROW(field.set("\"\\\n"), Error) << field.name;
  }
}

TEST(Config, UnknownKeyNamesTheNearestOne) {
  Config config;
  const auto message = message_of([&] { parse_config("[train]\nstep = 5\n", "my.toml", config); },
                                  ErrorCode::kConfig);
  EXPECT_THAT(message, HasSubstr("my.toml"));
  EXPECT_THAT(message, HasSubstr("unknown key train.step"));
  EXPECT_THAT(message, HasSubstr("did you mean train.steps?"));
}

TEST(Config, ValueOutOfRangeNamesKeyValueAndRange) {
  Config config;
  for (const std::string line :
       {"lr_generator = -1", "lr_generator = nan", "lr_generator = abc", "lr_generator = 2"}) {
    const auto message = message_of(
        [&] { parse_config("[train]\n" + line + "\n", "my.toml", config); }, ErrorCode::kConfig);
    EXPECT_THAT(message, HasSubstr("train.lr_generator = "));
    EXPECT_THAT(message, HasSubstr("must be a number from 1e-09 to 1"));
  }
}

TEST(Config, SizeMustFitTheLevels) {
  Config config;
  config.data.size = 65;
  EXPECT_THAT(message_of([&] { validate_config(config); }, ErrorCode::kConfig),
              HasSubstr("data.size = 65: must be a multiple of 8"));
}

TEST(Config, OnlyTheFactorisedHeadHasCounterfactualsToAttack) {
  Config config;
  config.loss.robust_cf_fraction = 0.5;
  EXPECT_THAT(message_of([&] { validate_config(config); }, ErrorCode::kConfig),
              HasSubstr("loss.robust_cf_fraction = 0.5: needs model.fake_head = factorised"));
  config.model.fake_head = FakeHead::kFactorised;
  validate_config(config);
}

TEST(Config, NearestNameByEditDistance) {
  EXPECT_EQ(nearest_name("stpes", {"seed", "steps", "batch"}), "steps");
  EXPECT_EQ(nearest_name("x", {}), "");
}

}  // namespace
}  // namespace flipside::config_test
