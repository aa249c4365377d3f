#pragma once

#include <functional>
#include <string>
#include <vector>

#include "flipside/core/torch.h"
#include "flipside/model/model.h"

namespace flipside {

// Does the map show what a classifier uses? (docs/equations.md, "Faithfulness")

/// Images [N,3,H,W] -> class probabilities [N,K] on the CPU.
using ClassProbabilities = std::function<Tensor(const Tensor&)>;

/// Pixels by which masks are widened for `deletion_wide`: as many as a border may be off for the
/// tolerant F1. A tight mask leaves the defect's blurred rim behind, which a classifier can see.
constexpr int64_t kMaskMargin = 2;

/// Over N images and their counterfactuals towards `target`.
struct FaithfulnessScores {
  int64_t images = 0;        ///< that the classifier does not give the target class to begin with
  double deletion = 0;       ///< share of those given the target once the mask is taken from x_cf
  double deletion_wide = 0;  ///< the same with the mask widened by `kMaskMargin`
  int64_t flipped = 0;       ///< of `images`, those given the target as a whole counterfactual
  double insertion = 0;      ///< share of those that lose it once the mask is taken from x again
  int64_t cout_images = 0;   ///< all images, or 0 without COUT
  double cout = 0;           ///< in [-1,1]
};

/// Gathers deletion, insertion and COUT (Khorram and Fuxin 2022) for one classifier.
class FaithfulnessMeter {
 public:
  /// `steps`: equal portions in which COUT takes the pixels over; 0: no COUT.
  explicit FaithfulnessMeter(ClassProbabilities probabilities, int64_t steps = 16)
      : probabilities_(std::move(probabilities)), steps_(steps) {}

  /// One batch of explained images.
  struct Cases {
    Tensor images, counterfactuals;  ///< [N,3,H,W] in [0,1]
    Tensor saliency;                 ///< [N,1,H,W], the order of COUT
    Tensor masks;                    ///< [N,1,H,W] of 0 and 1
    Tensor labels, targets;          ///< [N] int64
  };
  void add(const Cases& cases);
  FaithfulnessScores scores() const;  ///< NaN for shares of nothing

 private:
  void add_swaps(const Cases& cases, const Tensor& before, const Tensor& after);
  void add_curve(const Cases& cases, const Tensor& before, const Tensor& after);

  ClassProbabilities probabilities_;
  int64_t steps_;
  int64_t images_ = 0, deleted_ = 0, deleted_wide_ = 0, flipped_ = 0, inserted_ = 0,
          cout_images_ = 0;
  double cout_sum_ = 0;
};

/// Pixels of `replacement` where `mask` is 1, else of `image`: [N,3,H,W].
Tensor take_over(const Tensor& image, const Tensor& replacement, const Tensor& mask);

/// Spearman's rank correlation of two maps [H,W] or [1,H,W], ties by their mean rank; 0 where one
/// of them is constant.
double rank_correlation(const Tensor& a, const Tensor& b);

/// What is left of a map once the layers from the top down to this one are drawn anew.
struct RandomisedLayer {
  std::string layer;
  double correlation = 0;  ///< mean over the images of the rank correlation with the trained map
};

/// The cascading randomisation test (Adebayo et al. 2018): on a copy of the model, the layers of
/// the generator (`of_generator`) or else of the discriminator get fresh weights one after the
/// other, from the output to the input, and `map` (model -> [N,1,H,W]) is compared with the trained
/// model's each time. A map that stays shows the image, not the model.
std::vector<RandomisedLayer> randomisation_test(const Model& model, bool of_generator,
                                                const std::function<Tensor(const Model&)>& map,
                                                uint64_t seed = 1);

}  // namespace flipside
