#include "flipside/data/image_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <opencv2/imgcodecs.hpp>

#include "flipside/core/random.h"
#include "support/temp_folder.h"

namespace flipside::image_io_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string encode(const std::string& ending, const cv::Mat& image) {
  std::vector<uint8_t> bytes;
  cv::imencode(ending, image, bytes);
  return {bytes.begin(), bytes.end()};
}

cv::Mat noise(int height, int width, int type, uint64_t seed) {
  Rng rng(seed);
  cv::Mat image(height, width, type);
  for (size_t i = 0; i < image.total() * image.elemSize(); ++i)
    image.data[i] = static_cast<uint8_t>(rng.below(256));
  return image;
}

/// The 3x2 gray picture 0 40 80 / 120 160 200 in blocks of 16 pixels, which JPEG keeps apart.
cv::Mat blocks() {
  cv::Mat image(32, 48, CV_8UC1);
  for (int y = 0; y < 32; ++y)
    for (int x = 0; x < 48; ++x)
      image.at<uint8_t>(y, x) = static_cast<uint8_t>(40 * (x / 16 + 3 * (y / 16)));
  return image;
}

std::string number(int value, int size, bool big_endian) {
  std::string bytes;
  for (int i = 0; i < size; ++i)
    bytes += static_cast<char>(value >> 8 * (big_endian ? size - 1 - i : i) & 255);
  return bytes;
}

/// An EXIF directory with one entry.
std::string exif(int orientation, bool big_endian) {
  const auto n = [big_endian](int value, int size) { return number(value, size, big_endian); };
  return (big_endian ? "MM" : "II") + n(42, 2) + n(8, 4) + n(1, 2) + n(0x112, 2) + n(3, 2) +
         n(1, 4) + n(orientation, 2) + n(0, 2) + n(0, 4);
}

std::string jpeg_with_exif(const cv::Mat& image, int orientation, bool big_endian) {
  const std::string segment = std::string("Exif\0\0", 6) + exif(orientation, big_endian);
  const int length = static_cast<int>(segment.size()) + 2;
  std::string bytes = encode(".jpg", image);
  return bytes.insert(2, "\xff\xe1" + number(length, 2, true) + segment);
}

/// An uncompressed 8-bit gray TIFF.
std::string tiff(const cv::Mat& image, int orientation) {
  const int count = static_cast<int>(image.total());
  const int tags[][3] = {{256, 4, image.cols},  {257, 4, image.rows}, {258, 3, 8},
                         {259, 3, 1},           {262, 3, 1},          {273, 4, 8},
                         {274, 3, orientation}, {277, 3, 1},          {278, 4, image.rows},
                         {279, 4, count}};
  std::string bytes = "II" + number(42, 2, false) + number(8 + count, 4, false);
  bytes.append(reinterpret_cast<const char*>(image.data), count);
  bytes += number(std::size(tags), 2, false);
  for (const auto& [tag, type, value] : tags)
    bytes += number(tag, 2, false) + number(type, 2, false) + number(1, 4, false) +
             number(value, 4, false);
  return bytes + number(0, 4, false);
}

/// Where EXIF puts stored pixel (row, column) of a picture: by the tag's definition, "the 0th row
/// is the visual ... side, the 0th column is the visual ... side".
cv::Point upright_place(int orientation, cv::Point stored, cv::Size size) {
  const int right = size.width - 1 - stored.x, below = size.height - 1 - stored.y;
  switch (orientation) {
    case 2:
      return {right, stored.y};
    case 3:
      return {right, below};
    case 4:
      return {stored.x, below};
    case 5:
      return {stored.y, stored.x};
    case 6:
      return {below, stored.x};
    case 7:
      return {below, right};
    case 8:
      return {stored.y, right};
    default:
      return stored;
  }
}

void expect_upright(const cv::Mat& shown, const cv::Mat& stored, int orientation) {
  const bool turned = orientation >= 5;
  ASSERT_EQ(shown.cols, turned ? stored.rows : stored.cols);
  for (int y = 8; y < stored.rows; y += 16)
    for (int x = 8; x < stored.cols; x += 16)
      EXPECT_NEAR(shown.at<cv::Vec3b>(upright_place(orientation, {x, y}, stored.size()))[0],
                  stored.at<uint8_t>(y, x), 4)
          << "orientation " << orientation << " at " << x << "," << y;
}

TEST(ReadImage, TurnsJpegAndTiffUprightByExif) {
  const TempFolder folder;
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const auto jpeg =
        folder.write("a.jpg", jpeg_with_exif(blocks(), orientation, orientation % 2 == 0));
    expect_upright(read_image(jpeg), blocks(), orientation);
    expect_upright(read_image(folder.write("a.tif", tiff(blocks(), orientation))), blocks(),
                   orientation);
  }
}

TEST(ReadImage, KeepsLosslessColoursInRgbOrder) {
  const TempFolder folder;
  const cv::Mat bgr = noise(5, 7, CV_8UC3, 1);
  for (const char* ending : {".png", ".bmp", ".tif"}) {
    const cv::Mat image = read_image(folder.write(std::string("a") + ending, encode(ending, bgr)));
    ASSERT_EQ(image.type(), CV_8UC3);
    ASSERT_EQ(image.size(), bgr.size());
    for (int y = 0; y < 5; ++y)
      for (int x = 0; x < 7; ++x)
        for (int c = 0; c < 3; ++c)
          ASSERT_EQ(image.at<cv::Vec3b>(y, x)[c], bgr.at<cv::Vec3b>(y, x)[2 - c]) << ending;
  }
}

TEST(ReadImage, ReadsWebp) {
  const TempFolder folder;
  const cv::Mat image =
      read_image(folder.write("a.webp", encode(".webp", cv::Mat(16, 24, CV_8UC3, {10, 90, 200}))));
  ASSERT_EQ(image.size(), cv::Size(24, 16));
  EXPECT_NEAR(image.at<cv::Vec3b>(8, 8)[0], 200, 6);
  EXPECT_NEAR(image.at<cv::Vec3b>(8, 8)[2], 10, 6);
}

TEST(ReadImage, ScalesSixteenBitsToEight) {
  const TempFolder folder;
  const cv::Mat deep = (cv::Mat_<uint16_t>(1, 4) << 0, 257, 128 * 257, 65535);
  for (const char* ending : {".png", ".tif"}) {
    const cv::Mat image = read_image(folder.write(std::string("a") + ending, encode(ending, deep)));
    const int expected[] = {0, 1, 128, 255};
    for (int x = 0; x < 4; ++x)
      EXPECT_EQ(image.at<cv::Vec3b>(0, x), cv::Vec3b::all(static_cast<uint8_t>(expected[x])));
  }
}

TEST(ReadImage, ComposesAlphaOverMidGray) {
  const TempFolder folder;
  cv::Mat bgra(1, 3, CV_8UC4);
  bgra.at<cv::Vec4b>(0, 0) = {0, 100, 255, 255};
  bgra.at<cv::Vec4b>(0, 1) = {0, 100, 255, 0};
  bgra.at<cv::Vec4b>(0, 2) = {0, 100, 255, 51};  // a fifth of the colour, four fifths of the gray
  const cv::Mat image = read_image(folder.write("a.png", encode(".png", bgra)));
  EXPECT_EQ(image.at<cv::Vec3b>(0, 0), cv::Vec3b(255, 100, 0));
  EXPECT_EQ(image.at<cv::Vec3b>(0, 1), cv::Vec3b(128, 128, 128));
  EXPECT_EQ(image.at<cv::Vec3b>(0, 2), cv::Vec3b(153, 122, 102));
}

TEST(ReadImage, DecodesASinglePixel) {
  const TempFolder folder;
  for (const char* ending : {".png", ".jpg", ".bmp", ".tif"}) {
    const cv::Mat image = read_image(
        folder.write(std::string("a") + ending, encode(ending, cv::Mat(1, 1, CV_8UC1, {70}))));
    ASSERT_EQ(image.size(), cv::Size(1, 1)) << ending;
    EXPECT_NEAR(image.at<cv::Vec3b>(0, 0)[0], 70, 2) << ending;
  }
}

TEST(ReadImage, RefusesTruncatedFiles) {
  const TempFolder folder;
  const cv::Mat image = noise(40, 40, CV_8UC3, 2);
  for (const char* ending : {".png", ".jpg", ".bmp", ".tif", ".webp"}) {
    const std::string bytes = encode(ending, image);
    for (double share : {0.01, 0.3, 0.7, 0.99}) {
      const auto path = folder.write(std::string("cut") + ending,
                                     bytes.substr(0, static_cast<size_t>(share * bytes.size())));
      EXPECT_THAT(message_of(ErrorCode::kImage, [&] { read_image(path); }), HasSubstr("cut"))
          << ending << " cut at " << share;
    }
  }
}

TEST(ReadImage, RefusesWhatIsNoImage) {
  const TempFolder folder;
  const auto message = [](const fs::path& path) {
    return message_of(ErrorCode::kImage, [&] { read_image(path); });
  };
  EXPECT_THAT(message(folder / "none.png"), AllOf(HasSubstr("none.png"), HasSubstr("no such")));
  EXPECT_THAT(message(folder.path()), HasSubstr("is no file"));
  EXPECT_THAT(message(folder.write("empty.png", "")), HasSubstr("empty"));
  EXPECT_THAT(message(folder.write("text.jpg", "hello")), HasSubstr("no JPEG, PNG"));
  EXPECT_THAT(message(folder.write("float.tif", encode(".tif", cv::Mat(2, 2, CV_32FC1, {0.5})))),
              HasSubstr("must be gray, RGB or RGBA of 8 or 16 bit"));
}

TEST(ReadImage, RefusesHugeImagesFromTheirHeader) {
  const TempFolder folder;
  const auto message = [&](const std::string& name, const std::string& bytes) {
    return message_of(ErrorCode::kImage, [&] { read_image(folder.write(name, bytes)); });
  };
  const auto refused =
      AllOf(HasSubstr("30000x30000"), HasSubstr("at most 20000"), HasSubstr("tile or scale"));
  const cv::Mat small = noise(4, 4, CV_8UC1, 3);
  std::string png = encode(".png", small);
  EXPECT_THAT(message("a.png", png.replace(16, 8, number(30000, 4, true) + number(30000, 4, true))),
              refused);
  std::string bmp = encode(".bmp", small);
  EXPECT_THAT(
      message("a.bmp", bmp.replace(18, 8, number(30000, 4, false) + number(30000, 4, false))),
      refused);
  std::string jpeg = encode(".jpg", small);
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  EXPECT_THAT(
      message("a.jpg", jpeg.replace(frame + 5, 4, number(30000, 2, true) + number(30000, 2, true))),
      refused);
  std::string stored = tiff(small, 1);  // 8 bytes, 16 pixels, 2 bytes; then entries of 12
  stored.replace(26 + 8, 4, number(30000, 4, false)).replace(38 + 8, 4, number(30000, 4, false));
  EXPECT_THAT(message("a.tif", stored), refused);
}

TEST(ReadMask, CountsAnyColourAboveHalf) {
  const TempFolder folder;
  cv::Mat bgr(1, 4, CV_8UC3, {0, 0, 0});
  bgr.at<cv::Vec3b>(0, 1) = {0, 0, 255};
  bgr.at<cv::Vec3b>(0, 2) = {127, 127, 127};
  bgr.at<cv::Vec3b>(0, 3) = {128, 128, 128};
  const cv::Mat mask = read_mask(folder.write("a.png", encode(".png", bgr)));
  ASSERT_EQ(mask.type(), CV_8UC1);
  EXPECT_EQ(mask.at<uint8_t>(0, 0), 0);
  EXPECT_EQ(mask.at<uint8_t>(0, 1), 255);
  EXPECT_EQ(mask.at<uint8_t>(0, 2), 0);
  EXPECT_EQ(mask.at<uint8_t>(0, 3), 255);
}

TEST(ReadMask, TakesZeroAndOneToo) {
  const TempFolder folder;
  cv::Mat gray(1, 3, CV_8UC1, cv::Scalar(0));
  gray.at<uint8_t>(0, 1) = 1;
  const cv::Mat mask = read_mask(folder.write("a.png", encode(".png", gray)));
  EXPECT_EQ(mask.at<uint8_t>(0, 0), 0);
  EXPECT_EQ(mask.at<uint8_t>(0, 1), 255);
  gray.at<uint8_t>(0, 2) = 2;  // levels of something else
  EXPECT_EQ(cv::countNonZero(read_mask(folder.write("b.png", encode(".png", gray)))), 0);
}

// As scikit-image and ImageJ write labels.
TEST(ReadMask, Of16BitWithEitherWhite) {
  const TempFolder folder;
  const auto marked = [&](uint16_t value) {
    cv::Mat gray(1, 3, CV_16UC1, cv::Scalar(0));
    gray.at<uint16_t>(0, 1) = value;
    return cv::countNonZero(read_mask(folder.write("a.png", encode(".png", gray))));
  };
  for (const uint16_t white : {1, 255, 65535}) EXPECT_EQ(marked(white), 1) << white;
  EXPECT_EQ(marked(0), 0);
  EXPECT_EQ(marked(100), 0);
  EXPECT_EQ(marked(1000), 0);
}

TEST(ReadMask, RefusesAnotherSize) {
  const TempFolder folder;
  const auto path = folder.write_image("mask.png", {255, 255, 255}, {6, 4});
  EXPECT_EQ(read_mask(path, {6, 4}).size(), cv::Size(6, 4));
  EXPECT_THAT(message_of(ErrorCode::kImage,
                         [&] {
                           read_mask(path, {4, 6});
                         }),
              AllOf(HasSubstr("mask.png"), HasSubstr("6x4"), HasSubstr("4x6")));
}

TEST(ResizeImage, AveragesAreasWhenShrinking) {
  const cv::Mat image = noise(6, 8, CV_8UC3, 4);
  const cv::Mat half = resize_image(image, {4, 3});
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 4; ++x)
      for (int c = 0; c < 3; ++c) {
        double sum = 0;
        for (int i = 0; i < 4; ++i) sum += image.at<cv::Vec3b>(2 * y + i / 2, 2 * x + i % 2)[c];
        EXPECT_NEAR(half.at<cv::Vec3b>(y, x)[c], sum / 4, 0.51);
      }
}

TEST(ResizeImage, ShrinksOneSideWhileTheOtherGrows) {
  cv::Mat image(2, 8, CV_8UC3);
  for (int x = 0; x < 8; ++x) image.col(x).setTo(cv::Scalar::all(x % 2 == 0 ? 0 : 200));
  const cv::Mat result = resize_image(image, {4, 4});
  ASSERT_EQ(result.size(), cv::Size(4, 4));
  EXPECT_EQ(cv::norm(result, cv::Mat(4, 4, CV_8UC3, cv::Scalar::all(100)), cv::NORM_INF), 0);
}

TEST(ResizeMask, IsDefectFromHalfOn) {
  cv::Mat mask(2, 6, CV_8UC1, cv::Scalar(0));
  mask.at<uint8_t>(0, 0) = 255;                           // a quarter
  mask.at<uint8_t>(0, 2) = mask.at<uint8_t>(1, 3) = 255;  // half
  mask(cv::Rect(4, 0, 2, 2)).setTo(255);                  // all
  const cv::Mat small = resize_mask(mask, {3, 1});
  EXPECT_EQ(small.at<uint8_t>(0, 0), 0);
  EXPECT_EQ(small.at<uint8_t>(0, 1), 255);
  EXPECT_EQ(small.at<uint8_t>(0, 2), 255);
}

TEST(Tensors, GoForthAndBack) {
  const cv::Mat image = noise(3, 5, CV_8UC3, 5);
  const Tensor tensor = to_tensor(image);
  ASSERT_EQ(tensor.sizes(), (at::IntArrayRef{3, 3, 5}));
  EXPECT_FLOAT_EQ(tensor[2][1][4].item<float>(), image.at<cv::Vec3b>(1, 4)[2] / 255.0f);
  EXPECT_EQ(cv::norm(to_image(tensor), image, cv::NORM_INF), 0);
  EXPECT_TRUE(tensor.permute({1, 2, 0}).is_contiguous());
  const Tensor beyond =
      torch::stack({torch::full({2, 2}, -1.0), torch::full({2, 2}, 2.0), torch::full({2, 2}, 0.5)});
  EXPECT_EQ(to_image(beyond).at<cv::Vec3b>(0, 0), cv::Vec3b(0, 255, 128));
}

TEST(Tensors, MasksAndMapsGoForthAndBack) {
  const cv::Mat mask = noise(4, 6, CV_8UC1, 6) > 100;
  const Tensor tensor = mask_to_tensor(mask);
  ASSERT_EQ(tensor.sizes(), (at::IntArrayRef{1, 4, 6}));
  EXPECT_EQ(tensor.sum().item<float>(), static_cast<float>(cv::countNonZero(mask)));
  EXPECT_EQ(cv::norm(to_mask_image(tensor), mask, cv::NORM_INF), 0);
  const Tensor map = torch::rand({4, 6});
  EXPECT_TRUE(torch::equal(from_float_map(to_float_map(map)), map.unsqueeze(0)));
}

TEST(WriteImage, WritesWhatReadImageReads) {
  const TempFolder folder;
  const cv::Mat image = noise(6, 9, CV_8UC3, 7);
  const cv::Mat copy = image.clone();
  write_image(folder / "new" / "a.png", image);
  EXPECT_EQ(cv::norm(image, copy, cv::NORM_INF), 0);
  EXPECT_EQ(cv::norm(read_image(folder / "new" / "a.png"), image, cv::NORM_INF), 0);
  write_image(folder / "gray.PNG", cv::Mat(2, 2, CV_8UC1, {9}));
  EXPECT_EQ(read_image(folder / "gray.PNG").at<cv::Vec3b>(1, 1), cv::Vec3b(9, 9, 9));
  EXPECT_THAT(message_of(ErrorCode::kIo, [&] { write_image(folder / "a.xyz", image); }),
              HasSubstr(".png or .jpg"));
  EXPECT_THAT(message_of(ErrorCode::kIo, [&] { write_image("/proc/none/a.png", image); }),
              HasSubstr("/proc/none"));
}

}  // namespace
}  // namespace flipside::image_io_test
