#include "flipside/data/image_facts.h"

#include <cmath>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/data/hash.h"
#include "flipside/data/image_io.h"
#include "flipside/data/parallel.h"

namespace flipside {
namespace {

uint64_t hash_pixels(const cv::Mat& image) {
  Hash hash;
  hash.mix(static_cast<uint64_t>(image.cols));
  hash.mix(static_cast<uint64_t>(image.rows));
  for (int y = 0; y < image.rows; ++y) {
    const auto* row = image.ptr<uint8_t>(y);
    for (size_t x = 0; x < image.cols * image.elemSize(); ++x) hash.mix(row[x]);
  }
  return hash.value();
}

void read_facts(ImageFacts& facts) {
  try {
    const cv::Mat image = read_image(facts.record.image);
    const cv::Scalar mean = cv::mean(image);
    facts.size = image.size();
    facts.hash = hash_pixels(image);
    facts.brightness = (mean[0] + mean[1] + mean[2]) / (3 * 255);
    facts.warmth = std::log((mean[0] + 1) / (mean[2] + 1));  // defined for black too
    double brightest = 0;
    cv::minMaxLoc(image.reshape(1), nullptr, &brightest);
    facts.brightest = static_cast<int>(brightest);
    facts.bytes = static_cast<int64_t>(fs::file_size(facts.record.image));
  } catch (const Error& error) {
    facts.problem = error.what();
    return;
  }
  if (facts.record.mask.empty()) return;
  try {
    facts.mask_is_empty = cv::countNonZero(read_mask(facts.record.mask, facts.size)) == 0;
  } catch (const Error& error) {
    facts.mask_problem = error.what();
  }
}

}  // namespace

std::vector<ImageFacts> gather_facts(const ImageFolder& folder) {
  std::vector<ImageFacts> facts;
  for (Split split : {Split::kTrain, Split::kVal, Split::kTest})
    for (const auto& record : folder.split(split)) {
      facts.emplace_back();
      facts.back().split = split;
      facts.back().record = record;
    }
  Progress bar("checking", static_cast<int64_t>(facts.size()), "img");
  for_each_index(
      static_cast<int64_t>(facts.size()), [&](int64_t i) { read_facts(facts[i]); },
      [&](int64_t) { bar.advance(1); });
  return facts;
}

}  // namespace flipside
