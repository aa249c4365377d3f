#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "flipside/core/random.h"
#include "flipside/data/image_io.h"
#include "flipside/report/pictures.h"
#include "flipside/report/report_parts.h"

namespace flipside {
namespace {

constexpr size_t kPerRank = 3;               // images each of best, median and worst
constexpr size_t kAtOnce = 32;               // images that are in memory at once
constexpr int kSmallSide = 96;               // pixels; up to here drawings are kept exact
constexpr uint64_t kSampleTag = 0x736d706c;  // stream of random numbers for the samples

/// An image to show, and the class it is turned into.
struct Asked {
  int64_t index = 0, target = 0;
};

Asked asked(const ImageScore& score) { return {score.index, score.target}; }

/// Writes rows of pictures of one run.
class RowWriter {
 public:
  RowWriter(HtmlWriter& html, const MeasuredRun& run, const EvalLoader& loader)
      : html_(html), run_(run), loader_(loader), model_(run.model) {}

  void write(const std::vector<Asked>& images);

 private:
  void write_row(const Batch& batch, const Answers& answers, const ImageScore& score, int64_t i);
  void cell(const std::string& label, const cv::Mat& image, PictureCode code);
  void caption(const ImageScore& score);
  const std::string& name(int64_t label) const { return model_.class_names.at(label); }
  bool is_segmenter() const { return model_.config.model.kind == ModelKind::kSegmenter; }

  HtmlWriter& html_;
  const MeasuredRun& run_;
  const EvalLoader& loader_;
  const Model& model_;
};

void RowWriter::write(const std::vector<Asked>& images) {
  for (size_t begin = 0; begin < images.size(); begin += kAtOnce) {
    std::vector<int64_t> indices, targets;
    for (size_t i = begin; i < std::min(begin + kAtOnce, images.size()); ++i) {
      indices.push_back(images[i].index);
      targets.push_back(std::max<int64_t>(images[i].target, 0));
    }
    const Batch batch = loader_.read(indices);
    const Tensor wanted = torch::tensor(targets, torch::kInt64);
    const Answers answers = answer(model_, batch.images, batch.labels, wanted);
    const auto scores = scores_of(model_, batch, wanted, answers);
    for (size_t i = 0; i < scores.size(); ++i)
      write_row(batch, answers, scores[i], static_cast<int64_t>(i));
  }
}

void RowWriter::write_row(const Batch& batch, const Answers& answers, const ImageScore& score,
                          int64_t i) {
  const cv::Mat image = to_image(batch.images[i]);
  const PictureCode drawing = image.cols > kSmallSide ? PictureCode::kJpeg : PictureCode::kPng;
  html_.open("figure", "class=\"row\"");
  cell("input", image, PictureCode::kJpeg);
  if (answers.counterfactual.defined())
    cell("counterfactual", to_image(answers.counterfactual[i]), PictureCode::kJpeg);
  if (answers.map.defined())
    cell(is_segmenter() ? "probability" : "heat map",
         heatmap(answers.map[i] * (is_segmenter() ? kHeatScale : 1.0)), drawing);
  // Of an image that is turned into a defect, nothing is a defect yet.
  const bool marks_defects = is_segmenter() || score.target == model_.reference_class;
  if (answers.mask.defined() && marks_defects) {
    cell("mask", overlay(image, to_mask_image(answers.mask[i])), drawing);
    if (batch.masks.defined() && !batch.masks[i].isnan().any().item<bool>())
      cell("truth", overlay(image, to_mask_image(batch.masks[i])), drawing);
  }
  caption(score);
  html_.close().raw("\n");
}

void RowWriter::cell(const std::string& label, const cv::Mat& image, PictureCode code) {
  html_.open("div").raw(picture_element(image, code, label)).element("span", label).close();
}

void RowWriter::caption(const ImageScore& score) {
  html_.open("figcaption").element("code", run_.images.name_of(loader_.record(score.index)));
  const auto line = [&](const std::string& text) { html_.element("span", text); };
  line("true class " + name(score.label));
  if (score.predicted >= 0)
    line(fmt::format("predicted {} ({:.3f})", name(score.predicted), score.probability));
  if (!std::isnan(score.fakeness)) line(fmt::format("fakeness {:.3f}", score.fakeness));
  if (score.target >= 0)
    line(fmt::format("counterfactual {} ({:.3f})", name(score.target), score.target_probability));
  if (!std::isnan(score.iou)) line(fmt::format("IoU {:.3f}", score.iou));
  if (score.predicted >= 0 && score.predicted != score.label)
    html_.element("b", "misclassified", "class=\"bad\"");
  if (score.target >= 0 && !score.flipped) html_.element("b", "not flipped", "class=\"weak\"");
  html_.close();
}

std::vector<Asked> first(const std::vector<ImageScore>& scores, int64_t count) {
  std::vector<Asked> images;
  for (const auto& score : scores)
    if (static_cast<int64_t>(images.size()) < count) images.push_back(asked(score));
  return images;
}

/// A heading with its count, the rule of the choice, and at most `count` rows of the scores.
void write_list(HtmlWriter& html, RowWriter& rows, const std::string& heading,
                const std::vector<ImageScore>& scores, int64_t of, const std::string& order,
                int64_t count) {
  html.element("h4", heading);
  const auto found = static_cast<int64_t>(scores.size());
  if (found == 0) {
    html.element("p", fmt::format("None of {}.", of), "class=\"note\"");
    return;
  }
  html.element("p",
               fmt::format("{} of {} ({:.1f} %){}, {}.", found, of,
                           100.0 * static_cast<double>(found) / static_cast<double>(of),
                           found > count ? fmt::format("; {} of them here", count) : "", order),
               "class=\"note\"");
  rows.write(first(scores, count));
}

/// Colours and their values.
void write_scale(HtmlWriter& html, bool is_segmenter) {
  const Tensor ramp = torch::linspace(0, kHeatScale, 200).expand({1, 10, 200});
  html.open("p", "class=\"scale\"");
  html.text(is_segmenter ? "probability of a defect: 0 " : "heat map: 0 ");
  html.raw(picture_element(heatmap(ramp), PictureCode::kPng, "black, red, yellow, white"));
  html.text(is_segmenter ? " 1"
                         : fmt::format(" {} and more: mean change of the pixel's colours, one "
                                       "scale for all images",
                                       kHeatScale));
  html.close();
}

void write_extremes(HtmlWriter& html, RowWriter& rows, const MeasuredRun& run) {
  const bool has_masks = run.results.mask_images > 0;
  std::vector<double> values;
  for (const auto& score : run.scores.scores)
    values.push_back(has_masks                                  ? score.iou
                     : score.label == run.model.reference_class ? kUndefined
                                                                : score.target_probability);
  const Extremes chosen = extremes(values, kPerRank);
  if (chosen.best.empty()) return;
  html.element("h3", "Best, median and worst");
  write_scale(html, run.model.config.model.kind == ModelKind::kSegmenter);
  html.element("p",
               has_masks ? "Defect images by the IoU of their mask."
                         : "There are no masks: defect images by the probability that their "
                           "counterfactual is " +
                               run.model.class_names.at(run.model.reference_class) + ".",
               "class=\"note\"");
  const auto write = [&](const char* heading, const std::vector<size_t>& places) {
    if (places.empty()) return;
    html.element("h4", heading);
    std::vector<Asked> images;
    for (size_t place : places) images.push_back(asked(run.scores.scores[place]));
    rows.write(images);
  };
  write("Best", chosen.best);
  write("Median", chosen.median);
  write("Worst", chosen.worst);
}

/// Each image once, the surest error first. All are turned into the reference class: what vanishes
/// from a false alarm is what was taken for a defect.
std::vector<ImageScore> misclassified(const MeasuredRun& run) {
  std::vector<ImageScore> found;
  for (const auto& score : run.scores.scores) {
    if (score.predicted < 0 || score.predicted == score.label) continue;
    if (!found.empty() && found.back().index == score.index) continue;
    found.push_back(score);
    if (score.target >= 0) found.back().target = run.model.reference_class;
  }
  std::stable_sort(found.begin(), found.end(), [](const ImageScore& a, const ImageScore& b) {
    return a.probability > b.probability;
  });
  return found;
}

std::vector<ImageScore> not_flipped(const MeasuredRun& run, bool from_reference) {
  std::vector<ImageScore> found;
  for (const auto& score : run.scores.scores)
    if (!score.flipped && (score.label == run.model.reference_class) == from_reference)
      found.push_back(score);
  std::stable_sort(found.begin(), found.end(), [](const ImageScore& a, const ImageScore& b) {
    return a.target_probability < b.target_probability;
  });
  return found;
}

/// Counterfactuals from the reference class, or to it.
int64_t count_from(const MeasuredRun& run, bool from_reference) {
  return std::count_if(run.scores.scores.begin(), run.scores.scores.end(),
                       [&](const ImageScore& score) {
                         return (score.label == run.model.reference_class) == from_reference;
                       });
}

void write_failures(HtmlWriter& html, RowWriter& rows, const MeasuredRun& run, int64_t images) {
  const ModelKind kind = run.model.config.model.kind;
  if (kind == ModelKind::kSegmenter) return;
  html.element("h3", "Failures");
  write_list(html, rows, "Misclassified", misclassified(run), run.results.images,
             "the surest errors first", images);
  if (kind != ModelKind::kCounterfactual) return;
  const std::string& reference = run.model.class_names.at(run.model.reference_class);
  for (bool from_reference : {false, true})
    write_list(html, rows,
               from_reference ? "Not flipped from " + reference : "Not flipped to " + reference,
               not_flipped(run, from_reference), count_from(run, from_reference),
               "the farthest from their target first", images);
}

/// Reference images turned into each defect class: drawn by lot, failures among them.
void write_other_direction(HtmlWriter& html, RowWriter& rows, const MeasuredRun& run,
                           int64_t images) {
  if (run.model.config.model.kind != ModelKind::kCounterfactual) return;
  const int64_t reference = run.model.reference_class;
  html.element("h3", "The other direction");
  html.element("p",
               fmt::format("Images of {} turned into each defect class, drawn by lot (seed {}), "
                           "also those that failed.",
                           run.model.class_names.at(reference), run.model.config.train.seed),
               "class=\"note\"");
  for (int64_t defect = 0; defect < run.model.num_classes(); ++defect) {
    std::vector<ImageScore> all;
    for (const auto& score : run.scores.scores)
      if (score.label == reference && score.target == defect) all.push_back(score);
    if (defect == reference || all.empty()) continue;
    Rng({run.model.config.train.seed, kSampleTag, static_cast<uint64_t>(defect)}).shuffle(all);
    html.element("h4",
                 run.model.class_names.at(reference) + " → " + run.model.class_names.at(defect));
    rows.write(first(all, images));
  }
}

}  // namespace

void write_pictures(HtmlWriter& html, const MeasuredRun& run, const EvalLoader& loader,
                    int64_t images) {
  RowWriter rows(html, run, loader);
  write_extremes(html, rows, run);
  write_failures(html, rows, run, images);
  write_other_direction(html, rows, run, images);
}

}  // namespace flipside
