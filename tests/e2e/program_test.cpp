// The whole path as a user takes it: the program, its files and its exit codes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "flipside/model/model.h"
#include "support/html_check.h"
#include "support/trained_program.h"

namespace flipside::program_test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

using Program = TrainedProgram;

TEST_F(Program, TrainingWritesItsRunFolder) {
  for (const std::string name : {"run.json", "config.toml", "metrics.jsonl", "last.safetensors",
                                 "best.safetensors", "samples/step_000032.png"})
    EXPECT_TRUE(fs::exists(fs::path(run()) / name)) << name;
  EXPECT_THAT(read_file(fs::path(run()) / "config.toml"), HasSubstr("steps = 24"));
  int validations = 0;
  std::istringstream lines(read_file(fs::path(run()) / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const json entry = json::parse(line);
    validations += entry.at("kind") == "val";
    if (entry.at("kind") == "val") {
      EXPECT_TRUE(entry.contains("iou")) << line;
    }
  }
  EXPECT_EQ(validations, 2);
}

TEST_F(Program, ARunMayBeNamedWithTheSlashThatShellsComplete) {
  const ProgramResult trained =
      run_program("train " + data() + " --out " + path("slash/") + kTinyTraining);
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_TRUE(fs::exists(path("slash/best.safetensors")));
}

TEST_F(Program, TrainingEndsWithWhatToKnowOfTheModel) {
  const json entry =
      json::parse(run_program("evaluate " + run() + " " + data() + " --split val --json -").out);
  ASSERT_FALSE(entry.at("findings").empty()) << "of so few steps and images";
  EXPECT_THAT(said_in_training_, HasSubstr("validation images: what to know of this model"));
  for (const auto& finding : entry.at("findings"))
    EXPECT_THAT(said_in_training_, HasSubstr(finding.at("what").get<std::string>()));
}

TEST_F(Program, DataCheckCountsAndPrintsJson) {
  const ProgramResult result = run_program("data check " + data() + " --json");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(json::parse(result.out).is_object());
}

TEST_F(Program, EvaluatePrintsATableAndJson) {
  EXPECT_EQ(run_program("train " + data() + " --out " + path("judge") + " --model classifier" +
                        kTinyTraining)
                .exit_code,
            0);
  const std::string command = "evaluate " + run() + " " + data() + " --judge " + path("judge");
  const ProgramResult table = run_program(command);
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("label-free"));
  EXPECT_THAT(table.err, HasSubstr("evaluate [########################]"));
  const ProgramResult result = run_program(command + " --json -");
  const json scores = json::parse(result.out);
  EXPECT_GE(scores.at("accuracy").get<double>(), 0.0);
  EXPECT_LE(scores.at("accuracy").get<double>(), 1.0);
  EXPECT_EQ(scores.at("flips").size(), 2u);
}

TEST_F(Program, CalibratesOnOtherImagesWithoutTraining) {
  const std::string other = path("other"), lively = path("lively"), copy = path("copy.safetensors");
  ASSERT_EQ(run_program("synth fruit " + path("fruit") + " --count 40 --size 40").exit_code, 0);
  ASSERT_EQ(run_program("synth cracks " + other + " --count 40 --size 40 --seed 8").exit_code, 0);
  train_lively(lively);
  const ProgramResult result = run_program("calibrate " + lively + " " + other + " --out " + copy);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("now     masks: threshold 0."));
  const Model before = load_model(lively), after = load_model(copy);
  EXPECT_NE(after.thresholds.label_free, before.thresholds.label_free);
  for (const auto& [name, tensor] : model_tensors(before))
    EXPECT_TRUE(torch::equal(tensor, model_tensors(after).at(name))) << name;
  // On the images of the training it chooses what the training chose.
  ASSERT_EQ(run_program("calibrate " + lively + " " + data() + " --out " + copy).exit_code, 0);
  EXPECT_EQ(load_model(copy).thresholds.label_free, before.thresholds.label_free);
  // Maps fitted to edges are other maps and get a threshold of their own.
  ASSERT_EQ(run_program("calibrate " + lively + " " + data() + " --edge-radius 3 --out " + copy)
                .exit_code,
            0);
  const Model fitted = load_model(copy);
  EXPECT_EQ(fitted.config.explain.edge_radius, 3);
  EXPECT_NE(fitted.thresholds.label_free, before.thresholds.label_free);
  expect_refused("calibrate " + run() + "/last.safetensors " + other, 2, "give best.safetensors");
  expect_refused("calibrate " + run() + " " + path("fruit"), 1, "was trained on crack, intact");
}

TEST_F(Program, DistilsToOnePass) {
  const std::string lively = path("lively_teacher"), out = path("one_pass");
  const std::string model = path("one_pass.safetensors");
  train_lively(lively);
  const ProgramResult result =
      run_program("distill " + lively + " " + data() + " --steps 3 --out " + model);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Model teacher = load_model(lively), student = load_model(model);
  EXPECT_TRUE(student.config.explain.one_pass);
  EXPECT_EQ(student.thresholds.label_free, teacher.thresholds.label_free);
  EXPECT_EQ(run_program("explain " + model + " " + data() + "/test --out " + out).exit_code, 0);
  expect_refused("distill " + model + " " + data() + " --out " + path("again.safetensors"), 2,
                 "in one pass already");
  expect_refused("distill " + run() + " " + data() + " --out " + data(), 2, "is a folder");
  expect_refused("distill " + run() + " " + data(), 2, "--out is required");
}

TEST_F(Program, SegmenterTrainsAndEvaluates) {
  const std::string segmenter = path("segmenter");
  const ProgramResult trained =
      run_program("train " + data() + " --out " + segmenter + " --model segmenter" + kTinyTraining);
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  const ProgramResult scores = run_program("evaluate " + segmenter + " " + data() + " --json -");
  EXPECT_EQ(scores.exit_code, 0) << scores.err;
  EXPECT_TRUE(json::parse(scores.out).is_object());
  expect_refused("evaluate " + segmenter + " " + data() + " --original-size", 2, "leave it out");
}

TEST_F(Program, EvaluateMeasuresMasksAtTheOriginalSize) {
  const ProgramResult both =
      run_program("evaluate " + run() + " " + data() + " --original-size --json -");
  ASSERT_EQ(both.exit_code, 0) << both.err;
  const json scores = json::parse(both.out);
  EXPECT_EQ(scores.at("original_size").at("images"), scores.at("mask_images"));
  EXPECT_THAT(run_program("evaluate " + run() + " " + data() + " --original-size").out,
              HasSubstr("masks as explain writes them"));
}

TEST_F(Program, ExplainCutIntoShardsIsTheWhole) {
  const std::string out = path("sharded");
  const std::string command = "explain " + run() + " " + data() + "/test --scale fit --out ";
  ASSERT_EQ(run_program(command + path("unsharded")).exit_code, 0);
  std::multiset<std::string> lines;
  for (const std::string part : {"1", "2", "3"}) {
    const ProgramResult result = run_program(command + out + " --shard " + part + "/3");
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const fs::path file = fs::path(out) / ("results." + part + "-of-3.jsonl");
    std::istringstream text(read_file(file));
    for (std::string line; std::getline(text, line);)
      lines.insert(json::parse(line).at("image").get<std::string>());
    EXPECT_TRUE(fs::exists(fs::path(out) / ("defects." + part + "-of-3.csv")));
  }
  std::multiset<std::string> expected;
  std::istringstream text(read_file(fs::path(path("unsharded")) / "results.jsonl"));
  for (std::string line; std::getline(text, line);)
    expected.insert(json::parse(line).at("image").get<std::string>());
  EXPECT_EQ(lines, expected);
  EXPECT_FALSE(fs::exists(fs::path(out) / "results.jsonl"));
  // The pictures that a run wrote are not explained again.
  const ProgramResult again = run_program("explain " + run() + " " + data() + "/test " + out +
                                          " --out " + out + " --shard 1/1");
  EXPECT_THAT(again.err, HasSubstr(std::to_string(expected.size()) + " images explained"));
  expect_refused(command + out + " --shard 4/3", 2, "--shard 4/3: must be I/N");
}

TEST_F(Program, APackedDataSetStandsForItsFolder) {
  const std::string pack = path("data.safetensors");
  const ProgramResult packed = run_program("data pack " + data() + " " + pack + " --size 32");
  ASSERT_EQ(packed.exit_code, 0) << packed.err;
  const ProgramResult folder = run_program("evaluate " + run() + " " + data() + " --json -");
  const ProgramResult file = run_program("evaluate " + run() + " " + pack + " --json -");
  EXPECT_EQ(file.exit_code, 0) << file.err;
  EXPECT_EQ(file.out, folder.out);
  expect_refused("evaluate " + run() + " " + pack + " --original-size", 2, "packed data set");
  const ProgramResult trained =
      run_program("train " + pack + " --out " + path("packed") + kTinyTraining);
  EXPECT_EQ(trained.exit_code, 0) << trained.err;
  const ProgramResult page = run_program("report " + path("packed") + " --out " + path("p.html"));
  EXPECT_EQ(page.exit_code, 0) << page.err;
  EXPECT_THAT(read_file(path("p.html")), HasSubstr("<code>test/crack/"));
  expect_refused("train " + pack + " --out " + path("larger") + " --size 64", 2, "--size 32");
  EXPECT_FALSE(fs::exists(path("larger")));
  expect_refused("data pack " + data() + " " + path("data.zip"), 2, ".safetensors");
  expect_refused("evaluate " + run() + " " + run() + "/last.safetensors", 1, "no packed data set");
}

TEST_F(Program, ExplainWritesOneLineAndFourPicturesPerImage) {
  const std::string out = path("explained");
  const ProgramResult result =
      run_program("explain " + run() + " " + data() + "/test --out " + out);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::istringstream lines(read_file(fs::path(out) / "results.jsonl"));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const json entry = json::parse(line);
    for (const char* key :
         {"image", "predicted", "probabilities", "fakeness", "head_predicted", "target",
          "counterfactual_predicted", "counterfactual_fakeness", "mask_area", "windows", "defects"})
      EXPECT_TRUE(entry.contains(key)) << key;
    const fs::path image = entry.at("image").get<std::string>();
    const fs::path base = fs::path(out) / image.parent_path().filename() / image.stem();
    for (const char* ending : {".counterfactual.png", ".heatmap.png", ".mask.png", ".overlay.png"})
      EXPECT_EQ(read_image(base.string() + ending).size(), cv::Size(40, 40));
    double sum = 0;
    for (const auto& [name, p] : entry.at("probabilities").items()) sum += p.get<double>();
    EXPECT_NEAR(sum, 1.0, 1e-4);
  }
  EXPECT_EQ(count, 6);
  EXPECT_TRUE(fs::exists(fs::path(out) / "contact_sheet.png"));
}

TEST_F(Program, ExplainsInASingleView) {
  const ProgramResult result = run_program("explain " + run() + " " + data() +
                                           "/test --single-view --out " + path("single"));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(fs::exists(path("single/contact_sheet.png")));
}

TEST_F(Program, PrecisionIsThatOfTheCounterfactualsAlone) {
  const auto scores = [&](const std::string& precision) {
    const ProgramResult result =
        run_program("evaluate " + run() + " " + data() + " --json - --precision " + precision);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out);
  };
  const json full = scores("float32"), half = scores("bfloat16");
  EXPECT_EQ(full.at("accuracy"), half.at("accuracy"));
  EXPECT_EQ(full.at("auroc"), half.at("auroc"));
  EXPECT_NE(full.at("changes"), half.at("changes"));
  expect_refused("explain " + run() + " " + data() + " --precision half --out " + path("o"), 2,
                 "bfloat16");
}

TEST_F(Program, ReportWritesOnePageAboutSeveralRuns) {
  const std::string page = path("pages/report.html");
  const ProgramResult result =
      run_program("report " + run() + " " + run() + "/ --split val --images 2 --out " + page);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string html = read_file(page);
  EXPECT_EQ(markup_problem(html), "");
  EXPECT_THAT(html, HasSubstr("Side by side"));
  EXPECT_THAT(html, HasSubstr("true counterfactual"));
  EXPECT_THAT(html, HasSubstr("--split val --images 2 --out " + page));
  expect_refused("report " + data() + " --out " + page, 2, "is no run folder");
  expect_refused("report " + run() + " --out " + data(), 2, "is a folder");
  expect_refused("report " + run() + " --images 0 --out " + page, 2, "--images");
}

TEST_F(Program, CompareChoosesASettingThatExplainTakes) {
  const std::string command = "compare " + run() + " " + data() +
                              " --methods layer_cam,counterfactual,darkness --limit 3 --json " +
                              path("compare.json");
  const ProgramResult compared = run_program(command);
  ASSERT_EQ(compared.exit_code, 0) << compared.err;
  EXPECT_THAT(compared.out, HasSubstr("layer_cam"));
  EXPECT_EQ(json::parse(read_file(path("compare.json"))).at("methods").size(), 3u);
  const std::string explain = "explain " + run() + " " + data() + "/test/crack --out ";
  const ProgramResult shown =
      run_program(explain + path("cam") + " --method layer_cam --setting " + path("compare.json"));
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_THAT(read_file(path("cam") + "/results.jsonl"), HasSubstr("layer_cam"));
  expect_refused(explain + path("o") + " --method rise --setting " + path("compare.json"), 2,
                 "rise");
  expect_refused(explain + path("o") + " --method magic", 2, "smooth_grad");
  expect_refused("compare " + run() + " " + data() + " --methods magic", 2, "magic");
}

TEST_F(Program, ExplainsAPhotographInWindowsAndMeasuresItsDefects) {
  const std::string photo = path("photo.png"), out = path("photo_out");
  write_image(photo, cv::Mat(70, 150, CV_8UC3, cv::Scalar(120, 130, 140)));
  const ProgramResult result =
      run_program("explain " + run() + " " + photo + " --mm-per-pixel 0.2 --out " + out);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json entry = json::parse(read_file(fs::path(out) / "results.jsonl"));
  EXPECT_NEAR(entry.at("scale").get<double>(), 32.0 / 40, 1e-9);  // trained on 40 pixels, size 32
  EXPECT_GT(entry.at("windows").get<int>(), 8);
  EXPECT_EQ(read_image(fs::path(out) / "photo.mask.png").size(), cv::Size(150, 70));
  EXPECT_THAT(read_file(fs::path(out) / "defects.csv"), HasSubstr("max_width_mm"));
  const std::string explain = "explain " + run() + " " + photo + " --out " + path("refused");
  expect_refused(explain + " --scale 0", 2, "--scale 0");
  expect_refused(explain + " --scale -1", 2, "--scale -1");
  expect_refused(explain + " --scale wide", 2, "--scale wide");
  expect_refused(explain + " --mm-per-pixel -1", 2, "--mm-per-pixel -1");
  expect_refused(explain + " --mm-per-pixel 0", 2, "--mm-per-pixel 0");
  EXPECT_FALSE(fs::exists(path("refused")));
}

}  // namespace
}  // namespace flipside::program_test
