#pragma once

#include <optional>
#include <string>
#include <vector>

#include "flipside/explain/answer.h"
#include "flipside/model/model.h"

namespace flipside {

/// Scores of how doubtful an answer is, all of them high where it is (docs/equations.md, "Doubt").
struct DoubtScores {
  std::vector<std::string> names;  ///< S
  Tensor values;                   ///< [N,S] float64
  Tensor logits;                   ///< [N,K] of the classes, float64, of the images as they lie
  Tensor probs;                    ///< [N,K], float64: the answer, as `answer_probs`

  /// The column [N] of that name; `Error(kArgument)` naming those there are.
  Tensor at(const std::string& name) const;
};

/// The scores that what the networks have said suffices for: all but views and cycle_error.
DoubtScores answer_scores(const Model& model, const NetworkAnswers& answers);
/// All but cycle_error, from images [N,3,H,W] in [0,1]; `Error(kArgument)` for a segmenter.
DoubtScores answer_scores(const Model& model, const Tensor& images);
/// One of them, [N] float64, from `network_images` and what the networks have said of them.
Tensor answer_score(const Model& model, const std::string& name, const Tensor& x,
                    const NetworkAnswers& answers);
/// The same from images alone.
Tensor answer_score(const Model& model, const std::string& name, const Tensor& images);

/// All scores of images [N,3,H,W] in [0,1]. Every model with classes gives max_softmax, entropy,
/// margin, energy and, where it averages over views, answer and views; a counterfactual model also
/// fakeness, fake_logit, joint, disagreement and cycle_error. `Error(kArgument)` for a segmenter.
DoubtScores doubt_scores(const Model& model, const Tensor& images);

/// Logistic regression from scores to the probability that the answer is wrong: one number out of
/// many. It counts for something only if it was fitted on other data than it is judged on.
class DoubtCombination {
 public:
  /// Fits by Newton's method with a ridge penalty on standardised scores; nothing when fewer than
  /// two answers are wrong or fewer than two are right. `values` [N,S], `wrong` [N] bool.
  static std::optional<DoubtCombination> fit(const Tensor& values, const Tensor& wrong);
  /// Probability [N] that the answer is wrong.
  Tensor operator()(const Tensor& values) const;
  /// Weights [S] of the standardised scores.
  const Tensor& weights() const { return weights_; }

 private:
  Tensor standardise(const Tensor& values) const;
  Tensor mean_, deviation_, weights_;
  double bias_ = 0;
};

}  // namespace flipside
