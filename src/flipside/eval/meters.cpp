#include "flipside/eval/meters.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "flipside/core/error.h"

namespace flipside {
namespace {

double ratio(double part, double whole) {
  return whole > 0 ? part / whole : std::numeric_limits<double>::quiet_NaN();
}

/// F1 = harmonic mean of precision and recall; 0 when both are 0.
double harmonic_mean(double precision, double recall) {
  return precision + recall > 0 ? 2 * precision * recall / (precision + recall)
                                : precision + recall;  // 0, or NaN where one is undefined
}

Tensor flat(const Tensor& values, torch::Dtype dtype) {
  return values.detach().to(torch::kCPU, dtype).contiguous().flatten();
}

void check_same_size(const Tensor& a, const Tensor& b, const char* name) {
  if (a.numel() != b.numel())
    fail(ErrorCode::kArgument, "{}: {} values against {}; both must have as many", name, a.numel(),
         b.numel());
}

/// Masks [N,1,H,W] as contiguous bytes of 0 and 1.
Tensor mask_bytes(const Tensor& masks) {
  return (masks.detach().cpu() > 0.5).to(torch::kUInt8).contiguous();
}

/// The pixels of `other` [H,W] and all within `tolerance` of one, as 0 and 1.
std::vector<uint8_t> grown(const Tensor& other, double tolerance) {
  const int64_t height = other.size(0), width = other.size(1);
  const auto reach = static_cast<int64_t>(tolerance);
  std::vector<uint8_t> near(height * width);
  const uint8_t* data = other.data_ptr<uint8_t>();
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      if (data[y * width + x] == 0) continue;
      for (int64_t v = std::max<int64_t>(y - reach, 0); v <= std::min(y + reach, height - 1); ++v)
        for (int64_t u = std::max<int64_t>(x - reach, 0); u <= std::min(x + reach, width - 1); ++u)
          if (static_cast<double>((u - x) * (u - x) + (v - y) * (v - y)) <= tolerance * tolerance)
            near[v * width + u] = 1;
    }
  return near;
}

/// Pixels of `mask` whose nearest pixel of `other` lies within `tolerance`; both [H,W].
int64_t count_near(const Tensor& mask, const Tensor& other, double tolerance) {
  const std::vector<uint8_t> near = grown(other, tolerance);
  const uint8_t* data = mask.data_ptr<uint8_t>();
  int64_t count = 0;
  for (size_t i = 0; i < near.size(); ++i) count += near[i] & data[i];
  return count;
}

}  // namespace

ConfusionMeter::ConfusionMeter(int64_t num_classes)
    : counts_(num_classes, std::vector<int64_t>(num_classes)) {}

void ConfusionMeter::add(const Tensor& labels, const Tensor& predicted) {
  check_same_size(labels, predicted, "ConfusionMeter: labels and predictions");
  const auto num_classes = static_cast<int64_t>(counts_.size());
  const Tensor rows = flat(labels, torch::kInt64), columns = flat(predicted, torch::kInt64);
  for (int64_t i = 0; i < rows.numel(); ++i) {
    const int64_t row = rows.data_ptr<int64_t>()[i], column = columns.data_ptr<int64_t>()[i];
    if (std::min(row, column) < 0 || std::max(row, column) >= num_classes)
      fail(ErrorCode::kArgument, "ConfusionMeter: label {}, prediction {}: must be in [0,{})", row,
           column, num_classes);
    ++counts_[row][column];
  }
}

void ConfusionMeter::reset() { *this = ConfusionMeter(static_cast<int64_t>(counts_.size())); }

int64_t ConfusionMeter::total() const {
  int64_t sum = 0;
  for (const auto& row : counts_) sum += std::accumulate(row.begin(), row.end(), int64_t{0});
  return sum;
}

double ConfusionMeter::accuracy() const {
  int64_t correct = 0;
  for (size_t k = 0; k < counts_.size(); ++k) correct += counts_[k][k];
  return ratio(static_cast<double>(correct), static_cast<double>(total()));
}

double ConfusionMeter::balanced_accuracy() const {
  double sum = 0, occurring = 0;
  for (size_t k = 0; k < counts_.size(); ++k) {
    const double value = recall(static_cast<int64_t>(k));
    if (std::isnan(value)) continue;
    sum += value;
    ++occurring;
  }
  return ratio(sum, occurring);
}

double ConfusionMeter::precision(int64_t label) const {
  int64_t column = 0;
  for (const auto& row : counts_) column += row.at(label);
  return ratio(static_cast<double>(counts_.at(label)[label]), static_cast<double>(column));
}

double ConfusionMeter::recall(int64_t label) const {
  const auto& row = counts_.at(label);
  const auto sum = std::accumulate(row.begin(), row.end(), int64_t{0});
  return ratio(static_cast<double>(row[label]), static_cast<double>(sum));
}

double ConfusionMeter::f1(int64_t label) const {
  // 2 TP / (2 TP + FP + FN): defined as soon as the class occurs or is predicted.
  int64_t occurrences = 0;
  for (size_t k = 0; k < counts_.size(); ++k) occurrences += counts_[label][k] + counts_[k][label];
  return ratio(2.0 * static_cast<double>(counts_.at(label)[label]),
               static_cast<double>(occurrences));
}

double ConfusionMeter::macro_f1() const {
  double sum = 0, occurring = 0;
  for (size_t k = 0; k < counts_.size(); ++k) {
    if (std::isnan(recall(static_cast<int64_t>(k)))) continue;
    sum += f1(static_cast<int64_t>(k));
    ++occurring;
  }
  return ratio(sum, occurring);
}

void RankMeter::add(const Tensor& scores, const Tensor& positives) {
  check_same_size(scores, positives, "RankMeter: scores and positives");
  const Tensor values = flat(scores, torch::kFloat64), flags = flat(positives, torch::kUInt8);
  const double* data = values.data_ptr<double>();
  if (std::any_of(data, data + values.numel(), [](double v) { return std::isnan(v); }))
    fail(ErrorCode::kArgument, "RankMeter: a score is NaN; scores must be numbers");
  scores_.insert(scores_.end(), data, data + values.numel());
  const uint8_t* flag = flags.data_ptr<uint8_t>();
  positives_.insert(positives_.end(), flag, flag + flags.numel());
}

void RankMeter::reset() {
  scores_.clear();
  positives_.clear();
}

namespace {

/// Calls `visit(positives, negatives)` for each group of equal scores, highest score first.
template <typename Visit>
void for_each_tie(const std::vector<double>& scores, const std::vector<uint8_t>& positives,
                  Visit visit) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    double hits = 0, misses = 0;
    for (; end < order.size() && scores[order[end]] == scores[order[begin]]; ++end)
      (positives[order[end]] ? hits : misses) += 1;
    visit(hits, misses);
  }
}

}  // namespace

double RankMeter::auroc() const {
  // Pairs (positive, negative) with the positive above, ties counted half.
  double above = 0, wins = 0, negatives = 0;
  for_each_tie(scores_, positives_, [&](double hits, double misses) {
    wins += misses * (above + 0.5 * hits);
    above += hits;
    negatives += misses;
  });
  return ratio(wins, above * negatives);
}

double RankMeter::average_precision() const {
  double hits_so_far = 0, seen = 0, sum = 0;
  for_each_tie(scores_, positives_, [&](double hits, double misses) {
    hits_so_far += hits;
    seen += hits + misses;
    sum += hits * hits_so_far / seen;
  });
  return ratio(sum, hits_so_far);
}

void MaskMeter::add(const Tensor& mask, const Tensor& truth) {
  if (mask.sizes() != truth.sizes() || mask.dim() != 4 || mask.size(1) != 1)
    fail(ErrorCode::kArgument, "MaskMeter: mask and truth must both be [N,1,H,W] of one shape");
  const Tensor masks = mask_bytes(mask), truths = mask_bytes(truth);
  for (int64_t n = 0; n < mask.size(0); ++n) {
    const Tensor marked = masks[n][0], real = truths[n][0];
    const auto intersection = (marked & real).sum().item<int64_t>();
    const auto all = (marked | real).sum().item<int64_t>();
    iou_sum_ += all == 0 ? 1.0 : static_cast<double>(intersection) / static_cast<double>(all);
    intersection_ += intersection;
    marked_ += marked.sum().item<int64_t>();
    true_ += real.sum().item<int64_t>();
    marked_near_truth_ += count_near(marked, real, tolerance_);
    truth_near_mask_ += count_near(real, marked, tolerance_);
    ++images_;
  }
}

double MaskMeter::iou() const {
  return ratio(static_cast<double>(intersection_),
               static_cast<double>(marked_ + true_ - intersection_));
}
double MaskMeter::mean_iou() const { return ratio(iou_sum_, static_cast<double>(images_)); }
double MaskMeter::precision() const {
  return ratio(static_cast<double>(intersection_), static_cast<double>(marked_));
}
double MaskMeter::recall() const {
  return ratio(static_cast<double>(intersection_), static_cast<double>(true_));
}
double MaskMeter::f1() const {
  return ratio(2.0 * static_cast<double>(intersection_), static_cast<double>(marked_ + true_));
}
double MaskMeter::tolerant_f1() const {
  if (marked_ == 0 && true_ > 0) return 0;
  return harmonic_mean(ratio(static_cast<double>(marked_near_truth_), static_cast<double>(marked_)),
                       ratio(static_cast<double>(truth_near_mask_), static_cast<double>(true_)));
}

void SaliencyCurve::add(const Tensor& saliency, const Tensor& truth) {
  check_same_size(saliency, truth, "SaliencyCurve: saliency and truth");
  const Tensor bins = flat(saliency, torch::kFloat32).mul(kBins).clamp(0, kBins - 1);
  const Tensor flags = flat(truth, torch::kFloat32);
  if (bins.isnan().any().item<bool>())
    fail(ErrorCode::kArgument, "SaliencyCurve: a saliency is NaN; maps must be numbers");
  const float* bin = bins.data_ptr<float>();
  const float* flag = flags.data_ptr<float>();
  for (int64_t i = 0; i < bins.numel(); ++i)
    ++(flag[i] > 0.5f ? positive_ : negative_)[static_cast<size_t>(bin[i])];
}

double SaliencyCurve::iou_at(double threshold) const {
  const auto edge = std::clamp(static_cast<int>(std::lround(threshold * kBins)), 0, kBins);
  const auto total = std::accumulate(positive_.begin(), positive_.end(), int64_t{0});
  const auto hits = std::accumulate(positive_.begin() + edge, positive_.end(), int64_t{0});
  const auto misses = std::accumulate(negative_.begin() + edge, negative_.end(), int64_t{0});
  return ratio(static_cast<double>(hits), static_cast<double>(total + misses));
}

double SaliencyCurve::best_threshold() const {
  if (std::isnan(iou_at(0))) return std::numeric_limits<double>::quiet_NaN();
  // Edge 0 would mark every pixel of every image, so it is no threshold. Empty bins give equal
  // scores: the middle of such a run is the safest choice.
  int first = 1, last = 1;
  double best = iou_at(1.0 / kBins);
  for (int edge = 2; edge < kBins; ++edge) {
    const double value = iou_at(static_cast<double>(edge) / kBins);
    if (value > best) first = edge;
    if (value > best || (value == best && last + 1 == edge)) last = edge;
    best = std::max(best, value);
  }
  if (best == 0) return std::numeric_limits<double>::quiet_NaN();
  return 0.5 * (first + last) / kBins;
}

double SaliencyCurve::average_precision() const {
  double hits = 0, seen = 0, sum = 0;
  for (int bin = kBins - 1; bin >= 0; --bin) {
    hits += static_cast<double>(positive_[bin]);
    seen += static_cast<double>(positive_[bin] + negative_[bin]);
    if (seen > 0) sum += static_cast<double>(positive_[bin]) * hits / seen;
  }
  return ratio(sum, hits);
}

std::vector<PrecisionRecall> SaliencyCurve::points() const {
  const auto total = std::accumulate(positive_.begin(), positive_.end(), int64_t{0});
  std::vector<PrecisionRecall> points;
  int64_t hits = 0, seen = 0;
  for (int bin = kBins - 1; bin >= 0 && total > 0; --bin) {
    if (positive_[bin] + negative_[bin] == 0) continue;
    hits += positive_[bin];
    seen += positive_[bin] + negative_[bin];
    points.push_back({static_cast<double>(bin) / kBins,
                      ratio(static_cast<double>(hits), static_cast<double>(seen)),
                      ratio(static_cast<double>(hits), static_cast<double>(total))});
  }
  return points;
}

}  // namespace flipside
