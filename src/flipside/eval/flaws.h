#pragma once

#include <vector>

#include "flipside/core/finding.h"
#include "flipside/eval/evaluator.h"

namespace flipside {

// The lines that `find_flaws` draws.

/// A class or direction that fails more often than not.
constexpr double kHalf = 0.5;
/// Below this share of the way from chance to 1, a balanced accuracy is hardly better than guesses.
constexpr double kBetterThanChance = 0.3;
/// From here on masks are no sign of a defect (`false_marks`; docs/results.md, "Bad masks, known
/// without masks").
constexpr double kFalseMarks = 0.5;
/// Below: the same is painted in every image.
constexpr double kLeastDiversity = 0.1;
/// Shares over fewer images say little.
constexpr int64_t kFewImages = 30;

/// What a person should know before relying on a model that was measured so, with remedies, the
/// worst first. Nothing but labels is needed to find most of it:
///   warning: a class that is mostly taken for others, or classes that are hardly told apart; a
///            direction in which the generator gives up,
///            or convinces the model but not the judge; good images marked like defects; masks
///            below the trivial darkness map
///   note:    the same change in every image; casts of colour; changes of most of the image; an
///            answer that masks alone do not turn; classes with few images
std::vector<Finding> find_flaws(const Results& results);

}  // namespace flipside
