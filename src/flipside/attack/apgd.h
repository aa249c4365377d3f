#pragma once

#include <vector>

#include "flipside/attack/threat_model.h"
#include "flipside/attack/victim.h"

namespace flipside {

struct ApgdOptions {
  int64_t steps = 100;
  int64_t restarts = 1;
  AttackLoss loss = AttackLoss::kCrossEntropy;
  bool stop_when_won = true;  ///< false: all steps of all restarts
};

/// Auto-PGD (Croce and Hein 2020, "Reliable evaluation of adversarial robustness", algorithm 1):
/// no step size to choose. Steps begin at 2 eps with momentum 0.75 and are halved at checkpoints
/// where too few of them raised the loss, the ascent then going on from the best point.
/// Images [N,C,H,W] in [0,1]; `streams`: N generators. Gives N images within the threat: the first
/// winning point of each, else, or with `stop_when_won` false, the point of highest loss.
Tensor apgd(const Victim& victim, const ThreatModel& threat, const Tensor& images, const Goal& goal,
            std::vector<Rng>& streams, const ApgdOptions& options = {});

/// The steps after which step sizes are reconsidered: w_j = ceil(p_j steps), p_0 = 0, p_1 = 0.22,
/// p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), those < `steps`.
std::vector<int64_t> apgd_checkpoints(int64_t steps);

}  // namespace flipside
