#pragma once

#include <memory>
#include <vector>

#include "flipside/core/shard.h"
#include "flipside/data/dataset.h"
#include "flipside/data/picture.h"

namespace flipside {

/// Endless shuffled, augmented training batches. Batch number `step` is a function of (seed, step)
/// alone, so that a resumed run sees what the uninterrupted one would have seen, whatever the
/// number of worker threads. Class-balanced when configured: classes take turns, each in its own
/// shuffled order per epoch.
class TrainLoader {
 public:
  /// `batch`: images of a whole batch. `first_step`: the batch number that `next` gives first.
  /// `device`: where the batches will go; for a GPU the workers write them into pinned memory, from
  /// which it copies by itself. `shard`: the share of each batch that `next` gives; the shares
  /// together are what one loader alone would give.
  TrainLoader(const ImageFolder& folder, Split split, const DataConfig& config, int64_t batch,
              uint64_t seed, int64_t first_step = 0, at::Device device = at::kCPU,
              const Shard& shard = {});
  ~TrainLoader();
  TrainLoader(const TrainLoader&) = delete;
  TrainLoader& operator=(const TrainLoader&) = delete;
  /// The next batch; blocks until a worker has it. Rethrows what a worker threw.
  Batch next();
  /// Sizes of the readable images before they were stretched.
  std::vector<ImageSize> native_sizes() const;

 private:
  class Sampler;
  struct State;
  std::unique_ptr<State> state_;
};

/// Reads the pictures of a split, if it has any, once for all `EvalLoader`s that this folder and
/// its copies are given to: for work that goes through them again and again. A copy whose records
/// are others since reads its own. Throws as `EvalLoader` does.
void keep_pictures(ImageFolder& folder, Split split, const DataConfig& config);

/// Goes through a split once, in order, without augmentation.
class EvalLoader {
 public:
  EvalLoader(const ImageFolder& folder, Split split, const DataConfig& config, int64_t batch);
  ~EvalLoader();
  EvalLoader(const EvalLoader&) = delete;
  EvalLoader& operator=(const EvalLoader&) = delete;
  /// False when the split is finished; `reset` starts over. The last batch may be smaller.
  bool next(Batch& batch);
  void reset();
  /// The images of these values of `Batch::indices` (at least one) as one batch, in this order;
  /// `next` goes on where it was. Throws `Error(kImage)` for one that cannot be read.
  Batch read(const std::vector<int64_t>& indices) const;
  /// The known image without its defect, [3,H,W] in [0,1], of a value of `Batch::indices`;
  /// undefined where there is none. Throws `Error(kImage)` for one that cannot be read.
  Tensor counterfactual(int64_t index) const;
  /// Number of readable images.
  int64_t size() const;
  /// The record behind a value of `Batch::indices`.
  const ImageRecord& record(int64_t index) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace flipside
