#pragma once

#include <string>
#include <vector>

#include "flipside/core/random.h"
#include "flipside/data/dataset.h"
#include "flipside/model/model.h"
#include "support/temp_folder.h"

namespace flipside {

/// Images of noise, 16 by 16, in train/, val/ and test/ of `root`; the first class has masks when
/// `masks` is true, but its first test image has none. `per_class`: 1 to 10.
inline void write_noise_data(const fs::path& root, const std::vector<std::string>& class_names,
                             int per_class, bool masks = true) {
  constexpr int kSide = 16;
  Rng rng(9);
  for (const std::string split : {"train", "val", "test"})
    for (const auto& name : class_names)
      for (int i = 0; i < per_class; ++i) {
        const fs::path file = name + "/" + std::to_string(i) + ".png";
        cv::Mat image(kSide, kSide, CV_8UC3);
        for (int k = 0; k < kSide * kSide * 3; ++k)
          image.data[k] = static_cast<uint8_t>(rng.below(256));
        write_image(root / split / file, image);
        if (!masks || name != class_names[0] || (split == "test" && i == 0)) continue;
        cv::Mat mask = cv::Mat::zeros(kSide, kSide, CV_8UC1);
        mask(cv::Rect(i % 8, 1, 5 + i % 3, 4 + i)).setTo(255);  // each of another area
        write_image(root / split / "masks" / file, mask);
      }
}

}  // namespace flipside
