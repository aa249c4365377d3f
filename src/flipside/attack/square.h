#pragma once

#include <vector>

#include "flipside/attack/threat_model.h"
#include "flipside/attack/victim.h"

namespace flipside {

struct SquareOptions {
  int64_t queries = 1000;    ///< forward passes per image
  double first_share = 0.8;  ///< share of the image that the first squares cover
};

/// Square attack (Andriushchenko et al. 2020), L-inf and L2: random search with squares of changing
/// colour that shrink over the queries; a change is kept when it raises the margin. It sees logits
/// only, so it finds what a hidden gradient hides from the others. Images [N,C,H,W] in [0,1],
/// float32; `streams`: N generators. Gives N images within the threat.
Tensor square(const Victim& victim, const ThreatModel& threat, const Tensor& images,
              const Goal& goal, std::vector<Rng>& streams, const SquareOptions& options = {});

/// Side of the square at query `query` of `queries`, in pixels: the share of the image is halved
/// at 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10000.
int64_t square_side(int64_t query, const SquareOptions& options, int64_t height, int64_t width);

}  // namespace flipside
