#include "flipside/report/run_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "flipside/eval/model_folder.h"
#include "flipside/explain/explainer.h"
#include "flipside/report/html.h"
#include "flipside/train/run_log.h"
#include "support/html_check.h"
#include "support/noise_data.h"
#include "support/small_model.h"

namespace flipside::run_report_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// Data of noise with a class whose name means something in markup, and runs of untrained models.
class RunReportTest : public testing::Test {
 protected:
  const std::vector<std::string> classes_{"crack & <b>", "intact"};

  void SetUp() override { write_noise_data(data_, classes_, 10); }

  fs::path write_run(const std::string& name, const Model& model) const {
    const fs::path run = root_ / name;
    const nlohmann::json about{{"data", data_.string()}, {"version", "1.2.3"}};
    atomic_write(run / "run.json", about.dump());
    atomic_write(run / "config.toml", to_toml(model.config));
    save_checkpoint(run / "best.safetensors", model);
    const RunLog log(run / "metrics.jsonl");
    for (int64_t step : {50, 100, 150}) log.write(step, "train", {{"D", 1.0 / step}, {"adv", -1}});
    log.write(150, "val", {{"accuracy", 0.5}, {"flip_rate", 0.25}});
    return run;
  }
  Model model() const {
    Model model = lively_model(classes_, 1);
    model.thresholds = {0.03, 0.05};
    return model;
  }
  Model yardstick(ModelKind kind) const { return small_model(classes_, 1, kind); }

  TempFolder root_;
  fs::path data_ = root_ / "data";
};

/// The page from a heading to the next one.
std::string part(const std::string& page, const std::string& heading) {
  const size_t from = page.find(heading + "</h");
  if (from == std::string::npos) return "";
  return page.substr(from, page.find("<h", from) - from);
}

/// The file names under pictures, in their order.
std::vector<std::string> files(const std::string& part) {
  std::vector<std::string> names;
  for (size_t at = part.find("<code>"); at != std::string::npos; at = part.find("<code>", at + 1))
    names.push_back(part.substr(at + 6, part.find("</code>", at) - at - 6));
  return names;
}

TEST_F(RunReportTest, IsOneSoundPageThatNeedsNothingElse) {
  const fs::path run = write_run("run", model());
  ReportOptions options;
  options.images = 3;
  options.command = "flipside report 'a & b'";
  const std::string page = run_report({run}, options);
  EXPECT_EQ(markup_problem(page), "");
  EXPECT_THAT(page, Not(HasSubstr("http")));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("crack & <b>")));
  EXPECT_THAT(page, HasSubstr("crack &amp; &lt;b&gt; 10, intact 10"));
  EXPECT_THAT(page, HasSubstr("flipside report &#39;a &amp; b&#39;"));
  EXPECT_THAT(page, HasSubstr("flipside train " + data_.string() + " --out " + run.string() +
                              " --config " + (run / "config.toml").string()));
  EXPECT_THAT(page, HasSubstr("flipside 1.2.3"));
  EXPECT_THAT(page, HasSubstr(escaped(to_toml(model().config))));
  EXPECT_THAT(page, HasSubstr("<b>note:</b> few images"));
  const auto sources = attribute_values(page, "src");
  EXPECT_GT(sources.size(), 30u);
  for (const auto& source : sources) {
    const cv::Size size = decoded_data_uri(source).size();
    EXPECT_TRUE(size == cv::Size(16, 16) || size == cv::Size(200, 10)) << source.substr(0, 40);
  }
  for (const char* title : {"mask IoU over threshold", "precision over recall", "validation",
                            "discriminator", "adversarial"})
    EXPECT_THAT(attribute_values(page, "aria-label"), ::testing::Contains(HasSubstr(title)));
}

TEST_F(RunReportTest, ShowsBestAndWorstInTheOrderOfASlowLoop) {
  const Model shown = model();
  const std::string page = run_report({write_run("run", shown)}, {});
  const Explainer explainer(shown);
  std::vector<std::pair<double, std::string>> slow;
  const ImageFolder folder = scan_for_model(data_, shown);
  for (const auto& record : folder.split(Split::kTest)) {
    if (record.label == 1 || record.mask.empty()) continue;
    const Tensor image = to_tensor(read_image(record.image)).unsqueeze(0);
    const Tensor saliency = explainer.explain(image, torch::full({1}, 1, torch::kInt64)).saliency;
    const Tensor mask = saliency_to_mask(saliency, explainer.mask_options()) > 0.5;
    const Tensor truth = mask_to_tensor(read_mask(record.mask)).unsqueeze(0) > 0.5;
    const double iou = (mask & truth).sum().item<double>() / (mask | truth).sum().item<double>();
    slow.emplace_back(iou, escaped(record.image.lexically_relative(data_).string()));
  }
  std::sort(slow.begin(), slow.end());
  ASSERT_EQ(slow.size(), 9u);
  for (size_t i = 1; i < slow.size(); ++i) ASSERT_GT(slow[i].first, slow[i - 1].first + 1e-6);
  const auto names = [&](std::initializer_list<int> places) {
    std::vector<std::string> result;
    for (int place : places) result.push_back(slow[place].second);
    return result;
  };
  EXPECT_EQ(files(part(page, "Best")), names({8, 7, 6}));
  EXPECT_EQ(files(part(page, "Median")), names({5, 4, 3}));
  EXPECT_EQ(files(part(page, "Worst")), names({0, 1, 2}));
  EXPECT_THAT(part(page, "Worst"), HasSubstr(fmt::format("IoU {:.3f}", slow[0].first)));
}

TEST_F(RunReportTest, ShowsTheFailures) {
  const Model shown = model();
  const Explainer explainer(shown);
  std::vector<std::string> wrong;
  int64_t unflipped[2] = {};  // by true class
  const ImageFolder folder = scan_for_model(data_, shown);
  for (const auto& record : folder.split(Split::kTest)) {
    const Tensor image = to_tensor(read_image(record.image)).unsqueeze(0);
    const Explanation e =
        explainer.explain(image, torch::full({1}, 1 - record.label, torch::kInt64));
    if (e.predicted.item<int64_t>() != record.label)
      wrong.push_back(escaped(record.image.lexically_relative(data_).string()));
    unflipped[record.label] += e.counterfactual_probs.argmax().item<int64_t>() == record.label;
  }
  ASSERT_FALSE(wrong.empty());
  ReportOptions options;
  options.images = 100;
  const fs::path run = write_run("run", shown);
  const std::string page = run_report({run}, options);
  const std::string section = part(page, "Misclassified");
  EXPECT_THAT(section, HasSubstr(fmt::format("{} of 20", wrong.size())));
  EXPECT_THAT(files(section), ::testing::UnorderedElementsAreArray(wrong));
  const char* const headings[] = {"Not flipped to intact", "Not flipped from intact"};
  for (int label : {0, 1}) {
    const std::string list = part(page, headings[label]);
    EXPECT_EQ(static_cast<int64_t>(files(list).size()), unflipped[label]);
    EXPECT_THAT(list, HasSubstr(unflipped[label] == 0 ? "None of 10."
                                                      : fmt::format("{} of 10", unflipped[label])));
  }
  EXPECT_EQ(files(part(page, "intact → crack &amp; &lt;b&gt;")).size(), 10u);

  options.images = 1;
  const std::string shorter = run_report({run}, options);
  EXPECT_EQ(files(part(shorter, "Misclassified")).size(), 1u);
  EXPECT_EQ(files(part(shorter, "intact → crack &amp; &lt;b&gt;")).size(), 1u);
}

TEST_F(RunReportTest, RanksByTheFlipWhereThereAreNoMasks) {
  fs::remove_all(data_);
  write_noise_data(data_, classes_, 4, /*masks=*/false);
  const std::string page = run_report({write_run("run", model())}, {});
  EXPECT_EQ(markup_problem(page), "");
  EXPECT_THAT(page, HasSubstr("There are no masks"));
  EXPECT_EQ(files(part(page, "Best")).size(), 3u);
  EXPECT_EQ(files(part(page, "Worst")).size(), 1u);
  EXPECT_THAT(page, Not(HasSubstr("mask IoU")));
}

TEST_F(RunReportTest, TakesSeveralRunsOfAnyKind) {
  const fs::path judge = write_run("seeds/ordinary", yardstick(ModelKind::kClassifier));
  ReportOptions options;
  options.images = 2;
  options.judge = judge;
  const std::string page = run_report(
      {write_run("seeds/run", model()), judge, write_run("unet", yardstick(ModelKind::kSegmenter))},
      options);
  EXPECT_EQ(markup_problem(page), "");
  const std::string table = part(page, "Side by side");
  for (const char* row :
       {"accuracy", "mask IoU, label-free threshold", "mask IoU, segmenter at 0.5",
        "IoU of the trivial darkness map", "flipped for the judge"})
    EXPECT_THAT(table, HasSubstr(row));
  EXPECT_THAT(table, Not(HasSubstr("true counterfactual")));  // this data has none
  EXPECT_THAT(table, HasSubstr(">seeds/run<"));               // without the folders of all
  EXPECT_THAT(table, HasSubstr(">unet<"));
  EXPECT_THAT(page, HasSubstr("id=\"run-3\""));
  EXPECT_THAT(page, HasSubstr("probability of a defect"));
}

TEST_F(RunReportTest, NamesWhatIsWrongBeforeItMeasures) {
  const fs::path run = write_run("run", model());
  const auto message = [&](ErrorCode code, const std::vector<fs::path>& runs,
                           const ReportOptions& options = {}) {
    return message_of(code, [&] { run_report(runs, options); });
  };
  EXPECT_THAT(message(ErrorCode::kUsage, {}), HasSubstr("no run"));
  EXPECT_THAT(message(ErrorCode::kUsage, {run, root_ / "none"}), HasSubstr("is no run folder"));
  ReportOptions options;
  options.judge = run;
  EXPECT_THAT(message(ErrorCode::kArgument, {run}, options), HasSubstr("must be a classifier"));
  options.judge = write_run("other", small_model({"a", "b"}, 1, ModelKind::kClassifier));
  EXPECT_THAT(message(ErrorCode::kArgument, {run}, options), HasSubstr("knows the classes a, b"));
  EXPECT_THAT(message(ErrorCode::kArgument, {options.judge}, options), HasSubstr("leave --judge"));
  options = {};
  options.images = 0;
  EXPECT_THAT(message(ErrorCode::kArgument, {run}, options), HasSubstr("images = 0"));
  options = {};
  options.data = root_ / "gone";
  EXPECT_THAT(message(ErrorCode::kData, {run}, options), HasSubstr("--data DIR"));
  fs::remove_all(data_);
  EXPECT_THAT(message(ErrorCode::kData, {run}),
              HasSubstr("are gone; name its images with --data DIR"));
}

TEST(ReportCommand, IsWhatAShellTakes) {
  ReportOptions options;
  EXPECT_EQ(report_command({"a", "b c"}, options, "out.html"),
            "flipside report a 'b c' --out out.html");
  options.split = Split::kVal;
  options.judge = "it's";
  options.images = 4;
  options.data = "d";
  EXPECT_EQ(report_command({"a"}, options, "o"),
            "flipside report a --data d --split val --judge 'it'\\''s' --images 4 --out o");
}

}  // namespace
}  // namespace flipside::run_report_test
