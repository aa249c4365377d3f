#include "operators.h"

#include <ATen/record_function.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "flipside/core/torch.h"
#include "flipside/model/blocks.h"

namespace flipside {
namespace {

using Clock = std::chrono::steady_clock;

/// An operator that is running.
struct Frame {
  Clock::time_point start;
  double inside = 0;  // seconds in operators that it called
  bool backward = false;
  bool counted = false;  // its arithmetic, by itself or an operator around it
  double flop = 0;
};

// A callback is a plain function, hence what it writes to lies here.
std::vector<Frame> stack;
OperatorRecorder::Entries recorded;
bool recording = false;

/// Two per multiplication and addition, for a convolution's input and weights and the size of what
/// it gives; groups are one in all networks here.
double convolution_flop(const Tensor& weight, int64_t batch, at::IntArrayRef output) {
  return 2.0 * static_cast<double>(batch * output[2] * output[3] * weight.numel());
}

bool is_own_convolution(const std::string& name) {
  for (const std::string own :
       {"flipside::image_conv", "flipside::winograd_conv", "flipside::direct_conv"})
    if (name == own || name == own + "_backward") return true;
  return false;
}

/// From what libtorch hands to the operator: the output's size follows from stride and padding
/// forward, and is that of the gradient backward, where the input's and the weights' gradient cost
/// as much as the forward pass each. The networks' own convolutions keep the image's size or, by a
/// 4x4 kernel, halve it; what minimal filtering saves counts as done.
double arithmetic_of(const at::RecordFunction& function) {
  const std::string name = function.name();
  const auto inputs = function.inputs();
  if (name == "aten::convolution" || name == "aten::mkldnn_convolution") {
    const Tensor x = inputs[0].toTensor(), weight = inputs[1].toTensor();
    // Stride and padding follow, in the one order or the other.
    const size_t strides = name == "aten::convolution" ? 3 : 4, paddings = 7 - strides;
    const auto stride = inputs[strides].toIntVector(), padding = inputs[paddings].toIntVector();
    // One number may stand for both directions.
    const auto at = [](const std::vector<int64_t>& list, size_t i) {
      return list[std::min(i, list.size() - 1)];
    };
    std::vector<int64_t> output{x.size(0), weight.size(0)};
    for (size_t i = 0; i < 2; ++i)
      output.push_back((x.size(2 + i) + 2 * at(padding, i) - weight.size(2 + i)) / at(stride, i) +
                       1);
    return convolution_flop(weight, x.size(0), output);
  }
  if (name == "aten::convolution_backward") {
    const Tensor dy = inputs[0].toTensor(), weight = inputs[2].toTensor();
    const auto wanted = inputs[10].toBoolList();
    return convolution_flop(weight, dy.size(0), dy.sizes()) * (int(wanted[0]) + int(wanted[1]));
  }
  if (is_own_convolution(name)) {
    const Tensor x = inputs[0].toTensor(), weight = inputs[1].toTensor();
    const int64_t stride = stride_of(weight.size(2));
    const int parts = inputs.size() == 2 ? 1 : int(inputs[2].toBool()) + int(inputs[3].toBool());
    return convolution_flop(weight, x.size(0),
                            {x.size(0), weight.size(0), x.size(2) / stride, x.size(3) / stride}) *
           parts;
  }
  return 0;
}

std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction& function) {
  Frame frame;
  frame.backward = function.scope() == at::RecordScope::BACKWARD_FUNCTION ||
                   (!stack.empty() && stack.back().backward);
  // What an operator is made of is part of it.
  frame.counted = !stack.empty() && stack.back().counted;
  if (!frame.counted) frame.flop = arithmetic_of(function);
  frame.counted = frame.counted || frame.flop > 0;
  frame.start = Clock::now();
  stack.push_back(frame);
  return nullptr;
}

void leave(const at::RecordFunction& function, at::ObserverContext*) {
  const Frame frame = stack.back();
  stack.pop_back();
  const double seconds = std::chrono::duration<double>(Clock::now() - frame.start).count();
  if (!stack.empty()) stack.back().inside += seconds;
  auto& entry = recorded[{function.name(), frame.backward}];
  ++entry.calls;
  entry.seconds += seconds - frame.inside;
  entry.whole += seconds;
  entry.flop += frame.flop;
}

}  // namespace

OperatorRecorder::OperatorRecorder() {
  TORCH_CHECK(!recording, "one OperatorRecorder at a time");
  recording = true;
  recorded.clear();
  stack.clear();
  handle_ = at::addThreadLocalCallback(
      at::RecordFunctionCallback(enter, leave)
          .needsInputs(true)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
}

OperatorRecorder::~OperatorRecorder() {
  at::removeCallback(handle_);
  recording = false;
}

OperatorRecorder::Entries OperatorRecorder::entries() const { return recorded; }

double OperatorRecorder::flop() const {
  return std::accumulate(recorded.begin(), recorded.end(), 0.0,
                         [](double sum, const auto& item) { return sum + item.second.flop; });
}

std::string operator_table(const OperatorRecorder::Entries& entries, int64_t steps, double seconds,
                           double least_share) {
  std::vector<std::pair<OperatorRecorder::Entries::key_type, OperatorRecorder::Entry>> rows(
      entries.begin(), entries.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  const auto count = static_cast<double>(steps);
  std::string table =
      fmt::format("{:<40} {:<8} {:>7} {:>8} {:>7}\n", "operator", "pass", "calls", "ms", "share");
  const auto add = [&](const std::string& name, const char* pass, double calls, double time) {
    table += fmt::format("{:<40} {:<8} {:>7.1f} {:>8.3f} {:>6.1f}%\n", name, pass, calls / count,
                         1e3 * time / count, 100 * time / seconds);
  };
  double outside = seconds, small = 0, small_calls = 0;
  std::string convolutions;
  for (const auto& [key, entry] : rows) {
    const char* pass = key.second ? "backward" : "forward";
    outside -= entry.seconds;
    if (entry.flop > 0)
      convolutions += fmt::format("convolutions {}: {:.2f} GFLOP, {:.2f} ms, {:.0f} GFLOP/s\n",
                                  pass, 1e-9 * entry.flop / count, 1e3 * entry.whole / count,
                                  1e-9 * entry.flop / entry.whole);
    if (entry.seconds >= least_share * seconds) {
      add(key.first, pass, static_cast<double>(entry.calls), entry.seconds);
    } else {
      small += entry.seconds;
      small_calls += static_cast<double>(entry.calls);
    }
  }
  add("smaller ones", "", small_calls, small);
  add("outside of operators", "", 0, outside);
  return table + convolutions;
}

}  // namespace flipside
