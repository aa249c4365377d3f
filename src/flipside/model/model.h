#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "flipside/config/config.h"
#include "flipside/core/numbers.h"
#include "flipside/model/discriminator.h"
#include "flipside/model/generator.h"

namespace flipside {

namespace fs = std::filesystem;

/// Saliency thresholds and how they came about; NaN where they could not be chosen.
struct Thresholds {
  double label_free = kUndefined;  ///< Otsu on validation saliency of all defect classes
  double tuned = kUndefined;       ///< best IoU on validation masks
  /// The same as `label_free` from each class's own images: [K], NaN for the reference class and
  /// where there are none; empty in checkpoints of older programs.
  std::vector<double> by_class = {};
  /// Maps leave out casts of colour (`saliency_map`), since this generator lays them over images.
  bool without_cast = false;

  /// The label-free threshold of a class in [0,K), or that of all classes where it has none.
  double label_free_of(int64_t label) const;
};

/// When an answer is certain: its score of doubt (docs/equations.md, "Doubt") is at most
/// `threshold`, which was chosen to let the share `coverage` of the validation images through.
struct DoubtRule {
  std::string score;
  double threshold = 0;
  double coverage = 0;
};

/// How large the training images were before they were stretched to `config.data.size`, in pixels;
/// 0 where it is not known (checkpoints of older programs).
struct NativeSides {
  double median = 0;   ///< of the square roots of the images' areas
  double largest = 0;  ///< longer side that nine in ten images do not exceed: one odd panorama
                       ///< among them must not make all large images be squeezed
};

/// What a checkpoint holds, whole: no flag is needed to load it. Which networks exist depends on
/// `config.model.kind`: generator and discriminator (K+1), discriminator alone (K outputs, the
/// classifier), or segmenter alone. A separate critic (K outputs: "generated" for each class that
/// an image claims to be of) exists where the configuration asks for one.
struct Model {
  Config config;
  std::vector<std::string> class_names;  ///< K
  int64_t reference_class = 0;
  Thresholds thresholds;
  std::optional<DoubtRule> doubt_rule;  ///< none in checkpoints of older programs
  NativeSides native_sides;
  Generator generator{nullptr};
  Discriminator discriminator{nullptr};
  Discriminator critic{nullptr};
  Segmenter segmenter{nullptr};

  int64_t num_classes() const { return static_cast<int64_t>(class_names.size()); }
  /// Pixels of the networks per pixel of a training image; 1 where that is not known.
  double training_scale() const {
    return native_sides.median > 0 ? static_cast<double>(config.data.size) / native_sides.median
                                   : 1.0;
  }
  void eval();
  void train();
  /// No gradients of its weights from now on: attacks and attributions want the images' alone.
  void freeze();
  /// Moves every network; whoever holds one holds the moved one.
  void to(at::Device device);
  /// Where its networks are.
  at::Device device() const;
};

/// Fresh weights drawn from `config.train.seed`.
Model make_model(const Config& config, std::vector<std::string> class_names,
                 int64_t reference_class);

/// The same model with weights of its own, on the same device.
Model copied(const Model& model);

/// Index of a class by name; `Error(kUsage)` naming the classes there are.
int64_t class_index(const Model& model, const std::string& name);

/// Tensors by name, in name order.
using TensorMap = std::map<std::string, Tensor>;

/// Every parameter and buffer of the model's networks, as "generator.…", "discriminator.…".
TensorMap model_tensors(const Model& model);

/// A file of `model_tensors`, of `extra` tensors (the trainer's state, by names that begin with
/// "state.") and of the model's configuration, written atomically. Throws `Error(kIo)`.
void save_checkpoint(const fs::path& path, const Model& model, const TensorMap& extra = {},
                     const std::map<std::string, std::string>& extra_metadata = {});

/// A loaded checkpoint.
struct Checkpoint {
  Model model;
  TensorMap extra;
  std::map<std::string, std::string> metadata;
};

/// The file that `path` means: itself, or of a run directory `best.safetensors`, or else
/// `last.safetensors`. Throws `Error(kCheckpoint)` where there is none.
fs::path checkpoint_file(const fs::path& path);

/// Strict: every tensor of the model must be there with its shape and dtype, and nothing else but
/// "state.*". Throws `Error(kCheckpoint)` for a file that is missing, truncated, corrupt (a CRC-32
/// of the whole file is stored), of another version, of the wrong shape. `path` as in
/// `checkpoint_file`.
Checkpoint load_checkpoint(const fs::path& path);
/// The model alone, in evaluation mode, on `device`, its weights without gradients.
Model load_model(const fs::path& path, at::Device device = at::kCPU);

}  // namespace flipside
