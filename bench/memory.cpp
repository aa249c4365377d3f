#include <fmt/format.h>

#include "flipside/core/device.h"
#include "flipside/explain/explainer.h"
#include "subjects.h"
#include "tables.h"

namespace flipside {
namespace {

constexpr int kReports = 10;  // lines of each table

/// Runs `work` for `rounds` rounds and prints memory and faults per round after each tenth of them.
template <typename Work>
void watch(const char* what, int64_t rounds, int64_t per_round, Work work) {
  fmt::print("{:>14} {:>10} {:>14}\n", what, "MB", "faults/round");
  int64_t faults = minor_page_faults();
  for (int64_t i = 1; i <= rounds; ++i) {
    work();
    if (i % (rounds / kReports) != 0) continue;
    const int64_t now = minor_page_faults();
    fmt::print("{:>14} {:>10.1f} {:>14.2f}\n", i * per_round, resident_megabytes(),
               static_cast<double>(now - faults) / static_cast<double>(rounds / kReports));
    std::fflush(stdout);
    faults = now;
  }
}

}  // namespace

void print_memory(int64_t size) {
  constexpr int64_t kSteps = 2000, kStepBatch = 16, kImages = 10000, kExplainBatch = 25;
  {
    CounterfactualTrainer trainer(bench_model(size, kStepBatch, Precision::kFloat32));
    watch("steps", kSteps, 1, [&] { trainer.step(random_batch(size, kStepBatch)); });
  }
  Model model = bench_model(size, kExplainBatch, Precision::kFloat32);
  model.freeze();  // as a loaded one is
  const Explainer explainer(model);
  watch("images", kImages / kExplainBatch, kExplainBatch,
        [&] { explainer.explain(random_batch(size, kExplainBatch).images); });
}

}  // namespace flipside
