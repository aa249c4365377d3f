#include "flipside/eval/model_folder.h"

#include <gtest/gtest.h>

#include "flipside/core/error.h"
#include "support/small_model.h"
#include "support/temp_folder.h"

namespace flipside::model_folder_test {
namespace {

std::vector<fs::path> files(const std::vector<ImageRecord>& records) {
  std::vector<fs::path> paths;
  for (const auto& record : records) paths.push_back(record.image);
  return paths;
}

TEST(ModelFolder, IsSplitAsInTheModelsTraining) {
  const TempFolder root;
  for (const std::string name : {"bad", "good"})
    for (int i = 0; i < 20; ++i) root.write_image(name + "/" + std::to_string(i) + ".png", {9});
  Model model = small_model({"bad", "good"}, /*reference_class=*/0);
  model.config.data.test_fraction = 0.3;
  model.config.data.split_seed = 5;
  const ImageFolder trained = scan_image_folder(root.path(), model.config.data);
  const ImageFolder found = scan_for_model(root.path(), model);
  EXPECT_EQ(found.reference_class, 0);  // the name would have chosen "good"
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest})
    EXPECT_EQ(files(found.split(split)), files(trained.split(split)));
  model.config.train.seed = 6;  // what differs between trainings are not their images
  EXPECT_EQ(files(found.split(Split::kTest)),
            files(scan_for_model(root.path(), model).split(Split::kTest)));
  model.config.data.split_seed = 6;
  const ImageFolder other_seed = scan_image_folder(root.path(), model.config.data);
  EXPECT_NE(files(found.split(Split::kTest)), files(other_seed.split(Split::kTest)));
}

TEST(ModelFolder, OtherClassesAreRefused) {
  const TempFolder root;
  root.write_image("bad/0.png", {9});
  root.write_image("fine/0.png", {9});
  const Model model = small_model({"bad", "good"}, 1);
  EXPECT_THROW(scan_for_model(root.path(), model), Error);
}

}  // namespace
}  // namespace flipside::model_folder_test
