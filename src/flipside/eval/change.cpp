#include "flipside/eval/change.h"

#include "flipside/core/numbers.h"

namespace flipside {
namespace {

/// The root of a symmetric matrix without negative eigenvalues (those of rounding count as 0).
Tensor symmetric_root(const Tensor& matrix) {
  const auto [values, vectors] = torch::linalg_eigh(matrix);
  return torch::matmul(vectors * values.clamp_min(0).sqrt(), vectors.t());
}

}  // namespace

void FeatureStatistics::add(const Tensor& features) {
  const Tensor rows = features.detach().to(torch::kCPU, torch::kFloat64);
  if (!sum_.defined()) {
    sum_ = torch::zeros({rows.size(1)}, rows.options());
    products_ = torch::zeros({rows.size(1), rows.size(1)}, rows.options());
  }
  count_ += rows.size(0);
  sum_ += rows.sum(/*dim=*/0);
  products_ += torch::matmul(rows.t(), rows);
}

Tensor FeatureStatistics::mean() const { return sum_ / static_cast<double>(count_); }

Tensor FeatureStatistics::covariance() const {
  const Tensor centre = mean();
  const auto n = static_cast<double>(count_);
  return (products_ - n * torch::outer(centre, centre)) / (n - 1);
}

double frechet_distance(const FeatureStatistics& a, const FeatureStatistics& b) {
  if (a.count() < 2 || b.count() < 2) return kUndefined;
  const Tensor cov_a = a.covariance(), cov_b = b.covariance();
  // tr((C_a C_b)^(1/2)) = tr((R C_b R)^(1/2)) with R = C_a^(1/2): a symmetric matrix's root.
  const Tensor root = symmetric_root(cov_a);
  const Tensor shared =
      torch::linalg_eigvalsh(torch::matmul(torch::matmul(root, cov_b), root)).clamp_min(0).sqrt();
  const Tensor distance =
      (a.mean() - b.mean()).square().sum() + cov_a.trace() + cov_b.trace() - 2 * shared.sum();
  return std::max(0.0, distance.item<double>());
}

void ChangeMeter::add(const Tensor& images, const Tensor& counterfactuals, const Tensor& saliency) {
  const auto sum_of_means = [](const Tensor& values) {
    return values.to(torch::kFloat32).flatten(/*start_dim=*/1).mean(/*dim=*/1).sum().item<double>();
  };
  images_ += images.size(0);
  l1_ += sum_of_means((counterfactuals - images).abs());
  changed_ += sum_of_means(saliency_map(images, counterfactuals) > kVisible);
  marked_ += sum_of_means(saliency_to_mask(saliency, rule_));

  const Tensor maps = saliency.flatten(1).to(torch::kFloat64);
  const Tensor lengths = maps.norm(2, /*dim=*/1, /*keepdim=*/true);
  const Tensor some = lengths > 0;
  changing_ += some.sum().item<int64_t>();
  const Tensor directions = torch::where(some, maps / lengths, torch::zeros_like(maps)).sum(0);
  directions_ = directions_.defined() ? directions_ + directions : directions;
}

ChangeScores ChangeMeter::scores() const {
  ChangeScores scores;
  const auto n = static_cast<double>(images_), changing = static_cast<double>(changing_);
  scores.images = images_;
  scores.l1 = l1_ / n;
  scores.changed = changed_ / n;
  scores.marked = marked_ / n;
  // |sum of u_i|^2 = n + sum over pairs i != j of u_i u_j.
  scores.diversity = changing_ < 2 ? kUndefined
                                   : 1 - (directions_.square().sum().item<double>() - changing) /
                                             (changing * (changing - 1));
  return scores;
}

double false_marks(const std::vector<ChangeScores>& changes, int64_t reference) {
  double images[2] = {}, marked[2] = {};  // of defects, of reference images
  for (const auto& change : changes) {
    if (change.to != reference) continue;
    const bool is_kept = change.from == reference;
    images[is_kept] += static_cast<double>(change.images);
    marked[is_kept] += static_cast<double>(change.images) * change.marked;
  }
  if (images[0] == 0 || images[1] == 0 || marked[0] == 0) return kUndefined;
  return (marked[1] / images[1]) / (marked[0] / images[0]);
}

ChangeTable::ChangeTable(const Explainer& explainer, Features features)
    : num_classes_(explainer.model().num_classes()),
      features_(std::move(features)),
      real_(num_classes_) {
  const int64_t reference = explainer.model().reference_class;
  for (int64_t from = 0; from < num_classes_; ++from)
    for (int64_t to = 0; to < num_classes_; ++to)
      pairs_.push_back({ChangeMeter(explainer.mask_options(from == reference ? to : from)), {}});
}

void ChangeTable::add_real(const Tensor& images, const Tensor& labels) {
  if (!features_) return;
  const Tensor features = features_(images);
  for (int64_t i = 0; i < labels.size(0); ++i) {
    RealImages& real = real_.at(labels[i].item<int64_t>());
    real.halves[real.seen++ % 2].add(features.slice(0, i, i + 1));
  }
}

void ChangeTable::add(const Tensor& images, const Tensor& labels, const Explanation& explanation) {
  for (int64_t from = 0; from < num_classes_; ++from)
    for (int64_t to = 0; to < num_classes_; ++to) {
      const Tensor rows = ((labels == from) & (explanation.target == to)).nonzero().flatten();
      if (rows.numel() == 0) continue;
      add_pair(from, to, images.index_select(0, rows),
               explanation.counterfactual.index_select(0, rows),
               explanation.saliency.index_select(0, rows));
    }
}

void ChangeTable::add_pair(int64_t from, int64_t to, const Tensor& images,
                           const Tensor& counterfactuals, const Tensor& saliency) {
  Pair& into = pair(from, to);
  if (features_) {
    // As many as there are in half of the real images, where the classes are equally large. Those
    // of images that were to stay as they are come from the half that they are not compared with.
    const int64_t first = from == to;
    const Tensor every_second =
        counterfactuals.slice(0, (into.meter.images() + first) % 2, {}, /*step=*/2);
    if (every_second.size(0) > 0) into.features.add(features_(every_second));
  }
  into.meter.add(images, counterfactuals, saliency);
}

std::vector<ChangeScores> ChangeTable::scores() const {
  std::vector<ChangeScores> all;
  for (int64_t from = 0; from < num_classes_; ++from)
    for (int64_t to = 0; to < num_classes_; ++to) {
      const Pair& pair = pairs_[from * num_classes_ + to];
      if (pair.meter.images() == 0) continue;
      ChangeScores scores = pair.meter.scores();
      scores.from = from;
      scores.to = to;
      if (features_) {
        const auto& halves = real_[to].halves;
        scores.frechet = frechet_distance(pair.features, halves[0]);
        scores.frechet_real = frechet_distance(halves[1], halves[0]);
      }
      all.push_back(scores);
    }
  return all;
}

}  // namespace flipside
