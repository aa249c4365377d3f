#pragma once

#include <vector>

#include "flipside/attack/threat_model.h"
#include "flipside/attack/victim.h"

namespace flipside {

/// Fast gradient sign method (Goodfellow et al. 2015): one step of size eps from the images; in L2
/// along the gradient's direction. Images [N,C,H,W] in [0,1]; gives as many.
Tensor fgsm(const Victim& victim, const ThreatModel& threat, const Tensor& images, const Goal& goal,
            AttackLoss loss = AttackLoss::kCrossEntropy);

struct PgdOptions {
  int64_t steps = 20;
  int64_t restarts = 1;
  double step_size = 0;  ///< in the units of eps; 0: 2.5 eps / steps (Madry et al. 2018)
  bool random_start = true;
  AttackLoss loss = AttackLoss::kCrossEntropy;
  /// An image stops at the first point that wins; else at the last point of the one restart, to
  /// which no further pass looks (`pgd_from`).
  bool stop_when_won = true;
};

/// Projected gradient ascent (Madry et al. 2018), x' = project(x + step ascent(grad loss)).
/// Images [N,C,H,W] in [0,1]; `streams`: N generators. Gives N images within the threat: the first
/// winning point of each, else the last one. Parameters' gradients are left untouched. Works where
/// the images are, the goal with them; what is drawn is drawn on the CPU, the same numbers
/// anywhere.
Tensor pgd(const Victim& victim, const ThreatModel& threat, const Tensor& images, const Goal& goal,
           std::vector<Rng>& streams, const PgdOptions& options = {});

/// The last point of `options.steps` steps from `start`, whether or not one wins: what training
/// wants. The host asks for nothing meanwhile, so that a CUDA graph can record it. Restarts, random
/// start and stopping are not looked at.
Tensor pgd_from(const Tensor& start, const Victim& victim, const ThreatModel& threat,
                const Tensor& images, const Goal& goal, const PgdOptions& options);

/// KL(p || q) of each image [N], with p and q the softmax of logits [N,K].
Tensor divergence(const Tensor& p_logits, const Tensor& q_logits);

/// Images whose answer is as far as possible from that on `images`, whatever it is: projected
/// ascent of `divergence` from a point beside the images (TRADES, Zhang et al. 2019, algorithm 1).
/// `gaussian` [N,C,H,W] of deviation 1, where the images are, says which point; steps of
/// 2.5 eps / steps.
Tensor divergence_attack(const Victim& victim, const ThreatModel& threat, const Tensor& images,
                         const Tensor& gaussian, int64_t steps);

}  // namespace flipside
