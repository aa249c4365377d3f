#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "flipside/core/torch.h"
#include "flipside/explain/explainer.h"

namespace flipside {

/// Mean and covariance of feature vectors, gathered in one pass in double precision.
class FeatureStatistics {
 public:
  void add(const Tensor& features);  ///< [N,F]
  int64_t count() const { return count_; }
  Tensor mean() const;        ///< [F] float64
  Tensor covariance() const;  ///< [F,F] float64, divided by count - 1

 private:
  int64_t count_ = 0;
  Tensor sum_, products_;
};

/// Fréchet distance of two normal distributions (Dowson and Landau 1982; with features of a
/// network, Heusel et al. 2017): |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)). It depends on
/// the features and, for few images, on their number: compare only what shares both. NaN with
/// fewer than two vectors on a side.
double frechet_distance(const FeatureStatistics& a, const FeatureStatistics& b);

/// How counterfactuals differ from their images.
struct ChangeScores {
  int64_t from = 0, to = 0, images = 0;  ///< from == to: asked to stay as they are
  double l1 = 0;                         ///< mean |x_cf - x| over pixels and channels, [0,1] units
  double changed = 0;  ///< share of pixels with a saliency above `ChangeMeter::kVisible`
  double marked = 0;   ///< share of pixels in the mask at the label-free threshold
  /// 1 - mean cosine of the saliency maps of two images: 0 when the same is painted everywhere;
  /// NaN with fewer than two images that change.
  double diversity = 0;
  /// Fréchet distance of every second counterfactual to one half of the real images of class `to`,
  /// and of the other half of these to the first; features of the judge's penultimate layer. Of
  /// images asked to stay as they are, those of the other half: equal where nothing is changed.
  std::optional<double> frechet, frechet_real;
};

/// Pixels marked on reference images that were asked to stay as they are, per pixel marked on
/// defect images turned into the reference class (means over images): near 0 where the mask shows
/// defects, about 1 where the generator marks whatever it sees. It needs no masks to say so. NaN
/// where nothing is marked on defects, or where one of the two was not measured.
double false_marks(const std::vector<ChangeScores>& changes, int64_t reference);

/// Gathers `ChangeScores` (its numbers, not its Fréchet distances) in constant memory.
class ChangeMeter {
 public:
  static constexpr double kVisible = 0.05;  ///< of the range, [0,1] units
  /// `rule` makes masks of saliency; by its threshold alone, alike for strong and faint changes.
  explicit ChangeMeter(MaskOptions rule) : rule_(rule) { rule_.faint_share = 0; }
  /// images and counterfactuals [N,3,H,W] in [0,1], saliency [N,1,H,W]; all calls of one size.
  void add(const Tensor& images, const Tensor& counterfactuals, const Tensor& saliency);
  int64_t images() const { return images_; }
  ChangeScores scores() const;

 private:
  MaskOptions rule_;
  int64_t images_ = 0, changing_ = 0;
  double l1_ = 0, changed_ = 0, marked_ = 0;
  Tensor directions_;  ///< sum of the maps, each of length 1
};

/// `ChangeScores` for every pair of classes that counterfactuals are made for.
class ChangeTable {
 public:
  /// Features [N,F] of images [N,3,H,W].
  using Features = std::function<Tensor(const Tensor& images)>;
  /// Without `features` there are no Fréchet distances.
  ChangeTable(const Explainer& explainer, Features features);
  /// Real images [N,3,H,W] of classes `labels` [N]: what counterfactuals should look like.
  void add_real(const Tensor& images, const Tensor& labels);
  void add(const Tensor& images, const Tensor& labels, const Explanation& explanation);
  std::vector<ChangeScores> scores() const;  ///< of the pairs that occurred

 private:
  struct RealImages {
    int64_t seen = 0;
    FeatureStatistics halves[2];
  };
  struct Pair {
    ChangeMeter meter;
    FeatureStatistics features;
  };
  Pair& pair(int64_t from, int64_t to) { return pairs_.at(from * num_classes_ + to); }
  void add_pair(int64_t from, int64_t to, const Tensor& images, const Tensor& counterfactuals,
                const Tensor& saliency);

  int64_t num_classes_;
  Features features_;
  std::vector<RealImages> real_;  ///< by class
  std::vector<Pair> pairs_;       ///< from * K + to
};

}  // namespace flipside
