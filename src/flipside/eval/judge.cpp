#include "flipside/eval/judge.h"

#include <fmt/ranges.h>

#include <tuple>

#include "flipside/core/error.h"
#include "flipside/core/log.h"

namespace flipside {

void check_judge(const Model& judge, const Model& model) {
  if (judge.config.model.kind != ModelKind::kClassifier)
    fail(ErrorCode::kArgument, "judge: must be a classifier; train one with --model classifier");
  if (judge.class_names != model.class_names)
    fail(ErrorCode::kArgument, "judge: knows the classes {}, the model {}; both need the same data",
         fmt::join(judge.class_names, ", "), fmt::join(model.class_names, ", "));
  if (judge.config.data.size != model.config.data.size)
    fail(ErrorCode::kArgument, "judge: was trained at size {}, the model at {}; train it at {}",
         judge.config.data.size, model.config.data.size, model.config.data.size);
}

void warn_of_other_split(const Model& judge, const Model& model, const ImageFolder& folder) {
  const auto split_of = [](const DataConfig& d) {
    return std::tuple(d.split_seed, d.val_fraction, d.test_fraction);
  };
  const bool drawn = !folder.has_splits && !folder.pack;
  if (drawn && split_of(judge.config.data) != split_of(model.config.data))
    warn(
        "judge: split {} otherwise than the model did, so that it may have learned the images it "
        "now judges; train it with the same --split-seed, --val-fraction and --test-fraction",
        folder.root.string());
}

ChangeTable::Features judge_features(const Model& judge) {
  return [network = judge.discriminator](const Tensor& images) {
    torch::NoGradGuard no_grad;
    Discriminator discriminator = network;
    const auto device = discriminator->parameters().front().device();
    return discriminator->features(images.to(device).contiguous(kChannelsLast)).cpu();
  };
}

}  // namespace flipside
