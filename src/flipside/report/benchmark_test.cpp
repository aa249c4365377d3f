#include "flipside/report/benchmark.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>

#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/report/benchmark_output.h"
#include "support/noise_data.h"
#include "support/temp_folder.h"

namespace flipside::benchmark_test {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::ordered_json;

const std::string kGrid = R"([benchmark]
data = "data"
split = "val"
judge = "judge"

[common]
size = 16
generator_widths = [8, 16]
discriminator_widths = [8, 16]
residual_blocks = 0
batch = 4
discriminator_warmup = 1
steps = 2
validate_every = 2
lambda_prox = 5

[judge]
model = "classifier"
seed = 77

[ours]
lambda_prox = 3

[ordinary]
config = "ordinary.toml"
)";

/// Makes a run's configuration that of a program which did not know the option yet.
void forget_option(const fs::path& run, const std::string& name) {
  const fs::path config = run / "config.toml";
  std::string text = read_file(config);
  const size_t line = text.find(name);
  ASSERT_NE(line, std::string::npos);
  atomic_write(config, text.erase(line, text.find('\n', line) + 1 - line));
}

class BenchmarkTest : public testing::Test {
 protected:
  void SetUp() override {
    write_noise_data(root_ / "data", {"crack", "intact"}, 4);
    atomic_write(root_ / "ordinary.toml", "[model]\nmodel = \"classifier\"\n");
    atomic_write(file_, kGrid);
  }
  /// The message of loading `text`.
  std::string refusal(const std::string& text) {
    atomic_write(file_, text);
    return message_of(ErrorCode::kConfig, [&] { load_benchmark(file_); });
  }

  TempFolder root_;
  fs::path file_ = root_ / "grid.toml";
};

TEST_F(BenchmarkTest, ReadsCommonOptionsThenEachMethods) {
  const Benchmark benchmark = load_benchmark(file_);
  EXPECT_EQ(benchmark.data, root_ / "data");
  EXPECT_EQ(benchmark.split, Split::kVal);
  EXPECT_EQ(benchmark.judge.name, "judge");
  EXPECT_EQ(benchmark.judge.config.train.seed, 77u);
  EXPECT_EQ(benchmark.judge.config.data.size, 16);
  ASSERT_EQ(benchmark.methods.size(), 2u);
  EXPECT_EQ(benchmark.methods[0].name, "ours");
  EXPECT_EQ(benchmark.methods[0].config.loss.lambda_prox, 3);
  EXPECT_EQ(benchmark.methods[0].config.model.generator_widths, (std::vector<int64_t>{8, 16}));
  EXPECT_EQ(benchmark.methods[1].config.model.kind, ModelKind::kClassifier);
  EXPECT_EQ(benchmark.methods[1].config.loss.lambda_prox, 5);
}

TEST_F(BenchmarkTest, NamesWhatIsWrongInTheFile) {
  EXPECT_THAT(refusal("[ours]\nsteps = 2\n"), HasSubstr("benchmark.data"));
  EXPECT_THAT(refusal("[benchmark]\ndata = \"d\"\n"), HasSubstr("no method"));
  EXPECT_THAT(refusal("[benchmark]\ndatum = \"d\"\n[ours]\n"), HasSubstr("did you mean data?"));
  EXPECT_THAT(refusal("[benchmark]\ndata = \"d\"\nsplit = \"all\"\n[ours]\nsteps = 2\n"),
              HasSubstr("benchmark.split = all"));
  EXPECT_THAT(refusal("[benchmark]\ndata = \"d\"\njudge = \"j\"\n[ours]\nsteps = 2\n"),
              HasSubstr("no section [j]"));
  EXPECT_THAT(refusal("[benchmark]\ndata = \"d\"\nmaps = -1\n[ours]\nsteps = 2\n"),
              HasSubstr("benchmark.maps = -1"));
  EXPECT_THAT(refusal("[benchmark]\ndata = \"d\"\nmaps_of = \"a,ours\"\n[ours]\nsteps = 2\n"),
              HasSubstr("benchmark.maps_of = a: there is no section [a]"));
  EXPECT_THAT(refusal("[benchmark]\ndata = \"d\"\ndoubt = 3\n[ours]\nsteps = 2\n"),
              HasSubstr("benchmark.doubt = 3"));
  EXPECT_THAT(refusal("[benchmark]\ndata = \"d\"\n[ours]\nstep = 2\n"),
              HasSubstr("[ours] has an unknown key step; did you mean steps?"));
  EXPECT_THAT(refusal("[benchmark]\ndata = \"d\"\n[ours]\nsteps = -2\n"),
              HasSubstr("[ours] train.steps = -2: must be"));
  EXPECT_THAT(message_of(ErrorCode::kConfig, [&] { load_benchmark(root_ / "none.toml"); }),
              HasSubstr("none.toml"));
}

Json evaluation(double accuracy, double flips, std::vector<bool> correct) {
  Json images = Json::array();
  for (size_t i = 0; i < correct.size(); ++i)
    images.push_back(
        {{"image", i}, {"correct", correct[i] == true}, {"flipped", true}, {"iou", nullptr}});
  return {{"accuracy", accuracy},
          {"split", "test"},
          {"flips", {{{"from", "a"}, {"to", "b"}, {"by_judge", flips}}}},
          {"changes", Json::array()},
          {"per_image", images}};
}

TEST(Summarise, MeanDeviationAndIntervalByHand) {
  const Json summary = summarise({evaluation(0.5, 0.2, {true, false, true, false}),
                                  evaluation(0.8, 0.6, {true, true, true, false})});
  EXPECT_EQ(summary["seeds"], 2);
  const Json& accuracy = summary["measures"]["/accuracy"];
  EXPECT_NEAR(accuracy["mean"].get<double>(), 0.65, 1e-12);
  EXPECT_NEAR(accuracy["deviation"].get<double>(), 0.3 / std::sqrt(2.0), 1e-12);
  EXPECT_EQ(accuracy["values"].size(), 2u);
  EXPECT_NEAR(summary["measures"]["/flips/a > b/by_judge"]["mean"].get<double>(), 0.4, 1e-12);
  EXPECT_FALSE(summary["measures"].contains("/split"));
  // Images are drawn, not seeds: the mean lies between all of one image and all of another.
  const Json& interval = summary["intervals"]["accuracy"];
  EXPECT_GE(interval[0].get<double>(), 0.0);
  EXPECT_LE(interval[1].get<double>(), 1.0);
  EXPECT_LT(interval[0].get<double>(), 0.625);
  EXPECT_GT(interval[1].get<double>(), 0.625);
  EXPECT_EQ(summary["intervals"]["flip_rate"], (Json{1.0, 1.0}));
  EXPECT_TRUE(summary["intervals"]["mean_iou"].is_null());
}

// Of five classes: 20 good images, all recognised, are turned into each of four defects, which
// succeeds for half of these images; 20 defects, none recognised.
TEST(Summarise, IntervalsDrawImagesHoweverManyClassesTheyAreTurnedInto) {
  Json entries = Json::array();
  for (int image = 0; image < 40; ++image)
    for (int direction = 0; direction < (image < 20 ? 4 : 1); ++direction)
      entries.push_back({{"image", image},
                         {"correct", image < 20},
                         {"flipped", image < 20 && image % 2 == 0},
                         {"iou", nullptr}});
  Json evaluation{{"per_image", entries}, {"flips", Json::array()}, {"changes", Json::array()}};
  const Json intervals = summarise({evaluation})["intervals"];
  // Accuracy .5 of 40 images: .5 +- 1.96 sqrt(.25 / 40) = .345 to .655.
  EXPECT_NEAR(intervals["accuracy"][0].get<double>(), 0.345, 0.03);
  EXPECT_NEAR(intervals["accuracy"][1].get<double>(), 0.655, 0.03);
  // Flips .4 of 100 directions; drawn one by one they would be known to +- .096.
  EXPECT_LT(intervals["flip_rate"][0].get<double>(), 0.26);
  EXPECT_GT(intervals["flip_rate"][1].get<double>(), 0.54);
}

TEST(BenchmarkCurves, GoThroughTheMeansWithABandOfOneDeviation) {
  const auto point = [](double mean, Json deviation) {
    return Json{{"mean", mean}, {"deviation", std::move(deviation)}};
  };
  const std::string path = "/robustness/classes/";
  const Json methods{{"a",
                      {{"measures",
                        {{path + "8/accuracy", point(0, 0.1)},  // not in the order of the bounds
                         {path + "0/accuracy", point(1, 0.1)},
                         {path + "4/accuracy", point(0.5, 0.25)},
                         {path + "4/macro_f1", point(0.1, 0.25)}}}}},
                     {"never attacked", {{"measures", {{"/accuracy", point(1, 0)}}}}}};
  const std::string svg = benchmark_curves(methods, "accuracy", "accuracy");
  // The axes span 60 to 450 and 348 up to 36.
  EXPECT_THAT(svg, HasSubstr("M60.0 36.0L255.0 192.0L450.0 348.0"));
  EXPECT_THAT(svg, HasSubstr("M60.0 36.0L255.0 114.0L450.0 316.8"));  // the band's upper edge
  EXPECT_THAT(svg, Not(HasSubstr("never attacked")));
}

TEST(BenchmarkText, NamesTheSeedThatWentAstray) {
  const auto finding = [](const char* severity, const char* what) {
    return Json{{"severity", severity}, {"what", what}, {"remedy", "mend it"}};
  };
  Json good = evaluation(0.5, 0.2, {true}), bad = good;
  good["findings"] = {finding("note", "few images")};
  bad["findings"] = {finding("warning", "masks are bad"), finding("note", "few images")};
  const Json methods{{"coin", summarise({good, bad})},
                     {"older", summarise({evaluation(1, 1, {})})}};
  EXPECT_EQ(methods["coin"]["findings"][1][0]["remedy"], "mend it");
  const std::string text = benchmark_text(methods);
  EXPECT_THAT(text, HasSubstr("\ncoin, seed 2: masks are bad\n"));
  EXPECT_THAT(text, Not(HasSubstr("few images")));
  EXPECT_THAT(benchmark_text({{"coin", summarise({good})}}), Not(HasSubstr("warnings")));
}

TEST(Summarise, OneSeedHasNoDeviation) {
  const Json summary = summarise({evaluation(0.5, 0.2, {true})});
  EXPECT_TRUE(summary["measures"]["/accuracy"]["deviation"].is_null());
}

TEST_F(BenchmarkTest, TrainsTheGridOnceAndGoesOnWhereItStopped) {
  const fs::path out = root_ / "out";
  run_benchmark(load_benchmark(file_), /*seeds=*/1, out);
  const fs::path first = out / "ours" / "seed1";
  const auto trained = fs::last_write_time(first / "last.safetensors");
  const auto measured = fs::last_write_time(first / "evaluation.json");
  run_benchmark(load_benchmark(file_), /*seeds=*/2, out);
  EXPECT_EQ(fs::last_write_time(first / "last.safetensors"), trained);
  EXPECT_EQ(fs::last_write_time(first / "evaluation.json"), measured);
  EXPECT_TRUE(fs::exists(out / "ordinary" / "seed2" / "best.safetensors"));
  EXPECT_TRUE(fs::exists(out / "judge" / "best.safetensors"));

  const Json json = Json::parse(read_file(out / "benchmark.json"));
  EXPECT_EQ(json["methods"]["ours"]["seeds"], 2);
  const Json& accuracy = json["methods"]["ours"]["measures"]["/accuracy"];
  const auto of_seed = [&](const std::string& seed) {
    return Json::parse(read_file(out / "ours" / seed / "evaluation.json"))["accuracy"]
        .get<double>();
  };
  EXPECT_NEAR(accuracy["mean"].get<double>(), (of_seed("seed1") + of_seed("seed2")) / 2, 1e-12);
  const std::string text = read_file(out / "benchmark.txt");
  EXPECT_THAT(text, HasSubstr("crack > intact, judge"));
  EXPECT_THAT(text, HasSubstr("ordinary"));

  // A run of a program that knew no seed of its own for the splits is gone on with too.
  forget_option(out / "ours/seed2", "split_seed");
  const auto second = fs::last_write_time(out / "ours/seed2/last.safetensors");
  run_benchmark(load_benchmark(file_), /*seeds=*/2, out);
  EXPECT_EQ(fs::last_write_time(out / "ours/seed2/last.safetensors"), second);

  // What another judge said is asked again.
  const auto judge_asked = [&] {
    return Json::parse(read_file(first / "evaluation.json"))["asked"]["judge_checkpoint"];
  };
  const Json before = judge_asked();
  fs::copy_file(out / "ordinary/seed2/best.safetensors", out / "judge/best.safetensors",
                fs::copy_options::overwrite_existing);
  run_benchmark(load_benchmark(file_), /*seeds=*/1, out);
  EXPECT_NE(judge_asked(), before);

  fs::copy(root_ / "data", root_ / "other", fs::copy_options::recursive);
  std::string moved = kGrid;
  moved.replace(moved.find("\"data\""), 6, "\"other\"");
  atomic_write(file_, moved);
  EXPECT_THAT(message_of(ErrorCode::kUsage,
                         [&] { run_benchmark(load_benchmark(file_), /*seeds=*/1, out); }),
              HasSubstr("was trained on " + (root_ / "data").string()));

  atomic_write(file_, kGrid + "lr_classifier = 0.01\n");
  EXPECT_THAT(message_of(ErrorCode::kUsage,
                         [&] { run_benchmark(load_benchmark(file_), /*seeds=*/1, out); }),
              HasSubstr("another configuration"));
}

TEST_F(BenchmarkTest, ShardsDoTheRunsBetweenThem) {
  const fs::path out = root_ / "out";
  const auto measured = [&](const std::string& run) {
    return fs::exists(out / run / "evaluation.json");
  };
  run_benchmark(load_benchmark(file_), /*seeds=*/1, out, {1, 2});  // ours; it needs the judge
  EXPECT_TRUE(measured("ours/seed1"));
  EXPECT_FALSE(fs::exists(out / "ordinary"));
  run_benchmark(load_benchmark(file_), /*seeds=*/1, out, {0, 2});
  EXPECT_TRUE(measured("ordinary/seed1"));
  EXPECT_FALSE(fs::exists(out / "benchmark.json"));
  const auto written = fs::last_write_time(out / "ours/seed1/evaluation.json");
  run_benchmark(load_benchmark(file_), /*seeds=*/1, out);
  EXPECT_TRUE(fs::exists(out / "benchmark.json"));
  EXPECT_EQ(fs::last_write_time(out / "ours/seed1/evaluation.json"), written);
}

TEST_F(BenchmarkTest, ShardsTakeTurnsAtTheJudge) {
  const fs::path out = root_ / "out";
  make_folder(out);
  auto turn = std::make_unique<FolderLock>(out);
  auto shard = std::async(std::launch::async, [&] {
    run_benchmark(load_benchmark(file_), /*seeds=*/1, out, {0, 2});
  });
  EXPECT_EQ(shard.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  EXPECT_FALSE(fs::exists(out / "judge"));
  turn.reset();
  EXPECT_NO_THROW(shard.get());
  EXPECT_TRUE(fs::exists(out / "judge" / "best.safetensors"));
}

TEST_F(BenchmarkTest, ARunInOtherHandsIsLeftAlone) {
  const fs::path out = root_ / "out";
  run_benchmark(load_benchmark(file_), /*seeds=*/2, out);
  fs::remove(out / "benchmark.json");
  const FolderLock lock(out / "ours" / "seed2");
  EXPECT_THAT(message_of(ErrorCode::kUsage,
                         [&] { run_benchmark(load_benchmark(file_), /*seeds=*/2, out); }),
              HasSubstr("another process"));
  // The table of the seed that was done before is there.
  EXPECT_EQ(Json::parse(read_file(out / "benchmark.json"))["methods"]["ours"]["seeds"], 1);
}

TEST_F(BenchmarkTest, AttacksAndDoubtsOfEveryMethod) {
  atomic_write(file_,
               "[benchmark]\nattacked = 3\nattack_steps = 4\nattack_queries = 5\ndoubt = true\n" +
                   kGrid.substr(kGrid.find('\n') + 1));
  const fs::path out = root_ / "out";
  Benchmark benchmark = load_benchmark(file_);
  ASSERT_EQ(benchmark.attacks.eps.size(), 4u);
  EXPECT_EQ(benchmark.attacks.steps, 4);
  EXPECT_EQ(benchmark.attacks.queries, 5);
  benchmark.attacks.eps = {4 / 255.0, 1.0};
  run_benchmark(benchmark, /*seeds=*/1, out);
  const Json json = Json::parse(read_file(out / "benchmark.json"));
  for (const std::string name : {"ours", "ordinary"}) {
    const Json& measures = json["methods"][name]["measures"];
    double last = 1;
    for (const std::string bound : {"0", "4", "255"}) {
      const Json& entry = measures["/robustness/classes/" + bound + "/accuracy"];
      ASSERT_TRUE(entry.is_object()) << bound;
      EXPECT_LE(entry["mean"].get<double>(), last);
      last = entry["mean"].get<double>();
    }
    EXPECT_TRUE(measures.contains("/robustness/classes/warnings"));
    EXPECT_TRUE(measures.contains("/doubt/scores/max_softmax/aurc"));
    EXPECT_EQ(measures.contains("/robustness/head/4/accuracy"), name == "ours");
  }
  EXPECT_THAT(read_file(out / "benchmark.txt"), HasSubstr("accuracy, worst case at 4/255"));
  EXPECT_THAT(read_file(out / "benchmark.txt"), ContainsRegex("AURC, max_softmax  +0\\.[0-9]{5}"));
  for (const std::string picture : {"robustness.svg", "robustness_f1.svg"}) {
    EXPECT_THAT(read_file(out / picture), HasSubstr(">ours<"));
    EXPECT_THAT(read_file(out / picture), HasSubstr(">ordinary<"));
  }

  const auto trained = fs::last_write_time(out / "ours/seed1/last.safetensors");
  benchmark.attacked = 0;  // asks for less: measured again, but not trained again
  // Nor is a run of a program that did not know an option yet.
  forget_option(out / "ours/seed1", "average_views");
  run_benchmark(benchmark, /*seeds=*/1, out);
  EXPECT_EQ(fs::last_write_time(out / "ours/seed1/last.safetensors"), trained);
  EXPECT_THAT(read_file(out / "benchmark.txt"), Not(HasSubstr("worst case")));
}

TEST_F(BenchmarkTest, ComparesTheMapsOfTheChosenMethods) {
  atomic_write(file_, "[benchmark]\nmaps = 2\nmaps_of = \"ordinary\"\n" +
                          kGrid.substr(kGrid.find('\n') + 1));
  const fs::path out = root_ / "out";
  run_benchmark(load_benchmark(file_), /*seeds=*/1, out);
  const Json json = Json::parse(read_file(out / "benchmark.json"));
  EXPECT_FALSE(json["methods"]["ours"]["measures"].contains("/maps/grad_cam/tuned/iou"));
  const Json& ordinary = json["methods"]["ordinary"]["measures"];
  EXPECT_TRUE(ordinary.contains("/maps/grad_cam/label_free/iou"));
  EXPECT_FALSE(ordinary.contains("/maps/counterfactual/tuned/iou"));
  const Json seed = Json::parse(read_file(out / "ordinary" / "seed1" / "evaluation.json"));
  EXPECT_EQ(ordinary["/maps/rise/tuned/iou"]["mean"], seed["maps"]["rise"]["tuned"]["iou"]);
  EXPECT_THAT(read_file(out / "benchmark.txt"), HasSubstr("grad_cam: IoU, tuned"));
}

}  // namespace
}  // namespace flipside::benchmark_test
