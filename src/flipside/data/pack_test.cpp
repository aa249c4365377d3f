#include "flipside/data/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flipside/core/safetensors.h"
#include "flipside/data/loader.h"
#include "support/noise_data.h"

namespace flipside::pack_test {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSide = 16;

DataConfig config_of_side(int64_t side) {
  DataConfig config;
  config.size = side;
  config.workers = 0;
  return config;
}

/// A folder of noise with masks, one exact counterfactual, and its pack.
class Pack : public ::testing::Test {
 protected:
  Pack() : file_(root_ / "data.safetensors") {
    write_noise_data(root_ / "data", {"crack", "intact"}, 3);
    root_.write_image("data/test/counterfactuals/crack/1.png", {10, 20, 30}, {16, 16});
    folder_ = scan_image_folder(root_ / "data", config_of_side(kSide));
  }
  void write() { write_pack(folder_, kSide, file_); }
  /// The file read, changed and written again.
  template <typename Change>
  void rewrite(const Change& change) {
    SafetensorsFile file = read_safetensors(file_);
    change(file);
    write_safetensors(file_, file);
  }
  std::string refusal() {
    return message_of(ErrorCode::kData, [&] { read_pack(file_); });
  }

  TempFolder root_;
  fs::path file_;
  ImageFolder folder_;
};

bool same_values(const Tensor& a, const Tensor& b) {
  if (a.defined() != b.defined()) return false;
  return !a.defined() || torch::equal(a.nan_to_num(2), b.nan_to_num(2));
}

TEST_F(Pack, GivesTheBatchesOfItsFolder) {
  EXPECT_EQ(write_pack(folder_, kSide, file_).images, 18);
  DataConfig config = config_of_side(kSide);
  config.split_seed = 77;  // a pack keeps its splits
  const ImageFolder packed = scan_image_folder(file_, config);
  EXPECT_EQ(packed.class_names, folder_.class_names);
  EXPECT_EQ(packed.reference_class, folder_.reference_class);
  EXPECT_TRUE(packed.has_masks(Split::kTest));
  TrainLoader files(folder_, Split::kTrain, config, 4, /*seed=*/5);
  TrainLoader pack(packed, Split::kTrain, config, 4, /*seed=*/5);
  for (int step = 0; step < 6; ++step) {
    const Batch a = files.next(), b = pack.next();
    EXPECT_TRUE(same_values(a.images, b.images) && same_values(a.labels, b.labels) &&
                same_values(a.masks, b.masks));
  }
  for (const Split split : kSplits) {
    EvalLoader from_files(folder_, split, config, 4), from_pack(packed, split, config, 4);
    ASSERT_EQ(from_files.size(), from_pack.size());
    for (Batch a, b; from_files.next(a) && from_pack.next(b);) {
      EXPECT_TRUE(same_values(a.images, b.images) && same_values(a.masks, b.masks));
      for (int64_t i = 0; i < a.indices.size(0); ++i) {
        const int64_t index = a.indices[i].item<int64_t>();
        EXPECT_EQ(from_files.record(index).image, root_ / "data" / from_pack.record(index).image);
        EXPECT_TRUE(same_values(from_files.counterfactual(index), from_pack.counterfactual(index)));
      }
    }
  }
}

TEST_F(Pack, HoldsTheExactCounterfactualAndTheSizesBeforeStretching) {
  root_.write_image("data/train/intact/wide.png", {1, 2, 3}, {50, 10});
  folder_ = scan_image_folder(root_ / "data", config_of_side(kSide));
  write();
  const ImageFolder packed = read_pack(file_);
  const EvalLoader loader(packed, Split::kTest, config_of_side(kSide), 4);
  int64_t found = 0;
  for (int64_t i = 0; i < loader.size(); ++i) {
    const Tensor exact = loader.counterfactual(i);
    if (!exact.defined()) continue;
    ++found;
    EXPECT_EQ(loader.record(i).image, "test/crack/1.png");
    for (int c = 0; c < 3; ++c)
      EXPECT_TRUE(torch::allclose(exact[c], torch::full({kSide, kSide}, (10.0f + 10 * c) / 255)));
  }
  EXPECT_EQ(found, 1);
  const TrainLoader train(packed, Split::kTrain, config_of_side(kSide), 2, 1);
  EXPECT_THAT(train.native_sizes(), ::testing::Contains(ImageSize{50, 10}));
}

TEST_F(Pack, LeavesOutWhatCannotBeRead) {
  root_.write("data/train/intact/broken.png", "no image");
  folder_ = scan_image_folder(root_ / "data", config_of_side(kSide));
  const PackCounts counts = write_pack(folder_, kSide, file_);
  EXPECT_EQ(counts.images, 18);
  EXPECT_EQ(counts.unreadable, 1);
  EXPECT_EQ(read_pack(file_).split(Split::kTrain).size(), 6u);
  fs::remove_all(root_ / "data/train/crack");
  for (const char* split : {"val", "test"})
    for (int i = 0; i < 3; ++i)
      root_.write(fmt::format("data/{}/crack/{}.png", split, i), "no image");
  folder_ = scan_image_folder(root_ / "data", config_of_side(kSide));
  EXPECT_THAT(message_of(ErrorCode::kData, [&] { write(); }),
              HasSubstr("class crack has no readable image"));
}

TEST_F(Pack, RefusesAnotherSizeAndNamesTheRemedy) {
  write();
  EXPECT_THAT(message_of(ErrorCode::kConfig, [&] { scan_image_folder(file_, config_of_side(32)); }),
              HasSubstr("holds images of 16x16 pixels, but data.size = 32: train with --size 16"));
  EXPECT_THAT(message_of(ErrorCode::kData, [&] { write_pack(read_pack(file_), kSide, file_); }),
              HasSubstr("is a pack already"));
}

TEST_F(Pack, RefusesTruncatedAndForeignFiles) {
  write();
  const std::string whole = read_file(file_);
  root_.write("data.safetensors", whole.substr(0, whole.size() - 100));
  EXPECT_THAT(message_of(ErrorCode::kCheckpoint, [&] { read_pack(file_); }),
              HasSubstr("truncated"));
  std::string damaged = whole;
  damaged[whole.size() / 2] ^= 1;
  root_.write("data.safetensors", damaged);
  EXPECT_THAT(message_of(ErrorCode::kCheckpoint, [&] { read_pack(file_); }), HasSubstr("checksum"));
  write_safetensors(file_, {{{"x", torch::zeros({2})}}, {}});
  EXPECT_THAT(refusal(), HasSubstr("is no packed data set"));
  fs::remove(file_);
  EXPECT_THAT(refusal(), HasSubstr("no such file; make it with: flipside data pack"));
}

TEST_F(Pack, RefusesTensorsThatDoNotFitOneAnother) {
  const auto refused_with = [&](const auto& change) {
    write();
    rewrite(change);
    return refusal();
  };
  EXPECT_THAT(refused_with([](auto& f) { f.tensors.erase("labels"); }),
              HasSubstr("labels is missing"));
  EXPECT_THAT(refused_with([](auto& f) { f.tensors["labels"].fill_(2); }),
              HasSubstr("has label 2 and split 0: must be in [0,2)"));
  EXPECT_THAT(refused_with([](auto& f) { f.tensors["splits"].fill_(3); }), HasSubstr("split 3"));
  EXPECT_THAT(refused_with([](auto& f) { f.tensors["masks"].fill_(7); }),
              HasSubstr("values must be 0 or 255"));
  EXPECT_THAT(refused_with([](auto& f) {
                f.tensors["images"] = f.tensors["images"].slice(3, 0, 8).contiguous();
              }),
              HasSubstr("must be square images"));
  EXPECT_THAT(refused_with([](auto& f) {
                f.tensors["masks"] = f.tensors["masks"].slice(0, 0, 1).contiguous();
              }),
              HasSubstr("masks has"));
  EXPECT_THAT(refused_with([](auto& f) { f.metadata["images"] = "[\"one\"]"; }),
              HasSubstr("1 paths for 18 images"));
  EXPECT_THAT(refused_with([](auto& f) { f.metadata["reference_class"] = "x"; }),
              HasSubstr("must be one of crack, intact"));
  EXPECT_THAT(refused_with([](auto& f) { f.metadata["format_version"] = "2"; }),
              HasSubstr("pack the folder again"));
}

}  // namespace
}  // namespace flipside::pack_test
