#include "tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "flipside/core/device.h"
#include "flipside/explain/explainer.h"
#include "operators.h"
#include "subjects.h"

namespace flipside {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Median seconds of a call of `work`, over calls that fill `budget` seconds, after three others.
template <typename Work>
double median_seconds(double budget, Work work) {
  for (int i = 0; i < 3; ++i) work();
  std::vector<double> times;
  const auto begin = Clock::now();
  while (times.size() < 5 || seconds_since(begin) < budget) {
    const auto start = Clock::now();
    work();
    times.push_back(seconds_since(start));
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

/// The most that a 3x3 convolution of this device and libtorch reaches, in FLOP/s.
double convolution_peak(at::ScalarType type, at::Device device) {
  torch::NoGradGuard no_grad;
  double best = 0;
  const int64_t side = device.is_cuda() ? 128 : 32;  // enough to fill a GPU
  for (const int64_t channels : {64, 128, 256}) {
    const auto options = torch::TensorOptions(device).dtype(type);
    const Tensor x = torch::rand({16, channels, side, side}, options).contiguous(kChannelsLast);
    const Tensor weight =
        torch::rand({channels, channels, 3, 3}, options).contiguous(kChannelsLast);
    const double flop =
        2.0 * 16 * static_cast<double>(side * side) * static_cast<double>(weight.numel());
    const double seconds = median_seconds(0.5, [&] {
      at::conv2d(x, weight, {}, /*stride=*/1, /*padding=*/1);
      if (device.is_cuda()) torch::cuda::synchronize();
    });
    best = std::max(best, flop / seconds);
  }
  return best;
}

template <typename Work>
double flop_of(Work work) {
  const OperatorRecorder recorder;
  work();
  return recorder.flop();
}

void print_row(const std::string& what, int64_t size, int64_t batch, double flop, double seconds,
               double peak) {
  fmt::print("{:<20} {:>4} {:>6} {:>9.2f} {:>9.1f} {:>9.1f} {:>6.2f}\n", what, size, batch,
             1e-9 * flop, 1e3 * flop / peak, 1e3 * seconds, flop / peak / seconds);
  std::fflush(stdout);
}

void print_step(int64_t size, int64_t batch, Precision precision, double peak) {
  CounterfactualTrainer trainer(bench_model(size, batch, precision));
  const Batch data = random_batch(size, batch);
  trainer.step(data);
  const double flop = flop_of([&] { trainer.step(data); });
  const double seconds = median_seconds(2, [&] { trainer.step(data); });
  print_row(precision == Precision::kFloat32 ? "step float32" : "step bfloat16", size, batch, flop,
            seconds, peak);
}

void print_explanation(int64_t size, int64_t batch, double peak) {
  Model model = bench_model(size, batch, Precision::kFloat32);
  model.freeze();  // as a loaded one is
  const Explainer explainer(model);
  const Tensor images = random_batch(size, batch).images;
  const auto explain = [&] { explainer.explain(images); };
  explain();
  const double flop = flop_of(explain);
  print_row("explain float32", size, batch, flop, median_seconds(1, explain), peak);
}

}  // namespace

void print_limits() {
  const at::Device device = resolve_device(DeviceChoice::kAuto);
  const bool half = has_fast_bfloat16(device);
  const double peak = convolution_peak(at::kFloat, device);
  const double half_peak = half ? convolution_peak(at::kBFloat16, device) : 0;
  fmt::print("{}, {} threads; 3x3 convolutions reach {:.0f} GFLOP/s in float32", device.str(),
             at::get_num_threads(), 1e-9 * peak);
  if (half) fmt::print(", {:.0f} in bfloat16", 1e-9 * half_peak);
  fmt::print("\n{:<20} {:>4} {:>6} {:>9} {:>9} {:>9} {:>6}\n", "", "px", "batch", "GFLOP",
             "limit ms", "taken ms", "ratio");
  using Sizes = std::vector<std::pair<int64_t, int64_t>>;
  const Sizes steps = device.is_cuda() ? Sizes{{64, 32}, {128, 32}, {256, 32}}
                                       : Sizes{{64, 16}, {64, 32}, {128, 16}, {256, 4}};
  for (const auto& [size, batch] : steps) {
    print_step(size, batch, Precision::kFloat32, peak);
    if (half) print_step(size, batch, Precision::kBFloat16, half_peak);
  }
  if (device.is_cuda()) return;  // explanations are made on the processor
  for (const auto& [size, batch] : Sizes{{64, 1}, {64, 32}, {128, 1}})
    print_explanation(size, batch, peak);
}

void print_operators(int64_t size, int64_t batch, bool bfloat16) {
  constexpr int kSteps = 20;
  CounterfactualTrainer trainer(
      bench_model(size, batch, bfloat16 ? Precision::kBFloat16 : Precision::kFloat32));
  const Batch data = random_batch(size, batch);
  for (int i = 0; i < 3; ++i) trainer.step(data);
  const OperatorRecorder recorder;
  const auto start = Clock::now();
  for (int i = 0; i < kSteps; ++i) trainer.step(data);
  const double seconds = seconds_since(start);
  fmt::print("{} px, batch {}, {}: {:.1f} ms a step\n{}", size, batch,
             bfloat16 ? "bfloat16" : "float32", 1e3 * seconds / kSteps,
             operator_table(recorder.entries(), kSteps, seconds));
}

}  // namespace flipside
