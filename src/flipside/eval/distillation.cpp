#include "flipside/eval/distillation.h"

#include <algorithm>
#include <cmath>

#include "flipside/core/error.h"
#include "flipside/core/log.h"
#include "flipside/core/random.h"
#include "flipside/data/loader.h"
#include "flipside/explain/explainer.h"
#include "flipside/model/blocks.h"
#include "flipside/train/adam.h"
#include "flipside/train/losses.h"

namespace flipside {
namespace {

constexpr uint64_t kDistillStream = 0xd157;  // keeps these draws apart from the trainer's
constexpr int64_t kBatchesAtOnce = 8;        // that the teacher explains, for kUses steps each
constexpr int64_t kUses = 8;
constexpr int64_t kWarmup = 20;       // steps
constexpr double kHeadWeight = 1e-3;  // of the head's cross entropy beside squared errors

/// Images, what is asked of them, and the teacher's answers; all on the CPU.
struct Lessons {
  Tensor images, labels, targets, answers;
};

/// Classes to ask for: defects mostly for the reference class, which makes the masks, and some for
/// another defect or their own class; good images for their own class or a defect.
Tensor draw_targets(const Model& model, const Tensor& labels, Rng& rng) {
  const int64_t reference = model.reference_class, others = model.num_classes() - 1;
  Tensor targets = torch::full_like(labels, reference);
  for (int64_t i = 0; i < labels.size(0); ++i) {
    const bool is_good = labels[i].item<int64_t>() == reference;
    if (rng.chance(is_good ? 0.4 : 0.8)) continue;
    targets[i] = (reference + rng.between(1, others)) % (others + 1);
  }
  return targets;
}

Lessons next_lessons(const Explainer& teacher, TrainLoader& loader, Rng& rng) {
  std::vector<Tensor> parts[4];
  for (int64_t i = 0; i < kBatchesAtOnce; ++i) {
    const Batch batch = loader.next();
    const Tensor targets = draw_targets(teacher.model(), batch.labels, rng);
    const Tensor answers = teacher.explain(batch.images, targets, Effort::kNoDoubt).counterfactual;
    const Tensor lesson[] = {batch.images, batch.labels, targets, answers};
    for (size_t p = 0; p < 4; ++p) parts[p].push_back(lesson[p]);
  }
  return {torch::cat(parts[0]), torch::cat(parts[1]), torch::cat(parts[2]), torch::cat(parts[3])};
}

/// Some of the lessons, as seen in a view where the teacher's answer does not depend on it: to the
/// reference class it is the mean over all.
Lessons in_view(const Lessons& all, const Tensor& rows, const View& view, int64_t reference) {
  const Tensor targets = all.targets.index_select(0, rows);
  const Tensor turns = (targets == reference).view({-1, 1, 1, 1});
  const auto seen = [&](const Tensor& images) {
    const Tensor chosen = images.index_select(0, rows);
    return torch::where(turns, view.of(chosen), chosen).contiguous(kChannelsLast);
  };
  return {seen(all.images), all.labels.index_select(0, rows), targets, seen(all.answers)};
}

/// Linear warm-up, then half a cosine to 0.
double rate_factor(int64_t step, int64_t steps) {
  const int64_t warmup = std::min(kWarmup, steps);
  if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double left = static_cast<double>(steps - step) / static_cast<double>(steps - warmup + 1);
  return 0.5 - 0.5 * std::cos(left * M_PI);
}

/// One step of the student on lessons; gives the mean squared error.
double learn(Model& student, Adam& optimizer, const Lessons& lessons, double rate) {
  const at::Device device = student.device();
  const ActivationType type(student.config.explain.generator_precision, device);
  const GeneratorResult made =
      student.generator->forward(lessons.images.to(device), lessons.targets.to(device));
  const Tensor error = (made.counterfactual - lessons.answers.to(device)).square().mean();
  const Tensor head = class_loss(made.class_logits, lessons.labels.to(device));
  optimizer.zero_grad();
  (error + kHeadWeight * head).backward();
  optimizer.step(rate);
  return error.item<double>();
}

}  // namespace

Model distil(const Model& teacher, const ImageFolder& folder, const DistillOptions& options) {
  const Explainer explainer(teacher);
  const Config& config = teacher.config;
  const auto views = views_of(config, /*square=*/true);
  if (config.explain.one_pass || views.size() == 1)
    fail(ErrorCode::kUsage,
         "this model explains in one pass already; only the mean over mirrored or turned views "
         "(data.flip, data.turn, explain.average_views) is worth learning");
  Model student = copied(teacher);
  student.train();
  Adam optimizer(*student.generator, {/*beta1=*/0.9, /*beta2=*/0.99});
  Rng rng({options.seed, kDistillStream});
  TrainLoader loader(folder, Split::kTrain, config.data, config.train.batch, rng.next());
  Progress progress("distil", options.steps, "step");
  Lessons lessons;
  std::vector<int64_t> order;
  const int64_t batch = config.train.batch, in_lessons = kBatchesAtOnce * kUses;
  for (int64_t step = 0; step < options.steps; ++step) {
    if (step % in_lessons == 0) lessons = next_lessons(explainer, loader, rng);
    if (step % kBatchesAtOnce == 0) order = rng.permutation(kBatchesAtOnce * batch);
    const Tensor rows = torch::tensor(order).slice(0, step % kBatchesAtOnce * batch,
                                                   (step % kBatchesAtOnce + 1) * batch);
    const View& view = views[rng.below(static_cast<int64_t>(views.size()))];
    const double rate = config.train.lr_generator * rate_factor(step, options.steps);
    const double error =
        learn(student, optimizer, in_view(lessons, rows, view, teacher.reference_class), rate);
    if (!std::isfinite(error))
      fail(ErrorCode::kArgument,
           "squared error = {} at step {}: must be finite; the model's train.lr_generator = {} "
           "was too high",
           error, step, config.train.lr_generator);
    progress.advance(1, fmt::format("error {:.3g}", std::sqrt(error)));
  }
  student.config.explain.one_pass = true;
  student.eval();
  return student;
}

}  // namespace flipside
