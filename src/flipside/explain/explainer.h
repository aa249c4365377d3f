#pragma once

#include <string>
#include <vector>

#include "flipside/core/process_group.h"
#include "flipside/explain/answer.h"
#include "flipside/explain/mask.h"
#include "flipside/explain/views.h"
#include "flipside/model/model.h"

namespace flipside {

/// What the model says of N images (all on the CPU, float32).
struct Explanation {
  Tensor probs;                    ///< [N,K] by D over the K real classes, as `answer_probs`
  Tensor fakeness;                 ///< [N] in [0,1]
  Tensor predicted;                ///< [N] int64, argmax of `probs`
  Tensor head_probs;               ///< [N,K] by the generator's head
  Tensor target;                   ///< [N] int64, class of the counterfactual
  Tensor counterfactual;           ///< [N,3,H,W] in [0,1]; to the reference class the mean over
                                   ///< `views_of`, unless the generator has learned that
                                   ///< (`explain.one_pass`); gone over again where
                                   ///< `explain.second_pass` helps, and taken further where D is
                                   ///< not sure of it (`explain.furthest`)
  Tensor counterfactual_probs;     ///< [N,K] by D, likewise
  Tensor counterfactual_fakeness;  ///< [N]
  Tensor doubt;                    ///< [N] float64, high where the answer is doubtful, by the
                                   ///< model's `doubt_rule`; undefined where it has none, and
                                   ///< with `Effort::kNoDoubt`
  Tensor saliency;  ///< [N,1,H,W] in [0,1]: smoothed, and fitted to edges if asked for
  Tensor mask;      ///< [N,1,H,W] of 0 and 1; empty where the reference class is
                    ///< predicted
};

/// On which images the work is spent that takes all views (`views_of`): the mean counterfactual to
/// the reference class, and a score of doubt that looks at them.
enum class Effort {
  kAll,
  kDefects,  ///< those predicted as a defect: the others get a counterfactual of one view, and NaN
             ///< for doubt
  kNoDoubt,  ///< counterfactuals of all images, and no doubt: for who asks about an image again
};

/// Whether the answer for image `row` is certain by the model's rule; true where it has none.
bool is_certain(const Model& model, const Explanation& explanation, int64_t row);

/// The one narrow seam between networks and everything that shows, measures or serves them.
/// Thread-safe: `explain` changes nothing. The networks are shared with the model given (module
/// holders are pointers) and are put into evaluation mode.
class Explainer {
 public:
  /// Takes a counterfactual model (`Error(kArgument)` for the other kinds). `sensitivity` > 0
  /// divides the stored label-free thresholds: 2 marks twice as faint changes, 0.5 half. A model
  /// without a stored threshold gets `MaskOptions`' default. In a `group` every process makes the
  /// same calls, does its share of the images and gets the answers for all.
  explicit Explainer(Model model, double sensitivity = 1.0, ProcessGroup group = {});

  /// `images` [N,3,H,W] in [0,1], sides multiples of the generator's stride. `targets` [N] int64
  /// in [0,K), or undefined: the reference class for images predicted as a defect, the most
  /// probable defect class for the others. Throws `Error(kArgument)` for wrong shapes or targets.
  Explanation explain(const Tensor& images, const Tensor& targets = {},
                      Effort effort = Effort::kAll) const;

  /// Maps [N,1,H,W] in [0,1], on the CPU, of what `counterfactuals` change in `images`, both
  /// [N,3,H,W] in [0,1]: `saliency_map`, smoothed, and fitted to edges if asked for.
  Tensor map_of(const Tensor& images, const Tensor& counterfactuals, bool without_cast) const;

  /// The targets that `explain` would choose: [N] int64 for class probabilities [N,K].
  Tensor default_targets(const Tensor& probs) const;

  const Model& model() const { return model_; }
  /// The rule with the label-free threshold of all defect classes together, or of one.
  const MaskOptions& mask_options() const { return mask_options_; }
  MaskOptions mask_options(int64_t defect_class) const;
  /// Maps [N,1,H,W] of images whose defect classes are `classes` [N] int64, each times threshold
  /// over threshold of its class: on this scale `mask_options()` is the rule for every class.
  Tensor on_common_scale(const Tensor& saliency, const Tensor& classes) const;
  /// Index of a class by name; `Error(kUsage)` naming the classes there are.
  int64_t class_index(const std::string& name) const;

 private:
  /// Counterfactuals [N,3,H,W], what D says of them ([N,K] and [N]), and their finished maps
  /// [N,1,H,W].
  struct Outcome {
    Tensor counterfactual, probs, fakeness, saliency;

    /// With those of `rows` [M] taken from `again`, which has M of each, that are to be `kept` [M]
    /// of type bool.
    Outcome replaced(const Tensor& rows, const Outcome& again, const Tensor& kept) const;
  };
  /// Whether an explanation has `Explanation::doubt`.
  bool tells_doubt(Effort effort) const;
  Explanation explain_here(const Tensor& images, const Tensor& targets, Effort effort) const;
  /// What it gives, as tensors of inference mode, in which it is to be called.
  Explanation infer(const Tensor& images, const Tensor& targets, Effort effort) const;
  Outcome outcome_of(const Tensor& x, const Tensor& counterfactual) const;
  /// Those in which D sees another class than the `target`, gone over a second time: what G changes
  /// in them is taken over in full where the map reaches twice the threshold of the mask, not at
  /// all below the threshold. Kept where D sees the target then (docs/equations.md, "Masks").
  Outcome gone_over(const Outcome& first, const Tensor& x, const Tensor& target,
                    const Tensor& averaged, const Tensor& predicted) const;
  /// Those of which D is not sure, taken further along their own change, up to `explain.furthest`
  /// times as far: the first of which it is, or else the surest (docs/equations.md, "Masks").
  Outcome taken_further(const Outcome& made, const Tensor& x, const Tensor& target) const;
  /// Counterfactuals and class logits of x [N,3,H,W] with targets [N]. The images `averaged` [N] of
  /// type bool, which go to the reference class, get the mean over all views: there is one way to
  /// take a defect out. Of the many ways to put one in, the mean is none.
  GeneratorResult generate(const Tensor& x, const Tensor& target, const Tensor& averaged) const;
  /// At `explain.generator_precision`.
  GeneratorResult one_view(const Tensor& x, const Tensor& target) const;
  /// To the reference class, the mean over `views`; the head looks at the images as they are.
  GeneratorResult mean_view(const Tensor& x, const std::vector<View>& views) const;
  /// `Explanation::doubt` of the images `rows` [M] of x; NaN of the others.
  Tensor doubt_of(const Tensor& rows, const Tensor& x, const NetworkAnswers& answers) const;

  Model model_;
  double sensitivity_;
  ProcessGroup group_;
  MaskOptions mask_options_;
};

}  // namespace flipside
