#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/safetensors.h"
#include "flipside/model/model.h"

namespace flipside::checkpoint_test {
namespace {

Config small_config(ModelKind kind = ModelKind::kCounterfactual) {
  Config config;
  config.model.kind = kind;
  config.model.generator_widths = {8, 16};
  config.model.residual_blocks = 1;
  config.model.discriminator_widths = {8, 16};
  config.train.seed = 7;
  return config;
}

class CheckpointFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("flipside_checkpoint_" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path path() const { return folder_ / "last.safetensors"; }

  Model saved_model() const {
    Model model = make_model(small_config(), {"crack", "gut ü"}, 1);
    model.thresholds.label_free = 0.1234567890123;
    model.thresholds.by_class = {0.1, kUndefined};
    model.thresholds.without_cast = true;
    save_checkpoint(path(), model);
    return model;
  }

  /// What loading says after `change` was made to the stored file (with a right checksum).
  std::string refusal(const std::function<void(SafetensorsFile&)>& change) const {
    saved_model();
    SafetensorsFile file = read_safetensors(path());
    change(file);
    write_safetensors(path(), file);
    return refusal();
  }
  std::string refusal() const {
    try {
      load_checkpoint(path());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCheckpoint);
      return error.what();
    }
    return "";
  }

  fs::path folder_;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(CheckpointFile, HoldsTheWholeModel) {
  for (const auto kind :
       {ModelKind::kCounterfactual, ModelKind::kClassifier, ModelKind::kSegmenter}) {
    Config config = small_config(kind);
    config.loss.lambda_prox = 2.25;
    const Model model = make_model(config, {"bad", "good", "odd"}, 1);
    {  // Weights that no seed gives.
      torch::NoGradGuard no_grad;
      for (auto [name, tensor] : model_tensors(model)) tensor.add_(torch::rand_like(tensor));
    }
    save_checkpoint(path(), model, {{"state.step", torch::tensor(int64_t{12})}},
                    {{"state.note", "x"}});
    const Checkpoint loaded = load_checkpoint(path());
    EXPECT_EQ(to_toml(loaded.model.config), to_toml(config));
    EXPECT_EQ(loaded.model.class_names, model.class_names);
    EXPECT_EQ(loaded.model.reference_class, 1);
    EXPECT_TRUE(std::isnan(loaded.model.thresholds.label_free));
    EXPECT_EQ(loaded.metadata.at("state.note"), "x");
    ASSERT_EQ(loaded.extra.size(), 1u);
    EXPECT_EQ(loaded.extra.at("state.step").item<int64_t>(), 12);
    const TensorMap before = model_tensors(model), after = model_tensors(loaded.model);
    ASSERT_EQ(before.size(), after.size());
    for (const auto& [name, tensor] : before) {
      EXPECT_TRUE(torch::equal(tensor, after.at(name))) << name;
      EXPECT_EQ(tensor.strides(), after.at(name).strides()) << name;
    }
  }
}

TEST_F(CheckpointFile, KeepsThresholdsToTheLastBit) {
  const Model model = saved_model();
  const Model loaded = load_model(path());
  EXPECT_EQ(loaded.thresholds.label_free, model.thresholds.label_free);
  EXPECT_TRUE(std::isnan(loaded.thresholds.tuned));
  EXPECT_EQ(loaded.thresholds.label_free_of(0), 0.1);
  EXPECT_EQ(loaded.thresholds.label_free_of(1), model.thresholds.label_free);
  EXPECT_TRUE(loaded.thresholds.without_cast);
  EXPECT_EQ(loaded.class_names[1], "gut ü");
  EXPECT_FALSE(loaded.generator->is_training());
}

TEST_F(CheckpointFile, KeepsTheRuleOfDoubt) {
  Model model = saved_model();
  EXPECT_FALSE(load_model(path()).doubt_rule) << "an older checkpoint";
  model.doubt_rule = DoubtRule{"margin", 0.0123456789, 0.95};
  save_checkpoint(path(), model);
  const Model loaded = load_model(path());
  ASSERT_TRUE(loaded.doubt_rule);
  EXPECT_EQ(loaded.doubt_rule->score, "margin");
  EXPECT_EQ(loaded.doubt_rule->threshold, 0.0123456789);
  EXPECT_EQ(loaded.doubt_rule->coverage, 0.95);
}

TEST_F(CheckpointFile, KnowsTheScaleOfItsTrainingImages) {
  Model model = saved_model();
  EXPECT_EQ(load_model(path()).training_scale(), 1.0) << "an older checkpoint";
  EXPECT_EQ(load_model(path()).native_sides.largest, 0.0);
  model.native_sides = {256.5, 1000};
  save_checkpoint(path(), model);
  const Model loaded = load_model(path());
  EXPECT_EQ(loaded.native_sides.median, 256.5);
  EXPECT_EQ(loaded.native_sides.largest, 1000);
  EXPECT_DOUBLE_EQ(loaded.training_scale(), 64 / 256.5);
}

TEST_F(CheckpointFile, OfARunIsTheBestOrElseTheLast) {
  EXPECT_THROW(load_model(folder_ / "missing"), Error);
  EXPECT_THROW(load_model(folder_), Error);
  Model model = saved_model();
  EXPECT_NO_THROW(load_model(folder_));
  model.thresholds.tuned = 0.5;
  save_checkpoint(folder_ / "best.safetensors", model);
  EXPECT_EQ(load_model(folder_).thresholds.tuned, 0.5);
  EXPECT_TRUE(std::isnan(load_model(path()).thresholds.tuned));
}

TEST_F(CheckpointFile, RefusesOtherTensors) {
  const std::string name = "generator.head.bias";
  const std::string missing = refusal([&](auto& file) { file.tensors.erase(name); });
  EXPECT_TRUE(contains(missing, name + " is missing")) << missing;
  const std::string shape = refusal([&](auto& file) { file.tensors[name] = torch::zeros({3}); });
  EXPECT_TRUE(contains(shape, name + " is Float [3]") && contains(shape, "expects Float [2]"))
      << shape;
  const std::string dtype =
      refusal([&](auto& file) { file.tensors[name] = file.tensors[name].to(torch::kDouble); });
  EXPECT_TRUE(contains(dtype, "Double [2]")) << dtype;
  const std::string extra = refusal([&](auto& file) { file.tensors["more"] = torch::zeros({1}); });
  EXPECT_TRUE(contains(extra, "tensor more has no place")) << extra;
}

TEST_F(CheckpointFile, RefusesOtherMetadata) {
  const std::vector<std::array<std::string, 3>> changes = {
      {"format", "pt", "format = pt"},
      {"format_version", "2", "format_version = 2"},
      {"config", "[loss]\nlambda_porx = 1\n", "lambda_porx"},
      {"config", "[data]\nsize = 33\n", "data.size = 33"},
      {"class_names", "[\"a\",\"a\"]", "different names"},
      {"class_names", "[\"a\"", "JSON list"},
      {"reference_class", "plum", "reference_class = plum"},
      {"threshold_tuned", "nan", "threshold_tuned = nan"},
      {"threshold_label_free_by_class", "[0.1]", "list of 2 numbers"},
      {"threshold_label_free_by_class", "[0.1,\"much\"]", "list of 2 numbers"},
      {"threshold_label_free_by_class", "[0.1", "list of 2 numbers"},
      {"maps_without_cast", "yes", "maps_without_cast = yes"},
      {"doubt_score", "margin", "doubt_threshold"},
      {"native_side_median", "0", "native_side_median = 0"},
      {"native_side_largest", "wide", "native_side_largest = wide"}};
  for (const auto& [key, value, words] : changes) {
    const std::string said =
        refusal([&, key = key, value = value](auto& file) { file.metadata[key] = value; });
    EXPECT_TRUE(contains(said, words)) << said;
  }
  for (const std::string key :
       {"format", "format_version", "config", "class_names", "reference_class"}) {
    const std::string said = refusal([&](auto& file) { file.metadata.erase(key); });
    EXPECT_TRUE(contains(said, key + " is missing")) << said;
  }
}

TEST_F(CheckpointFile, NoFlippedByteGoesUnseen) {
  saved_model();
  const std::string good = read_file(path());
  // Every byte of the header's beginning and of its end, and every 97th of the rest.
  for (size_t i = 0; i < good.size(); i += (i < 400 ? 1 : 97)) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x04);
    atomic_write(path(), bad);
    EXPECT_NE(refusal(), "") << "byte " << i;
  }
  std::string renamed = good;
  renamed[good.find("\"crc32\"") + 1] = 'C';
  atomic_write(path(), renamed);
  EXPECT_TRUE(contains(refusal(), "crc32 is missing")) << refusal();
}

TEST(MakeModel, SeedAloneDecidesTheWeights) {
  torch::manual_seed(1);
  const Tensor expected_next = torch::rand({3});
  torch::manual_seed(1);
  const TensorMap first = model_tensors(make_model(small_config(), {"a", "b"}, 0));
  EXPECT_TRUE(torch::equal(torch::rand({3}), expected_next)) << "the global generator moved";
  const TensorMap again = model_tensors(make_model(small_config(), {"a", "b"}, 0));
  Config other = small_config();
  other.train.seed = 8;
  const TensorMap differs = model_tensors(make_model(other, {"a", "b"}, 0));
  const std::string weight = "discriminator.stem.weight";
  for (const auto& [name, tensor] : first) EXPECT_TRUE(torch::equal(tensor, again.at(name)));
  EXPECT_FALSE(torch::equal(first.at(weight), differs.at(weight)));
}

TEST(MakeModel, RefusesOneClassAndAReferenceThatIsNone) {
  EXPECT_THROW(make_model(Config{}, {"only"}, 0), Error);
  EXPECT_THROW(make_model(Config{}, {"a", "b"}, 2), Error);
}

}  // namespace
}  // namespace flipside::checkpoint_test
