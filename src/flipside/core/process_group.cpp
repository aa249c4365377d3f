#include "flipside/core/process_group.h"

#include "flipside/core/c10d.h"
#include "flipside/core/error.h"

namespace flipside {

struct ProcessGroup::State {
  explicit State(const Launch& where) : launch(where), links(where) {}

  /// Runs `work`, which speaks to the others.
  template <typename Work>
  void speak(const Work& work) {
    try {
      work();
    } catch (const Error&) {
      broken = true;
      throw;
    } catch (const std::exception& error) {
      broken = true;
      fail(ErrorCode::kIo,
           "process {} of {}: lost the connection to another process, which ended or cannot be "
           "reached any more ({})",
           launch.rank, launch.size, first_line(error));
    }
  }

  Launch launch;
  Links links;
  bool broken = false;
};

ProcessGroup::ProcessGroup(const Launch& launch)
    : state_(launch.size > 1 ? std::make_shared<State>(launch) : nullptr) {}

int64_t ProcessGroup::rank() const { return state_ ? state_->launch.rank : 0; }
int64_t ProcessGroup::size() const { return state_ ? state_->launch.size : 1; }
int64_t ProcessGroup::local_rank() const { return state_ ? state_->launch.local_rank : 0; }
int64_t ProcessGroup::local_size() const { return state_ ? state_->launch.local_size : 1; }
bool ProcessGroup::broken() const { return state_ && state_->broken; }

std::function<void()> ProcessGroup::start_sum(const Tensor& tensor) const {
  if (!state_) return [] {};
  std::function<void()> wait;
  state_->speak([&] { wait = state_->links.start_sum(tensor); });
  return [state = state_, wait] { state->speak(wait); };
}

void ProcessGroup::sum(const std::vector<Tensor>& tensors) const {
  if (!state_) return;
  std::vector<std::pair<Tensor, std::function<void()>>> sums;  // on their way, all at once
  for (const Tensor& tensor : tensors) {
    const Tensor dense = tensor.contiguous();
    sums.emplace_back(dense, start_sum(dense));
  }
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < tensors.size(); ++i) {
    sums[i].second();
    if (!sums[i].first.is_same(tensors[i])) Tensor(tensors[i]).copy_(sums[i].first);
  }
}

double ProcessGroup::sum(double value) const {
  if (!state_) return value;
  const Tensor total = torch::tensor(value, torch::kDouble);
  sum(std::vector<Tensor>{total});
  return total.item<double>();
}

void ProcessGroup::broadcast(const std::vector<Tensor>& tensors) const {
  if (!state_) return;
  torch::NoGradGuard no_grad;
  for (const Tensor& tensor : tensors) {
    Tensor dense = tensor.detach().contiguous();
    state_->speak([&] { state_->links.broadcast(dense); });
    if (!is_first()) tensor.detach().copy_(dense);
  }
}

std::string ProcessGroup::from_first(const std::function<std::string()>& work) const {
  if (!state_) return work();
  std::string text;
  int64_t code = -1;  // of the error, if there is one
  if (is_first()) try {
      text = work();
    } catch (const Error& error) {
      code = static_cast<int64_t>(error.code());
      text = error.what();
    } catch (const std::exception& error) {  // all are to end for its reason
      code = static_cast<int64_t>(ErrorCode::kIo);
      text = error.what();
    }
  const Tensor header = torch::tensor({code, static_cast<int64_t>(text.size())}, torch::kInt64);
  broadcast({header});
  code = header[0].item<int64_t>();
  text.resize(static_cast<size_t>(header[1].item<int64_t>()));
  if (!text.empty())
    broadcast({torch::from_blob(text.data(), {static_cast<int64_t>(text.size())}, torch::kUInt8)});
  if (code >= 0) throw Error(static_cast<ErrorCode>(code), text);
  return text;
}

std::vector<Tensor> ProcessGroup::in_shares(
    const Tensor& images,
    const std::function<std::vector<Tensor>(const Tensor&, const Tensor&)>& work) const {
  const int64_t n = images.size(0);
  if (!state_) return work(images, torch::arange(n, torch::kInt64));
  // A process without a row does the first one for its shapes, and keeps the result to itself.
  const bool idle = shard().size(n) == 0;
  const Tensor rows = torch::arange(idle ? 0 : rank(), idle ? 1 : n, size(), torch::kInt64);
  std::vector<Tensor> results;
  for (const Tensor& own : work(images.index_select(0, rows.to(images.device())), rows)) {
    std::vector<int64_t> shape = own.sizes().vec();
    shape[0] = n;
    results.push_back(torch::zeros(shape, own.options().device(torch::kCPU)));
    if (!idle) results.back().index_copy_(0, rows, own.cpu());
  }
  sum(results);
  return results;
}

void ProcessGroup::require_same(const std::string& what, const std::string& text) const {
  if (!state_) return;
  const std::string first = from_first([&] { return text; });
  const Tensor differs = torch::zeros({size()}, torch::kInt64);
  differs[rank()] = text != first;
  sum({differs});
  if (differs.sum().item<int64_t>() == 0) return;
  fail(ErrorCode::kUsage,
       "{} of process {} is not that of process 0: give every process the same options and the "
       "same data",
       what, differs.argmax().item<int64_t>());
}

}  // namespace flipside
