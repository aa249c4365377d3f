#include "flipside/data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <limits>
#include <map>
#include <mutex>
#include <thread>

#include "flipside/core/error.h"
#include "flipside/core/random.h"
#include "flipside/data/picture_store.h"
#include "flipside/data/transforms.h"

namespace flipside {
namespace {

constexpr int64_t kBatchesAhead = 4;  // finished or in work beyond the one asked for
// Streams of random numbers for the order of the images and for their augmentation.
constexpr uint64_t kOrderTag = 0x6f72646572, kAugmentTag = 0x6175676d;

/// The readable images of each class, or all in one group where classes need no balance.
std::vector<std::vector<int64_t>> sampling_groups(const ImageFolder& folder, Split split,
                                                  const PictureStore& store, bool balanced) {
  std::vector<std::vector<int64_t>> classes(folder.class_names.size());
  for (int64_t index : store.readable()) classes[store.record(index).label].push_back(index);
  for (size_t label = 0; label < classes.size() && split == Split::kTrain; ++label)
    if (classes[label].empty())
      fail(ErrorCode::kData,
           "{}: class {} has no readable training images; add some or remove the class",
           folder.root.string(), folder.class_names[label]);
  if (!balanced) return {store.readable()};
  classes.erase(std::remove_if(classes.begin(), classes.end(),
                               [](const auto& members) { return members.empty(); }),
                classes.end());
  return classes;
}

int64_t checked_batch(int64_t batch, const Shard& shard = {}) {
  if (batch < shard.count)
    fail(ErrorCode::kArgument, "batch = {}: must be {} or more", batch, shard.count);
  return batch;
}

/// Bytes or mask values -> floats in [0,1].
void write_scaled(const Tensor& pixels, float* to) {
  const uint8_t* from = pixels.data_ptr<uint8_t>();
  for (int64_t i = 0; i < pixels.numel(); ++i)
    to[i] = static_cast<float>(from[i]) * (1.0f / 255.0f);
}

/// Pictures of one size -> a batch, pixels written straight into channels_last memory.
Batch make_batch(const std::vector<Picture>& pictures, const std::vector<int64_t>& indices,
                 const PictureStore& store, bool pinned = false) {
  const auto memory = torch::TensorOptions().pinned_memory(pinned);
  const auto count = static_cast<int64_t>(pictures.size());
  const int64_t height = pictures[0].image.size(0), width = pictures[0].image.size(1);
  const bool any_mask = std::any_of(pictures.begin(), pictures.end(),
                                    [](const Picture& picture) { return picture.mask.defined(); });
  const Tensor pixels = torch::empty({count, height, width, 3}, memory);
  Batch batch;
  batch.labels = torch::empty({count}, memory.dtype(at::kLong));
  batch.indices = torch::tensor(indices, at::kLong);
  if (any_mask)
    batch.masks = torch::empty({count, 1, height, width}, memory)
                      .fill_(std::numeric_limits<float>::quiet_NaN());
  for (int64_t i = 0; i < count; ++i) {
    write_scaled(pictures[i].image, pixels.data_ptr<float>() + i * height * width * 3);
    if (pictures[i].mask.defined())
      write_scaled(pictures[i].mask, batch.masks.data_ptr<float>() + i * height * width);
    batch.labels.data_ptr<int64_t>()[i] = store.record(indices[i]).label;
  }
  batch.images = pixels.permute({0, 3, 1, 2});
  return batch;
}

}  // namespace

/// Which image stands at which place of the endless training sequence.
class TrainLoader::Sampler {
 public:
  /// `groups` take turns; each goes through its own members in a new order per epoch.
  Sampler(std::vector<std::vector<int64_t>> groups, uint64_t seed)
      : groups_(std::move(groups)), seed_(seed), orders_(groups_.size()) {}

  int64_t at(int64_t place) {
    const auto num_groups = static_cast<int64_t>(groups_.size());
    const int64_t group = place % num_groups, draw = place / num_groups;
    const auto& members = groups_[group];
    const auto size = static_cast<int64_t>(members.size());
    Order& order = orders_[group];
    if (order.epoch != draw / size) {
      order.epoch = draw / size;
      order.places =
          Rng({seed_, kOrderTag, static_cast<uint64_t>(group), static_cast<uint64_t>(order.epoch)})
              .permutation(size);
    }
    return members[order.places[draw % size]];
  }

 private:
  struct Order {
    int64_t epoch = -1;
    std::vector<int64_t> places;
  };
  std::vector<std::vector<int64_t>> groups_;
  uint64_t seed_;
  std::vector<Order> orders_;  // the last one used of each group
};

struct TrainLoader::State {
  State(const ImageFolder& folder, Split split, const DataConfig& config, int64_t batch,
        uint64_t seed, int64_t first_step, at::Device device, const Shard& shard)
      : store(folder, split, config),
        transform(training_transform(config)),
        sampler(sampling_groups(folder, split, store, config.balanced), seed),
        batch_size(checked_batch(batch, shard)),
        pinned(device.is_cuda()),
        shard(shard),
        seed(seed),
        next_step(first_step),
        next_claim(first_step) {}

  ~State() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      stop = true;
    }
    changed.notify_all();
    for (auto& worker : workers) worker.join();
  }

  /// Batch number `step`; a function of the seed and `step` alone.
  Batch make(Sampler& order, int64_t step) const {
    std::vector<Picture> pictures;
    std::vector<int64_t> indices, all_labels;
    for (int64_t slot = 0; slot < batch_size; ++slot) {
      const int64_t index = order.at(step * batch_size + slot);
      all_labels.push_back(store.record(index).label);
      if (!shard.has(slot)) continue;
      indices.push_back(index);
      Rng rng({seed, kAugmentTag, static_cast<uint64_t>(step), static_cast<uint64_t>(slot)});
      pictures.push_back(transform(store.picture(indices.back()), rng));
    }
    Batch batch = make_batch(pictures, indices, store, pinned);
    if (!shard.is_whole()) batch.all_labels = torch::tensor(all_labels, at::kLong);
    return batch;
  }

  /// A worker: makes the next unclaimed batch until the loader ends or something fails.
  void work() {
    Sampler order = sampler;
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return stop || next_claim < next_step + kBatchesAhead; });
      if (stop) return;
      const int64_t step = next_claim++;
      lock.unlock();
      Batch made;
      std::exception_ptr failure;
      try {
        made = make(order, step);
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      ready[step] = {std::move(made), failure};
      changed.notify_all();
    }
  }

  struct Result {
    Batch batch;
    std::exception_ptr failure;
  };
  PictureStore store;
  Transform transform;
  Sampler sampler;
  int64_t batch_size;
  bool pinned;
  Shard shard;
  uint64_t seed;
  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  int64_t next_step, next_claim;
  bool stop = false;
  std::map<int64_t, Result> ready;
  std::vector<std::thread> workers;
};

TrainLoader::TrainLoader(const ImageFolder& folder, Split split, const DataConfig& config,
                         int64_t batch, uint64_t seed, int64_t first_step, at::Device device,
                         const Shard& shard)
    : state_(
          std::make_unique<State>(folder, split, config, batch, seed, first_step, device, shard)) {
  for (int64_t i = 0; i < config.workers; ++i)
    state_->workers.emplace_back([state = state_.get()] { state->work(); });
}

TrainLoader::~TrainLoader() = default;

Batch TrainLoader::next() {
  State& state = *state_;
  if (state.workers.empty()) return state.make(state.sampler, state.next_step++);
  std::unique_lock<std::mutex> lock(state.mutex);
  state.changed.wait(lock, [&state] { return state.ready.count(state.next_step) > 0; });
  const auto found = state.ready.find(state.next_step);
  State::Result result = std::move(found->second);
  state.ready.erase(found);
  ++state.next_step;
  lock.unlock();
  state.changed.notify_all();
  if (result.failure) std::rethrow_exception(result.failure);
  return std::move(result.batch);
}

std::vector<ImageSize> TrainLoader::native_sizes() const {
  std::vector<ImageSize> sizes;
  for (int64_t index : state_->store.readable())
    sizes.push_back(state_->store.native_sizes().at(index));
  return sizes;
}

namespace {

std::shared_ptr<const PictureStore> pictures_of(const ImageFolder& folder, Split split,
                                                const DataConfig& config) {
  const auto& kept = folder.kept[static_cast<int>(split)];
  return kept && kept->size() == config.size && kept->is_of(folder.split(split))
             ? kept
             : std::make_shared<const PictureStore>(folder, split, config);
}

}  // namespace

void keep_pictures(ImageFolder& folder, Split split, const DataConfig& config) {
  if (!folder.split(split).empty())
    folder.kept[static_cast<int>(split)] = pictures_of(folder, split, config);
}

struct EvalLoader::State {
  State(const ImageFolder& folder, Split split, const DataConfig& config, int64_t batch)
      : store(pictures_of(folder, split, config)), batch_size(checked_batch(batch)) {}
  std::shared_ptr<const PictureStore> store;
  int64_t batch_size;
  int64_t done = 0;
};

EvalLoader::EvalLoader(const ImageFolder& folder, Split split, const DataConfig& config,
                       int64_t batch)
    : state_(std::make_unique<State>(folder, split, config, batch)) {}

EvalLoader::~EvalLoader() = default;

bool EvalLoader::next(Batch& batch) {
  const auto& readable = state_->store->readable();
  const int64_t end = std::min(state_->done + state_->batch_size, size());
  if (state_->done == end) return false;
  const std::vector<int64_t> indices(readable.begin() + state_->done, readable.begin() + end);
  batch = read(indices);
  state_->done = end;
  return true;
}

Batch EvalLoader::read(const std::vector<int64_t>& indices) const {
  std::vector<Picture> pictures;
  for (int64_t index : indices) pictures.push_back(state_->store->picture(index));
  return make_batch(pictures, indices, *state_->store);
}

Tensor EvalLoader::counterfactual(int64_t index) const {
  const Tensor pixels = state_->store->counterfactual(index);
  return pixels.defined() ? pixels.permute({2, 0, 1}).to(torch::kFloat32).mul(1.0f / 255) : pixels;
}

void EvalLoader::reset() { state_->done = 0; }

int64_t EvalLoader::size() const { return static_cast<int64_t>(state_->store->readable().size()); }

const ImageRecord& EvalLoader::record(int64_t index) const { return state_->store->record(index); }

}  // namespace flipside
