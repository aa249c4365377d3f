#pragma once

#include <string>
#include <vector>

#include "flipside/attack/suite.h"

namespace flipside {

/// Why a measured robustness may be too good to be true.
enum class WarningKind {
  kZeroGradient,   ///< gradients that are exactly zero
  kSquareWins,     ///< the black-box attack finds what the gradient attacks miss
  kStepsDisagree,  ///< PGD with 20 and with 100 steps differ
  kCurveDoesNotFall,
  kFullRange,      ///< right above chance where any image is allowed
  kRandom,         ///< another answer to the same images
  kProbabilities,  ///< outputs that look like probabilities, not logits
};

struct Warning {
  WarningKind kind;
  std::string text;
};

/// What can be seen on the victim itself, on up to 64 of the images: zero gradients, probabilities,
/// randomness, and accuracy under PGD-20, PGD-100 and Square at a bound of the full range.
std::vector<Warning> check_victim(const Victim& victim, const Tensor& images, const Tensor& labels,
                                  const SuiteOptions& options);

/// What a finished suite's record shows: Square stronger than the gradient attacks, 20 and 100
/// steps disagreeing, a curve that does not fall.
std::vector<Warning> check_record(const SuiteRecord& record);

}  // namespace flipside
