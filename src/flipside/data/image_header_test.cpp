#include "flipside/data/image_header.h"

#include <gtest/gtest.h>

#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

#include "flipside/core/random.h"

namespace flipside::image_header_test {
namespace {

using Format = ImageHeader::Format;

std::string encode(const std::string& ending) {
  cv::Mat image(11, 13, CV_8UC3);
  for (size_t i = 0; i < image.total() * 3; ++i) image.data[i] = static_cast<uint8_t>(i * 7);
  std::vector<uint8_t> bytes;
  cv::imencode(ending, image, bytes);
  return {bytes.begin(), bytes.end()};
}

TEST(ReadImageHeader, KnowsFormatAndSize) {
  const std::pair<const char*, Format> formats[] = {{".png", Format::kPng},
                                                    {".jpg", Format::kJpeg},
                                                    {".bmp", Format::kBmp},
                                                    {".tif", Format::kTiff},
                                                    {".webp", Format::kWebp}};
  for (const auto& [ending, format] : formats) {
    const ImageHeader header = read_image_header(encode(ending));
    EXPECT_EQ(header.format, format) << ending;
    EXPECT_EQ(header.width, 13) << ending;
    EXPECT_EQ(header.height, 11) << ending;
    EXPECT_EQ(header.orientation, 1) << ending;
    EXPECT_TRUE(header.complete) << ending;
  }
  EXPECT_EQ(read_image_header("GIF89a").format, Format::kUnknown);
}

TEST(ReadImageHeader, SeesEveryTruncation) {
  for (const char* ending : {".png", ".jpg", ".bmp", ".webp"}) {
    const std::string bytes = encode(ending);
    for (size_t length = 0; length < bytes.size(); ++length) {
      const ImageHeader header = read_image_header(std::string_view(bytes).substr(0, length));
      EXPECT_TRUE(header.format == Format::kUnknown || !header.complete)
          << ending << " cut to " << length << " of " << bytes.size();
    }
  }
}

TEST(ReadImageHeader, SurvivesDamagedBytes) {
  Rng rng(1);
  for (const char* ending : {".png", ".jpg", ".bmp", ".tif", ".webp"}) {
    const std::string whole = encode(ending);
    for (int round = 0; round < 300; ++round) {
      std::string bytes = whole;
      for (int i = 0; i < 4; ++i)
        bytes[rng.below(static_cast<int64_t>(bytes.size()))] = static_cast<char>(rng.below(256));
      const ImageHeader header = read_image_header(bytes);
      EXPECT_TRUE(header.orientation >= 1 && header.orientation <= 8);
      EXPECT_GE(header.width, 0);
      EXPECT_GE(header.height, 0);
    }
  }
}

}  // namespace
}  // namespace flipside::image_header_test
