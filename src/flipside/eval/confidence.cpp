#include "flipside/eval/confidence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "flipside/core/error.h"
#include "flipside/core/numbers.h"

namespace flipside {
namespace {

std::vector<double> to_doubles(const Tensor& values) {
  const Tensor host = values.detach().to(torch::kCPU, torch::kFloat64).contiguous();
  return {host.data_ptr<double>(), host.data_ptr<double>() + host.numel()};
}

}  // namespace

std::vector<double> risk_curve(const Tensor& doubt, const Tensor& wrong) {
  if (doubt.numel() != wrong.numel())
    fail(ErrorCode::kArgument, "risk_curve: {} scores for {} answers", doubt.numel(),
         wrong.numel());
  const auto scores = to_doubles(doubt), errors = to_doubles(wrong);
  if (std::any_of(scores.begin(), scores.end(), [](double score) { return std::isnan(score); }))
    fail(ErrorCode::kArgument, "risk_curve: a score is NaN; scores must be numbers");
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  std::vector<double> risks;
  double sum = 0;
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    double tied = 0;
    for (; end < order.size() && scores[order[end]] == scores[order[begin]]; ++end)
      tied += errors[order[end]];
    tied /= static_cast<double>(end - begin);
    for (size_t i = begin; i < end; ++i) {
      sum += tied;
      risks.push_back(sum / static_cast<double>(i + 1));
    }
  }
  return risks;
}

double aurc(const Tensor& doubt, const Tensor& wrong) {
  const auto risks = risk_curve(doubt, wrong);
  if (risks.empty()) return kUndefined;
  return std::accumulate(risks.begin(), risks.end(), 0.0) / static_cast<double>(risks.size());
}

double risk_at_coverage(const Tensor& doubt, const Tensor& wrong, double coverage) {
  const auto risks = risk_curve(doubt, wrong);
  if (risks.empty()) return kUndefined;
  const auto n = static_cast<double>(risks.size());
  // 1e-9: 0.8 * 10 must not become 9 by rounding.
  const auto images = static_cast<int64_t>(std::ceil(coverage * n - 1e-9));
  return risks[std::clamp<int64_t>(images, 1, static_cast<int64_t>(risks.size())) - 1];
}

double fpr_at_95_tpr(const Tensor& strange, const Tensor& known) {
  auto high = to_doubles(strange), low = to_doubles(known);
  if (high.empty() || low.empty()) return kUndefined;
  std::sort(high.begin(), high.end(), std::greater<>());
  const auto found = static_cast<size_t>(std::ceil(0.95 * static_cast<double>(high.size()) - 1e-9));
  const double threshold = high[std::max<size_t>(found, 1) - 1];
  const auto taken = std::count_if(low.begin(), low.end(),
                                   [threshold](double score) { return score >= threshold; });
  return static_cast<double>(taken) / static_cast<double>(low.size());
}

double calibration_error(const Tensor& probs, const Tensor& labels, int64_t bins) {
  if (probs.size(0) == 0) return kUndefined;
  const auto [confidence, predicted] = probs.max(/*dim=*/1);
  const auto sure = to_doubles(confidence), right = to_doubles(predicted == labels);
  std::vector<double> gap(bins);  // sum of (right - confidence) per bin
  for (size_t i = 0; i < sure.size(); ++i) {
    const auto bin = static_cast<int64_t>(sure[i] * static_cast<double>(bins));
    gap[std::clamp<int64_t>(bin, 0, bins - 1)] += right[i] - sure[i];
  }
  double sum = 0;
  for (double value : gap) sum += std::abs(value);
  return sum / static_cast<double>(sure.size());
}

double fit_temperature(const Tensor& logits, const Tensor& labels) {
  const Tensor scores = logits.to(torch::kFloat64);
  const auto loss = [&](double log_temperature) {
    return torch::nn::functional::cross_entropy(scores / std::exp(log_temperature), labels)
        .item<double>();
  };
  // Convex in 1/T, so of one valley in log T: golden section.
  double low = std::log(0.05), high = std::log(20.0);
  const double golden = (std::sqrt(5.0) - 1) / 2;
  double left = high - golden * (high - low), right = low + golden * (high - low);
  double left_loss = loss(left), right_loss = loss(right);
  while (high - low > 1e-4) {
    if (left_loss <= right_loss) {
      high = right;
      right = left;
      right_loss = left_loss;
      left = high - golden * (high - low);
      left_loss = loss(left);
    } else {
      low = left;
      left = right;
      left_loss = right_loss;
      right = low + golden * (high - low);
      right_loss = loss(right);
    }
  }
  return std::exp(0.5 * (low + high));
}

}  // namespace flipside
