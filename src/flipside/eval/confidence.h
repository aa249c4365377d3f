#pragma once

#include <vector>

#include "flipside/core/torch.h"

namespace flipside {

// How well a score of doubt tells wrong answers from right ones, and strange images from known
// ones. `doubt` [N]: high is doubtful; `wrong` [N] bool. Each is checked against a slow loop.

/// Risk (share of wrong answers) when only the least doubtful images are answered, for 1, 2, .., N
/// of them. Equally doubtful images are taken as a whole: each counts with their mean error.
std::vector<double> risk_curve(const Tensor& doubt, const Tensor& wrong);

/// Area under the risk-coverage curve (Geifman and El-Yaniv 2017): the mean of `risk_curve`.
double aurc(const Tensor& doubt, const Tensor& wrong);

/// Risk when the share `coverage` in (0,1] is answered (rounded up to whole images).
double risk_at_coverage(const Tensor& doubt, const Tensor& wrong, double coverage);

/// Share of `known` scores that are taken for strange at the threshold that finds 95 % of the
/// `strange` ones (FPR95, Hendrycks and Gimpel 2017).
double fpr_at_95_tpr(const Tensor& strange, const Tensor& known);

/// Expected calibration error (Naeini et al. 2015): mean |accuracy - confidence| over equally wide
/// bins of the confidence, weighted by their images. `probs` [N,K], `labels` [N] int64.
double calibration_error(const Tensor& probs, const Tensor& labels, int64_t bins = 15);

/// The temperature T > 0 (Guo et al. 2017) for which softmax(logits / T) has the least negative log
/// likelihood; in [0.05, 20].
double fit_temperature(const Tensor& logits, const Tensor& labels);

}  // namespace flipside
