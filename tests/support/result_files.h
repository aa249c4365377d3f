#pragma once

#include <nlohmann/json.hpp>
#include <opencv2/core.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "flipside/core/file.h"

namespace flipside {

/// An image of noise, never quite black or white, the same for the same seed.
inline cv::Mat noise_image(cv::Size size, int seed) {
  cv::Mat image(size, CV_8UC3);
  cv::RNG rng(seed);
  rng.fill(image, cv::RNG::UNIFORM, 40, 215);
  return image;
}

/// The lines of a .jsonl file.
inline std::vector<nlohmann::ordered_json> read_json_lines(const fs::path& path) {
  std::istringstream stream(read_file(path));
  std::vector<nlohmann::ordered_json> lines;
  for (std::string line; std::getline(stream, line);)
    lines.push_back(nlohmann::ordered_json::parse(line));
  return lines;
}

}  // namespace flipside
