#pragma once

#include <vector>

#include "flipside/attack/threat_model.h"
#include "flipside/attack/victim.h"

namespace flipside {

struct FabOptions {
  int64_t steps = 100;
  int64_t restarts = 1;  ///< the first begins at the image, further ones at random near it
};

/// FAB (Croce and Hein 2020, "Minimally distorted adversarial examples"): the nearest image of
/// another class, by steps onto the linearised boundary that are drawn towards the original.
/// It needs no bound, only gradients, and does not mind their scale. Images [N,C,H,W] in [0,1],
/// float32 or float64; `streams`: N generators. One backward pass per wanted class and step.
/// Gives the nearest winning images found; where there is none, the image itself. `reach`: radius
/// of the random starts.
Tensor nearest_adversarial(const Victim& victim, Norm norm, const Tensor& images, const Goal& goal,
                           std::vector<Rng>& streams, double reach, const FabOptions& options = {});

/// The same as an attack within a bound: where the nearest one lies outside, the image itself.
Tensor fab(const Victim& victim, const ThreatModel& threat, const Tensor& images, const Goal& goal,
           std::vector<Rng>& streams, const FabOptions& options = {});

/// The points of [0,1] nearest in the norm to `points` [N,D] float64 at which the linear function
/// of slope `weights` [N,D], worth `values` [N] at `points`, is zero; where it is nowhere zero in
/// [0,1], the corner at which it is nearest to zero.
Tensor project_on_plane(Norm norm, const Tensor& points, const Tensor& weights,
                        const Tensor& values);

}  // namespace flipside
