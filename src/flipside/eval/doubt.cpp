#include "flipside/eval/doubt.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "flipside/attack/pgd.h"
#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/data/loader.h"
#include "flipside/data/picture_files.h"
#include "flipside/eval/confidence.h"
#include "flipside/eval/evaluator.h"
#include "flipside/eval/meters.h"
#include "flipside/eval/model_folder.h"
#include "flipside/eval/robustness.h"
#include "flipside/eval/victims.h"
#include "flipside/explain/explainer.h"

namespace flipside {
namespace {

constexpr double kBlur = 2.0;            // sigma in pixels of the networks' resolution
constexpr double kNoiseDeviation = 0.1;  // in [0,1] units
constexpr int kCrushedQuality = 10;      // of 100
constexpr double kAccept = 0.95;  // clean images that the attacked reject option lets through
constexpr int64_t kAttackedViews = 200;  // images, as attacking every view is much work
constexpr int64_t kErrorsToChooseBy = 5;
constexpr double kClearlyBetter = 0.8;  // of the AURC of the answer's own probability
constexpr uint64_t kNoiseTag = 0x6e6f697365;

/// Scores, predictions and truth of many images.
struct Scored : DoubtScores {
  Tensor labels;  ///< [N]; none for foreign images
  Tensor wrong() const { return probs.argmax(/*dim=*/1) != labels; }
};

/// Takes a batch's images and gives as many, changed.
using Change = std::function<Tensor(const Batch&)>;

using BatchScorer = std::function<DoubtScores(const Tensor& images)>;

/// A progress line over `images` images; without a title there is none.
struct Watch {
  std::string title;
  int64_t images = 0;
};

Scored score_batches(const std::function<bool(Batch&)>& next, const BatchScorer& scorer,
                     const Change& change, const Watch& watch = {}) {
  std::vector<Tensor> values, logits, probs, labels;
  Scored scored;
  Progress progress(watch.title.empty() ? "" : "uncertainty, " + watch.title, watch.images, "img");
  for (Batch batch; next(batch);) {
    const DoubtScores scores = scorer(change ? change(batch) : batch.images);
    scored.names = scores.names;
    values.push_back(scores.values);
    logits.push_back(scores.logits);
    probs.push_back(scores.probs);
    if (batch.labels.defined()) labels.push_back(batch.labels);
    progress.advance(batch.images.size(0));
  }
  if (values.empty()) return scored;
  scored.values = torch::cat(values);
  scored.logits = torch::cat(logits);
  scored.probs = torch::cat(probs);
  if (!labels.empty()) scored.labels = torch::cat(labels);
  return scored;
}

BatchScorer all_scores(const Model& model) {
  return [&model](const Tensor& images) { return doubt_scores(model, images); };
}

Scored score_split(const Model& model, const ImageFolder& folder, Split split, int64_t batch,
                   const std::string& title = "", const Change& change = {}) {
  EvalLoader loader(folder, split, model.config.data, batch);
  return score_batches([&](Batch& next) { return loader.next(next); }, all_scores(model), change,
                       {title, loader.size()});
}

/// The same for as many images as `limit` at most, spread over the split.
Scored score_spread(const Model& model, const ImageFolder& folder, const DoubtOptions& options,
                    int64_t limit, const std::string& title, const Change& change) {
  const Batch all = spread_images(folder, model.config.data, options.split, limit);
  const int64_t count = all.images.size(0);
  const Tensor numbers = torch::arange(count, torch::kInt64);
  int64_t place = 0;
  const auto next = [&](Batch& batch) {
    if (place >= count) return false;
    const auto part = [&](const Tensor& whole) {
      return whole.slice(0, place, place + options.batch);
    };
    batch = {part(all.images), part(all.labels), {}, part(numbers)};
    place += options.batch;
    return true;
  };
  return score_batches(next, all_scores(model), change, {title, count});
}

/// AUROC of a score that should be high for the first and low for the second; NaN without either.
double separation(const Tensor& high, const Tensor& low) {
  RankMeter ranks;
  ranks.add(high, torch::ones_like(high));
  ranks.add(low, torch::zeros_like(low));
  return ranks.auroc();
}

/// The least of the values that the share `share` of them does not exceed.
double passing_threshold(const Tensor& values, double share) {
  const Tensor sorted = std::get<0>(values.sort());
  const auto place = static_cast<int64_t>(std::ceil(share * double(sorted.numel()) - 1e-9)) - 1;
  return sorted[std::clamp<int64_t>(place, 0, sorted.numel() - 1)].item<double>();
}

Tensor blurred(const Tensor& images) {
  return smooth(images.contiguous().flatten(0, 1).unsqueeze(1), kBlur)
      .view(images.sizes())
      .contiguous(kChannelsLast);
}

Tensor noisy(const Batch& batch, uint64_t seed) {
  Tensor result = batch.images.clone().contiguous();
  float* data = result.data_ptr<float>();
  const int64_t values = result[0].numel();
  for (int64_t n = 0; n < result.size(0); ++n) {
    Rng rng({seed, kNoiseTag, static_cast<uint64_t>(batch.indices[n].item<int64_t>())});
    for (int64_t i = 0; i < values; ++i)
      data[n * values + i] += static_cast<float>(rng.normal(0.0, kNoiseDeviation));
  }
  return result.clamp(0.0, 1.0);
}

Tensor attacked(const Victim& victim, const Batch& batch, const DoubtOptions& options) {
  const Tensor numbers = batch.indices.contiguous();
  const std::vector<int64_t> images(numbers.data_ptr<int64_t>(),
                                    numbers.data_ptr<int64_t>() + numbers.numel());
  auto streams = image_streams(options.seed, /*work=*/victim.rejects, images);
  PgdOptions full;
  full.stop_when_won = false;  // at the first win an image is doubtful just for being on the edge
  return pgd(victim, {Norm::kLinf, options.eps}, batch.images, {batch.labels, {}}, streams, full);
}

/// Foreign images at the networks' size, as many as `most` at most, spread over the folder.
class ForeignLoader {
 public:
  ForeignLoader(const fs::path& folder, int64_t size, int64_t most, int64_t batch)
      : size_(size), batch_(batch) {
    const auto all = find_images(folder);
    const auto n = static_cast<int64_t>(all.size());
    for (int64_t i = 0; i < std::min(n, most); ++i)
      files_.push_back(all[i * n / std::min(n, most)]);
  }
  int64_t size() const { return static_cast<int64_t>(files_.size()); }
  bool next(Batch& batch) {
    std::vector<Tensor> images;
    for (; place_ < files_.size() && static_cast<int64_t>(images.size()) < batch_; ++place_) {
      try {
        images.push_back(read_square(files_[place_], size_).permute({2, 0, 1}).to(torch::kFloat32) /
                         255);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::kUsage) throw;  // no image file can be read at all
        warn("skipped: {}", error.what());
      }
    }
    if (images.empty()) return false;
    batch = {torch::stack(images).contiguous(kChannelsLast), {}, {}, {}};
    return true;
  }

 private:
  int64_t size_, batch_;
  std::vector<fs::path> files_;
  size_t place_ = 0;
};

/// Measures everything against one set of clean images.
class Measurement {
 public:
  Measurement(const Model& model, const ImageFolder& folder, const DoubtOptions& options)
      : model_(model), folder_(folder), options_(options) {
    const Scored validation = score_split(model, folder, Split::kVal, options.batch, "validation");
    clean_ = score_split(model, folder, options.split, options.batch, "clean");
    if (!clean_.values.defined() || !validation.values.defined())
      fail(ErrorCode::kData, "{}: uncertainty needs images in the splits val and {}",
           folder.root.string(), to_string(options.split));
    combination_ = DoubtCombination::fit(validation.values, validation.wrong());
    results_.split = options.split;
    results_.images = clean_.values.size(0);
    results_.wrong = clean_.wrong().sum().item<int64_t>();
    results_.validation_images = validation.values.size(0);
    results_.validation_wrong = validation.wrong().sum().item<int64_t>();
    results_.temperature = fit_temperature(validation.logits, validation.labels);
    results_.ece = calibration_error(clean_.probs, clean_.labels);
    results_.ece_scaled =
        calibration_error((clean_.logits / results_.temperature).softmax(1), clean_.labels);
    names_ = clean_.names;
    if (combination_) names_.push_back("combination");
  }

  void judge_answers() {
    const Tensor wrong = clean_.wrong();
    for (const auto& name : names_) {
      const Tensor doubt = column(clean_, name);
      RankMeter ranks;
      ranks.add(doubt, wrong);
      results_.scores.push_back({name, ranks.auroc(), aurc(doubt, wrong),
                                 risk_at_coverage(doubt, wrong, 0.80),
                                 risk_at_coverage(doubt, wrong, 0.90),
                                 risk_at_coverage(doubt, wrong, 0.95), risk_curve(doubt, wrong)});
    }
  }

  void add_strange(const std::string& name, const std::string& how, const Change& change) {
    add(name, how, score_split(model_, folder_, options_.split, options_.batch, name, change));
  }

  void add_spread(const std::string& name, const std::string& how, const Change& change) {
    add(name, how, score_spread(model_, folder_, options_, kAttackedViews, name, change));
  }

  void add_foreign() {
    ForeignLoader loader(options_.foreign, model_.config.data.size, results_.images,
                         options_.batch);
    add("foreign", options_.foreign.string(),
        score_batches([&](Batch& next) { return loader.next(next); }, all_scores(model_), {},
                      {"foreign", loader.size()}));
  }

  const DoubtResults& results() const { return results_; }

 private:
  Tensor column(const Scored& scored, const std::string& name) const {
    if (name == "combination") return (*combination_)(scored.values);
    return scored.at(name);
  }

  void add(const std::string& name, const std::string& how, const Scored& scored) {
    if (!scored.values.defined()) {
      warn("{}: no image; left out", how);
      return;
    }
    StrangeImages strange;
    strange.name = name;
    strange.how = how;
    strange.images = scored.values.size(0);
    strange.accuracy = kUndefined;
    Tensor wrong = torch::zeros({strange.images}, torch::kBool);
    if (scored.labels.defined() && name != "counterfactual") {
      wrong = scored.wrong();
      strange.wrong = wrong.sum().item<int64_t>();
      strange.accuracy = 1 - double(strange.wrong) / double(strange.images);
    }
    for (const auto& score : names_) {
      const Tensor high = column(scored, score), low = column(clean_, score);
      strange.scores.push_back({score, separation(high, low), fpr_at_95_tpr(high, low),
                                separation(high.masked_select(wrong), low)});
    }
    results_.strange.push_back(std::move(strange));
  }

  const Model& model_;
  const ImageFolder& folder_;
  const DoubtOptions& options_;
  Scored clean_;
  std::optional<DoubtCombination> combination_;
  std::vector<std::string> names_;
  DoubtResults results_;
};

/// What only a counterfactual model can be asked: attacks that mind its other answers too, and its
/// own counterfactuals.
void measure_generator(const Model& model, const ImageFolder& folder, const DoubtOptions& options,
                       const std::string& bound, Measurement& measurement) {
  const Victim wary =
      reject_victim(model, RejectScore::kFakeness,
                    choose_reject_threshold(model, folder, RejectScore::kFakeness, kAccept));
  measurement.add_strange("attacked, adaptive", bound + ", class logits and fakeness",
                          [&](const Batch& b) { return attacked(wary, b, options); });
  const Victim both = view_and_head_victim(model);
  measurement.add_spread("attacked, views and head",
                         bound + " on all views and the generator's head at once",
                         [&](const Batch& b) { return attacked(both, b, options); });
  const Victim everything = unrejected_victim(both, wary);
  measurement.add_spread("attacked, everything",
                         bound + " on all views, the generator's head and fakeness at once",
                         [&](const Batch& b) { return attacked(everything, b, options); });
  const Explainer explainer(model);
  measurement.add_strange("counterfactual", "of the image, towards the default target",
                          [&](const Batch& b) {
                            return explainer.explain(b.images, {}, Effort::kNoDoubt).counterfactual;
                          });
}

}  // namespace

DoubtResults measure_doubt(const Model& model, const ImageFolder& folder,
                           const DoubtOptions& options) {
  require_model_classes(folder, model);
  Measurement measurement(model, folder, options);
  measurement.judge_answers();
  const std::string bound = fmt::format("PGD-20, L-inf {:.3g}/255", options.eps * 255);
  const Victim classes = class_victim(model);
  measurement.add_strange("attacked", bound + " on the class logits",
                          [&](const Batch& b) { return attacked(classes, b, options); });
  const Victim views = view_victim(model);
  measurement.add_spread("attacked, all views", bound + " on the mean probabilities of all views",
                         [&](const Batch& b) { return attacked(views, b, options); });
  if (model.config.model.kind == ModelKind::kCounterfactual)
    measure_generator(model, folder, options, bound, measurement);
  measurement.add_strange("blurred", fmt::format("Gaussian, sigma {} pixels", kBlur),
                          [](const Batch& b) { return blurred(b.images); });
  measurement.add_strange("noisy", fmt::format("Gaussian, deviation {}", kNoiseDeviation),
                          [&](const Batch& b) { return noisy(b, options.seed); });
  if (handles_image_files())
    measurement.add_strange("jpeg", fmt::format("JPEG, quality {}", kCrushedQuality),
                            [](const Batch& b) { return through_jpeg(b.images, kCrushedQuality); });
  if (!options.foreign.empty()) measurement.add_foreign();
  return measurement.results();
}

double choose_reject_threshold(const Model& model, const ImageFolder& folder, RejectScore score,
                               double accept) {
  const Scored validation = score_split(model, folder, Split::kVal, /*batch=*/32);
  if (!validation.values.defined())
    fail(ErrorCode::kData, "{}: the reject threshold needs images in the split val",
         folder.root.string());
  const char* name = score == RejectScore::kFakeness ? "fakeness" : "fake_logit";
  return passing_threshold(validation.at(name), accept);
}

namespace {

DoubtScores shared_scores(const Model& model, const Tensor& images, const ProcessGroup& group) {
  DoubtScores scores;
  const auto all = group.in_shares(images, [&](const Tensor& own, const Tensor&) {
    const DoubtScores part = answer_scores(model, own);
    scores.names = part.names;
    return std::vector<Tensor>{part.values, part.logits, part.probs};
  });
  scores.values = all[0];
  scores.logits = all[1];
  scores.probs = all[2];
  return scores;
}

}  // namespace

std::optional<DoubtRule> choose_doubt_rule(const Model& model, const ImageFolder& folder,
                                           double coverage, const ProcessGroup& group) {
  if (model.config.model.kind == ModelKind::kSegmenter) return std::nullopt;
  EvalLoader loader(folder, Split::kVal, model.config.data, /*batch_size=*/32);
  const Scored scores =
      score_batches([&](Batch& next) { return loader.next(next); },
                    [&](const Tensor& images) { return shared_scores(model, images, group); }, {});
  if (!scores.values.defined()) return std::nullopt;
  const Tensor wrong = scores.wrong();
  const bool has_answer =
      std::find(scores.names.begin(), scores.names.end(), "answer") != scores.names.end();
  std::string best = has_answer ? "answer" : "max_softmax";
  if (wrong.sum().item<int64_t>() >= kErrorsToChooseBy) {
    double least = kClearlyBetter * aurc(scores.at(best), wrong);
    for (const auto& name : scores.names)
      if (const double found = aurc(scores.at(name), wrong); found < least) {
        best = name;
        least = found;
      }
  }
  return DoubtRule{best, passing_threshold(scores.at(best), coverage), coverage};
}

}  // namespace flipside
