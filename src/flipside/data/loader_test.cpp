#include "flipside/data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "flipside/data/parallel.h"
#include "flipside/data/picture_store.h"
#include "support/temp_folder.h"

namespace flipside::loader_test {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSide = 16;

DataConfig small_config(int64_t workers) {
  DataConfig config;
  config.size = kSide;
  config.workers = workers;
  return config;
}

/// No augmentation, so that every image can be told by its colour.
DataConfig plain_config(int64_t workers) {
  DataConfig config = small_config(workers);
  config.flip = config.turn = false;
  config.zoom = config.shift = config.gain = config.offset = config.tint = 0;
  return config;
}

/// Training images of one colour each: red counts the images, green is 100 times the class. The
/// first class, "bad", has masks whose left half is defect.
ImageFolder make_data(const TempFolder& folder, const std::vector<int>& per_class) {
  const std::vector<std::string> names{"bad", "good", "worse"};
  int red = 0;
  for (size_t label = 0; label < per_class.size(); ++label)
    for (int i = 0; i < per_class[label]; ++i) {
      const std::string file = names[label] + fmt::format("/{:02}.png", i);
      folder.write_image("train/" + file, cv::Scalar(red++, 100.0 * label, 7), {20, 20});
      if (label > 0) continue;
      cv::Mat mask(20, 20, CV_8UC1, cv::Scalar(0));
      mask.colRange(0, 10).setTo(255);
      write_image(folder / ("train/masks/" + file), mask);
    }
  folder.write_image("val/bad/0.png", {0, 0, 0});
  folder.write_image("val/good/0.png", {0, 0, 0});
  return scan_image_folder(folder.path(), {});
}

bool equal(const Batch& a, const Batch& b) {
  return torch::equal(a.images, b.images) && torch::equal(a.labels, b.labels) &&
         torch::equal(a.indices, b.indices) && a.masks.defined() == b.masks.defined() &&
         (!a.masks.defined() || torch::equal(a.masks.nan_to_num(2), b.masks.nan_to_num(2)));
}

TEST(TrainLoader, BatchesDependOnSeedAndStepAlone) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {5, 9});
  TrainLoader plain(data, Split::kTrain, small_config(0), 4, /*seed=*/7);
  TrainLoader threaded(data, Split::kTrain, small_config(3), 4, 7);
  TrainLoader resumed(data, Split::kTrain, small_config(2), 4, 7, /*first_step=*/6);
  TrainLoader other(data, Split::kTrain, small_config(0), 4, 8);
  DataConfig uncached = small_config(1);
  uncached.cache_mb = 0;
  TrainLoader decoding(data, Split::kTrain, uncached, 4, 7);
  bool differs = false;
  for (int step = 0; step < 20; ++step) {
    const Batch batch = plain.next();
    EXPECT_TRUE(equal(batch, threaded.next())) << "step " << step;
    EXPECT_TRUE(equal(batch, decoding.next())) << "step " << step;
    if (step >= 6) {
      EXPECT_TRUE(equal(batch, resumed.next())) << "step " << step;
    }
    differs |= !equal(batch, other.next());
  }
  EXPECT_TRUE(differs);
}

TEST(TrainLoader, SharesTogetherAreTheBatch) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {5, 9});
  TrainLoader whole(data, Split::kTrain, small_config(0), 7, /*seed=*/7);
  std::vector<std::unique_ptr<TrainLoader>> shares;
  for (int64_t i = 0; i < 3; ++i)
    shares.push_back(std::make_unique<TrainLoader>(data, Split::kTrain, small_config(1), 7, 7,
                                                   /*first_step=*/0, at::kCPU, Shard{i, 3}));
  for (int step = 0; step < 5; ++step) {
    const Batch batch = whole.next();
    EXPECT_FALSE(batch.all_labels.defined());
    for (int64_t i = 0; i < 3; ++i) {
      const Batch share = shares[i]->next();
      EXPECT_TRUE(torch::equal(share.images, batch.images.slice(0, i, 7, 3)));
      EXPECT_TRUE(torch::equal(share.labels, batch.labels.slice(0, i, 7, 3)));
      EXPECT_TRUE(torch::equal(share.indices, batch.indices.slice(0, i, 7, 3)));
      EXPECT_TRUE(torch::equal(share.all_labels, batch.labels));
    }
  }
  EXPECT_NE(message_of(
                ErrorCode::kArgument,
                [&] {
                  TrainLoader(data, Split::kTrain, small_config(0), 2, 7, 0, at::kCPU, Shard{0, 3});
                }),
            "");
}

TEST(TrainLoader, BatchesHaveTheStatedForm) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {3, 3});
  TrainLoader loader(data, Split::kTrain, plain_config(1), 6, 1);
  for (int step = 0; step < 5; ++step) {
    const Batch batch = loader.next();
    ASSERT_EQ(batch.images.sizes(), (at::IntArrayRef{6, 3, kSide, kSide}));
    EXPECT_TRUE(batch.images.is_contiguous(kChannelsLast));
    ASSERT_EQ(batch.masks.sizes(), (at::IntArrayRef{6, 1, kSide, kSide}));
    for (int64_t i = 0; i < 6; ++i) {
      const int64_t index = batch.indices[i].item<int64_t>();
      const int64_t label = data.split(Split::kTrain)[index].label;
      EXPECT_EQ(batch.labels[i].item<int64_t>(), label);
      const Tensor red = batch.images[i][0], green = batch.images[i][1];
      EXPECT_TRUE(torch::allclose(red, torch::full_like(red, index / 255.0)));
      EXPECT_TRUE(torch::allclose(green, torch::full_like(green, label * 100 / 255.0)));
      const Tensor mask = batch.masks[i][0];
      if (label == 1) {
        EXPECT_TRUE(mask.isnan().all().item<bool>());
      } else {
        EXPECT_EQ(mask.slice(1, 0, kSide / 2).min().item<float>(), 1);
        EXPECT_EQ(mask.slice(1, kSide / 2).max().item<float>(), 0);
      }
    }
  }
}

TEST(TrainLoader, ClassesTakeTurnsAndUseEveryImageEachEpoch) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {2, 5, 3});
  TrainLoader loader(data, Split::kTrain, plain_config(0), 5, 3);
  std::vector<int64_t> per_class(3);
  std::vector<std::vector<int64_t>> drawn(3);
  for (int step = 0; step < 30; ++step) {
    const Batch batch = loader.next();
    std::vector<int64_t> in_batch(3);
    for (int64_t i = 0; i < 5; ++i) {
      const int64_t label = batch.labels[i].item<int64_t>();
      ++in_batch[label];
      drawn[label].push_back(batch.indices[i].item<int64_t>());
    }
    for (int64_t count : in_batch) EXPECT_TRUE(count == 1 || count == 2);
  }
  const size_t members[] = {2, 5, 3};
  for (int label = 0; label < 3; ++label) {
    ASSERT_EQ(drawn[label].size(), 50u);
    std::set<std::vector<int64_t>> orders;
    for (size_t at = 0; at + members[label] <= 50; at += members[label]) {
      const std::vector<int64_t> epoch(drawn[label].begin() + at,
                                       drawn[label].begin() + at + members[label]);
      EXPECT_EQ(std::set<int64_t>(epoch.begin(), epoch.end()).size(), members[label]);
      orders.insert(epoch);
    }
    EXPECT_GT(orders.size(), 1u);  // shuffled anew
  }
}

TEST(TrainLoader, WithoutBalanceEveryImageCountsAlike) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {2, 6});
  DataConfig config = plain_config(0);
  config.balanced = false;
  TrainLoader loader(data, Split::kTrain, config, 8, 3);
  for (int step = 0; step < 4; ++step) EXPECT_EQ(loader.next().labels.sum().item<int64_t>(), 6);
}

TEST(TrainLoader, SkipsUnreadableImagesAndNeedsOneOfEachClass) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {2, 3});
  folder.write("train/bad/00.png", "no image");
  folder.write_image("train/masks/bad/01.png", {255, 255, 255}, {3, 3});
  EXPECT_THAT(message_of(ErrorCode::kData,
                         [&] { TrainLoader(data, Split::kTrain, plain_config(1), 2, 1); }),
              HasSubstr("class bad has no readable training images"));
  folder.write_image("train/masks/bad/01.png", {255, 255, 255}, {20, 20});
  TrainLoader loader(data, Split::kTrain, plain_config(1), 2, 1);
  for (int step = 0; step < 6; ++step)
    EXPECT_EQ(loader.next().images.index({at::indexing::Slice(), 0}).eq(0).sum().item<int64_t>(), 0)
        << "the unreadable image, of red 0, was drawn";
}

TEST(TrainLoader, KnowsTheSizesBeforeStretching) {
  const TempFolder folder;
  ImageFolder data = make_data(folder, {1, 1});
  folder.write_image("train/good/wide.png", {9, 9, 9}, {50, 10});
  folder.write("train/good/broken.png", "no image");
  data = scan_image_folder(folder.path(), {});
  const TrainLoader loader(data, Split::kTrain, plain_config(0), 2, 1);
  EXPECT_THAT(loader.native_sizes(), ::testing::UnorderedElementsAre(
                                         ImageSize{20, 20}, ImageSize{20, 20}, ImageSize{50, 10}));
}

TEST(TrainLoader, RethrowsWhatAWorkerThrew) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {2, 2});
  DataConfig config = plain_config(2);
  config.cache_mb = 0;
  TrainLoader loader(data, Split::kTrain, config, 2, 1);
  loader.next();
  fs::remove_all(folder / "train");
  const std::string message = message_of(ErrorCode::kImage, [&] {
    for (int step = 0; step < 20; ++step) loader.next();
  });
  EXPECT_THAT(message, HasSubstr("no such file"));
}

TEST(TrainLoader, RefusesAnEmptyBatch) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {1, 1});
  EXPECT_THAT(message_of(ErrorCode::kArgument,
                         [&] { TrainLoader(data, Split::kTrain, plain_config(0), 0, 1); }),
              HasSubstr("batch = 0"));
}

TEST(EvalLoader, GoesThroughASplitOnceInOrder) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {3, 4});
  folder.write("train/good/01.png", "no image");  // record 4
  EvalLoader loader(data, Split::kTrain, small_config(1), 4);
  EXPECT_EQ(loader.size(), 6);
  for (int round = 0; round < 2; ++round) {
    std::vector<int64_t> seen;
    std::vector<int64_t> sizes;
    Batch batch;
    while (loader.next(batch)) {
      sizes.push_back(batch.images.size(0));
      for (int64_t i = 0; i < batch.images.size(0); ++i) {
        const int64_t index = batch.indices[i].item<int64_t>();
        seen.push_back(index);
        EXPECT_EQ(loader.record(index).label, batch.labels[i].item<int64_t>());
        EXPECT_NEAR(batch.images[i][0][5][5].item<double>(), index / 255.0, 1e-6);
      }
    }
    EXPECT_THAT(sizes, ::testing::ElementsAre(4, 2));
    EXPECT_THAT(seen, ::testing::ElementsAre(0, 1, 2, 3, 5, 6));
    loader.reset();
  }
}

TEST(EvalLoader, ReadsChosenImagesAgainInTheOrderAskedFor) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {3, 4});
  EvalLoader loader(data, Split::kTrain, small_config(1), 4);
  Batch batch;
  ASSERT_TRUE(loader.next(batch));
  const Batch chosen = loader.read({5, 0, 5});
  for (int64_t i = 0; i < 3; ++i) {
    const int64_t index = i == 1 ? 0 : 5;
    EXPECT_EQ(chosen.indices[i].item<int64_t>(), index);
    EXPECT_EQ(chosen.labels[i].item<int64_t>(), index < 3 ? 0 : 1);
    EXPECT_NEAR(chosen.images[i][0][5][5].item<double>(), index / 255.0, 1e-6);
  }
  ASSERT_TRUE(loader.next(batch));
  EXPECT_EQ(batch.indices[0].item<int64_t>(), 4);  // the way through the split goes on
}

TEST(EvalLoader, TakesPicturesThatAreKept) {
  const TempFolder folder;
  ImageFolder data = make_data(folder, {3, 4});
  keep_pictures(data, Split::kTrain, small_config(1));
  keep_pictures(data, Split::kTest, small_config(1));  // has no image: nothing to keep
  const ImageFolder copy = data;
  fs::remove_all(folder / "train");
  EvalLoader loader(copy, Split::kTrain, small_config(1), 16);
  Batch batch;
  ASSERT_TRUE(loader.next(batch));
  for (int64_t i = 0; i < 7; ++i)
    EXPECT_NEAR(batch.images[i][0][5][5].item<double>(), i / 255.0, 1e-6);
  DataConfig other = small_config(1);
  other.size = 2 * kSide;
  EXPECT_THAT(message_of(ErrorCode::kData, [&] { EvalLoader(copy, Split::kTrain, other, 16); }),
              HasSubstr("no readable image"));
  EXPECT_THAT(
      message_of(
          ErrorCode::kData,
          [&] { EvalLoader(thinned(copy, Split::kTrain, 2), Split::kTrain, small_config(1), 16); }),
      HasSubstr("no readable image"));
  ImageFolder swapped = copy;  // as many records, in another order
  std::swap(swapped.records[0].front(), swapped.records[0].back());
  EXPECT_THAT(message_of(ErrorCode::kData,
                         [&] { EvalLoader(swapped, Split::kTrain, small_config(1), 16); }),
              HasSubstr("no readable image"));
}

TEST(EvalLoader, HasNoMasksWhereNoImageHas) {
  const TempFolder folder;
  const ImageFolder data = make_data(folder, {1, 1});
  EvalLoader loader(data, Split::kVal, small_config(1), 4);
  Batch batch;
  ASSERT_TRUE(loader.next(batch));
  EXPECT_FALSE(batch.masks.defined());
  EXPECT_THAT(message_of(ErrorCode::kData, [&] { EvalLoader(data, Split::kTest, {}, 4); }),
              HasSubstr("the test split has no images"));
}

TEST(PictureStore, KeepsWhatTheBudgetAllows) {
  const TempFolder folder;
  for (const char* name : {"a", "b"})
    folder.write_image(fmt::format("train/{}/0.png", name), {1, 2, 3}, {600, 600});
  const ImageFolder data = scan_image_folder(folder.path(), {});
  DataConfig config;
  config.size = 512;  // 0.75 MB a picture
  config.cache_mb = 1;
  const PictureStore store(data, Split::kTrain, config);
  ASSERT_EQ(store.readable().size(), 2u);
  // A kept picture is one and the same memory each time.
  EXPECT_EQ(store.picture(0).image.data_ptr(), store.picture(0).image.data_ptr());
  const Picture first = store.picture(1), second = store.picture(1);
  EXPECT_NE(first.image.data_ptr(), second.image.data_ptr());
  EXPECT_TRUE(torch::equal(first.image, second.image));
}

TEST(ForEachIndex, VisitsEachOnceAndThrowsAgain) {
  std::vector<int> visits(1000), followed(1000);
  for_each_index(
      1000, [&](int64_t i) { ++visits[i]; }, [&](int64_t i) { ++followed[i]; });
  EXPECT_EQ(visits, std::vector<int>(1000, 1));
  EXPECT_EQ(followed, visits);
  EXPECT_THROW(for_each_index(50,
                              [](int64_t i) {
                                if (i == 20) throw std::runtime_error("twenty");
                              }),
               std::runtime_error);
}

}  // namespace
}  // namespace flipside::loader_test
