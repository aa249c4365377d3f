#pragma once

#include <optional>
#include <string>
#include <vector>

#include "flipside/attack/victim.h"
#include "flipside/core/process_group.h"
#include "flipside/data/dataset.h"
#include "flipside/explain/uncertainty.h"

namespace flipside {

/// One score as a judge of answers, on clean images.
struct DoubtQuality {
  std::string score;
  double auroc = 0;  ///< wrong answers against right ones; NaN where all are right
  double aurc = 0, risk_80 = 0, risk_90 = 0, risk_95 = 0;
  std::vector<double> risks;  ///< risk when 1, 2, .., N images are answered
};

/// One score as a detector of one kind of strange image, against the clean images of the split.
struct StrangeQuality {
  std::string score;
  double auroc = 0, fpr95 = 0;
  double auroc_wrong = 0;  ///< of the wrongly answered ones alone; NaN where there are none
};

/// One kind of strange image.
struct StrangeImages {
  std::string name;  ///< "blurred", "attacked", ...
  std::string how;   ///< how they were made
  int64_t images = 0;
  int64_t wrong = 0;    ///< 0 where there is no true class
  double accuracy = 0;  ///< NaN there
  std::vector<StrangeQuality> scores;
};

struct DoubtResults {
  Split split = Split::kTest;
  int64_t images = 0, wrong = 0;
  int64_t validation_images = 0, validation_wrong = 0;
  double temperature = 1;  ///< fitted on validation images
  double ece = 0;          ///< of the answers
  double ece_scaled = 0;   ///< of the logits at that temperature
  std::vector<DoubtQuality> scores;
  std::vector<StrangeImages> strange;
};

struct DoubtOptions {
  Split split = Split::kTest;
  fs::path foreign;        ///< a folder of images of something else; empty: none
  double eps = 4.0 / 255;  ///< L-inf bound of the attacks
  int64_t batch = 32;
  uint64_t seed = 1;
};

/// Measures every score of `doubt_scores` and their combination, which is fitted (as the
/// temperature is) on the validation split alone. Throws `Error(kData)` when the folder does not
/// fit the model or a split is empty.
DoubtResults measure_doubt(const Model& model, const ImageFolder& folder,
                           const DoubtOptions& options);

/// The score of `answer_scores` by which answers are doubted, and its threshold for the share
/// `coverage` of the validation images: answer, or max_softmax where the model averages over no
/// views; another one where its AURC on these images is the lowest and a fifth lower than that, and
/// at least five answers are wrong, which is little to choose by. Nothing for a segmenter or
/// without validation images. In a group every process calls this and does its share of the images.
std::optional<DoubtRule> choose_doubt_rule(const Model& model, const ImageFolder& folder,
                                           double coverage, const ProcessGroup& group = {});

/// The threshold of the score that lets the share `accept` of clean validation images through.
/// Throws `Error(kData)` without validation images.
double choose_reject_threshold(const Model& model, const ImageFolder& folder, RejectScore score,
                               double accept);

std::string to_text(const DoubtResults& results);
std::string to_json(const DoubtResults& results);

}  // namespace flipside
