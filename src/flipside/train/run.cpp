#include "flipside/train/run.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>

#include "flipside/core/device.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/core/stop_signals.h"
#include "flipside/core/utf8.h"
#include "flipside/data/loader.h"
#include "flipside/train/run_log.h"

namespace flipside {
namespace {

constexpr int64_t kLogEvery = 50;  // steps

/// Means of the losses since the last line of the log.
class LossMeans {
 public:
  void add(const StepLosses& losses) {
    if (sums_.size() != losses.size()) reset(losses);
    for (size_t i = 0; i < losses.size(); ++i) sums_[i].second += losses[i].second;
    ++count_;
  }
  StepLosses take() {
    StepLosses means = sums_;
    for (auto& [name, value] : means) value /= static_cast<double>(std::max<int64_t>(count_, 1));
    sums_.clear();
    count_ = 0;
    return means;
  }

 private:
  void reset(const StepLosses& losses) {
    sums_ = losses;
    for (auto& [name, value] : sums_) value = 0;
    count_ = 0;
  }
  StepLosses sums_;
  int64_t count_ = 0;
};

/// The value that the share `share` of them lies below.
double quantile(std::vector<double> values, double share) {
  const auto place =
      values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size()));
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

/// What the model remembers of its training images' sizes.
NativeSides native_sides(const std::vector<ImageSize>& sizes) {
  if (sizes.empty()) return {};
  std::vector<double> roots, longest;
  for (const auto& size : sizes) {
    roots.push_back(std::sqrt(static_cast<double>(size.width * size.height)));
    longest.push_back(static_cast<double>(std::max(size.width, size.height)));
  }
  return {quantile(roots, 0.5), quantile(longest, 0.9)};
}

std::string brief(const std::vector<std::pair<std::string, double>>& values) {
  std::string text;
  for (const auto& [name, value] : values)
    if (!std::isnan(value))
      text += fmt::format("{}{} {:.3g}", text.empty() ? "" : "  ", name, value);
  return text;
}

/// Threads first: libtorch should not have worked before they are set. Processes of one machine
/// that may each use all of its processors share them.
const Config& with_runtime(const Config& config, const ProcessGroup& group) {
  auto threads = static_cast<int>(config.train.threads);
  const int available = available_processors();
  if (threads == 0 && group.local_size() > 1 && available >= sysconf(_SC_NPROCESSORS_ONLN))
    threads = std::max(1, available / static_cast<int>(group.local_size()));
  configure_runtime(threads);
  return config;
}

/// What a training takes from its folder, as text.
std::string listing(const ImageFolder& folder) {
  std::string text;
  for (const auto& name : folder.class_names) text += name + "\n";
  for (const auto& records : folder.records)
    for (const auto& record : records)
      text += fmt::format("{} {} {}\n", folder.name_of(record), record.label, record.mask.empty());
  return text;
}

/// One run: folder, data, trainer and what they need of one another.
class Run {
 public:
  Run(fs::path run, const fs::path& data, const Config& config, const ProcessGroup& group,
      const MakeValidate& make_validate)
      : run_(std::move(run)),
        group_(group),
        config_(with_runtime(config, group)),
        folder_(scan_image_folder(data, config.data)),
        trainer_(
            make_trainer(make_model(config, folder_.class_names, folder_.reference_class), group)),
        log_(run_ / "metrics.jsonl"),
        validate_(make_validate(folder_, run_, group)) {
    require_trainable(folder_);
    group_.require_same("the configuration", to_toml(config_));
    group_.require_same("the list of images", listing(folder_));
  }

  /// No two trainings write into one folder.
  void lock() {
    group_.from_first([this] {
      lock_.emplace(run_);
      return std::string();
    });
  }

  /// From the last checkpoint, which the first process reads for all.
  void restore() {
    group_.from_first([this] {
      restore_here();
      return std::string();
    });
    const Tensor progress =
        torch::tensor({best_score_, static_cast<double>(stale_validations_)}, torch::kDouble);
    group_.broadcast({progress});
    best_score_ = progress[0].item<double>();
    stale_validations_ = static_cast<int64_t>(progress[1].item<double>());
  }

  void train() {
    try {
      trainer_->share_state();
      take_steps();
    } catch (const Error& error) {
      if (!group_.broken()) throw;
      fail(ErrorCode::kIo,
           "{}; stopped after step {} of {}; go on from the last checkpoint, in as many processes "
           "as you like, with: flipside train --resume {}",
           error.what(), trainer_->steps_done(), trainer_->total_steps(), run_.string());
    }
  }

 private:
  void restore_here() {
    const fs::path last = run_ / "last.safetensors";
    if (!fs::exists(last)) return log_.rewind_to(0);
    Checkpoint checkpoint = load_checkpoint(last);
    if (checkpoint.model.class_names != folder_.class_names)
      fail(ErrorCode::kData,
           "{}: the classes of the data folder have changed since this run began; "
           "restore the folder or start a new run",
           run_.string());
    if (checkpoint.model.reference_class != folder_.reference_class)
      fail(
          ErrorCode::kData,
          "{}: the good parts were those of class {} when this run began and would now be {} ({}); "
          "restore the data folder, or start a new run with --reference-class",
          run_.string(), folder_.class_names[checkpoint.model.reference_class],
          folder_.class_names[folder_.reference_class], folder_.reference_reason);
    trainer_->load_state(checkpoint.extra);
    trainer_->averaged().thresholds = checkpoint.model.thresholds;
    trainer_->averaged().doubt_rule = checkpoint.model.doubt_rule;
    restore_progress(last, checkpoint.metadata);
    log_.rewind_to(trainer_->steps_done());
  }

  void restore_progress(const fs::path& last, const std::map<std::string, std::string>& metadata) {
    try {
      best_score_ = std::stod(metadata.at("best_score"));
      const auto stale = metadata.find("state.stale_validations");
      if (stale != metadata.end()) stale_validations_ = std::stoll(stale->second);
    } catch (const std::logic_error&) {
      fail(ErrorCode::kCheckpoint,
           "{}: metadata best_score and state.stale_validations must be numbers; resume from the "
           "last.safetensors of a training, or start a new run",
           last.string());
    }
  }

  void take_steps() {
    const int64_t batch = config_.train.batch;
    const auto total = [this] { return trainer_->total_steps(); };  // warm-ups may go on
    if (trainer_->steps_done() >= total() || out_of_patience()) {
      info("{}: finished already, {} steps", run_.string(), trainer_->steps_done());
      return;
    }
    announce();
    TrainLoader loader(folder_, Split::kTrain, config_.data, batch, config_.train.seed,
                       trainer_->steps_done(), trainer_->device(), group_.shard());
    const auto sizes = loader.native_sizes();
    require_same_pictures(sizes);
    trainer_->averaged().native_sides = native_sides(sizes);
    const StopSignals signals;
    Progress progress("train", total() * batch, "img", trainer_->steps_done() * batch);
    LossMeans means;
    while (trainer_->steps_done() < total() && !out_of_patience()) {
      const StepLosses losses = trainer_->step(loader.next());
      means.add(losses);
      const int64_t step = trainer_->steps_done();
      progress.set_total(total() * batch);
      progress.advance(batch, brief(losses) + last_validation_);
      const bool stop = group_.sum(signals.requested()) > 0;  // whichever process was asked to
      if (step % kLogEvery == 0 || step == total()) log_means(means, progress);
      const bool validates = step % config_.train.validate_every == 0 || step == total();
      const bool saves = step % config_.train.checkpoint_every == 0 || step == total() || stop;
      if (validates || saves) trainer_->require_finite();
      if (validates) {
        progress.remark(brief(losses) + "  | validating");
        validate();
      }
      if (saves || out_of_patience()) save_last();
      if (stop && step < total() && !out_of_patience())
        fail(ErrorCode::kIo, "stopped at step {} of {}; go on with: flipside train --resume {}",
             step, total(), run_.string());
    }
  }

  /// A file that one process cannot read would shift the order of all that follow.
  void require_same_pictures(const std::vector<ImageSize>& sizes) const {
    if (group_.is_alone()) return;
    std::string text;
    for (const auto& size : sizes) text += fmt::format("{}x{} ", size.width, size.height);
    group_.require_same("the set of readable images", text);
  }

  void announce() const {
    std::string counts;
    for (int64_t c = 0; c < folder_.num_classes(); ++c) {
      const auto& records = folder_.split(Split::kTrain);
      const auto n = std::count_if(records.begin(), records.end(),
                                   [c](const ImageRecord& r) { return r.label == c; });
      counts += fmt::format("{}{} {}", c ? ", " : "", folder_.class_names[c], n);
    }
    info("training images: {}; good parts: {} ({})", counts,
         folder_.class_names[folder_.reference_class], folder_.reference_reason);
    if (!group_.is_alone()) info("{} processes share each batch", group_.size());
  }

  void log_means(LossMeans& means, const Progress& progress) {
    auto values = means.take();
    values.emplace_back("images_per_second", progress.rate());
    if (group_.is_first()) log_.write(trainer_->steps_done(), "train", values);
  }

  void validate() {
    const int64_t step = trainer_->steps_done();
    Model& model = trainer_->averaged();
    ValidationScores scores = validate_(model, step);
    // Processors of different kinds round differently; all must decide alike.
    const Tensor score = torch::tensor(scores.score, torch::kDouble);
    group_.broadcast({score});
    scores.score = score.item<double>();
    if (group_.is_first()) log_.write(step, "val", scores.values);
    last_validation_ = "  | " + brief(scores.values);
    if (!isatty(STDERR_FILENO)) info("step {}: {}", step, brief(scores.values));
    // Ties go to the later model: it has seen more.
    if (!trainer_->schedule().settled(step)) return;
    stale_validations_ = scores.score > best_score_ ? 0 : stale_validations_ + 1;
    if (scores.score >= best_score_) {
      best_score_ = scores.score;
      if (group_.is_first()) save_checkpoint(run_ / "best.safetensors", model);
    }
    if (out_of_patience())
      info("step {}: no better score in {} validations; finished", step, stale_validations_);
  }

  bool out_of_patience() const {
    return config_.train.patience > 0 && stale_validations_ >= config_.train.patience;
  }

  void save_last() {
    if (!group_.is_first()) return;
    save_checkpoint(run_ / "last.safetensors", trainer_->averaged(), trainer_->state(),
                    {{"best_score", fmt::format("{:.17g}", best_score_)},
                     {"state.stale_validations", std::to_string(stale_validations_)}});
  }

  fs::path run_;
  std::optional<FolderLock> lock_;
  ProcessGroup group_;
  Config config_;
  ImageFolder folder_;
  std::unique_ptr<Trainer> trainer_;
  RunLog log_;
  Validate validate_;
  double best_score_ = 0;
  int64_t stale_validations_ = 0;
  std::string last_validation_;
};

/// The processes of this launch; the first one speaks for all.
ProcessGroup join_launch() {
  const ProcessGroup group(read_launch());
  show_messages(group.is_first());
  return group;
}

/// The run folder appears whole or not at all: it is filled under another name first.
void create_run_folder(const fs::path& given, const fs::path& data, const Config& config) {
  const fs::path run = plain_path(given);
  if (fs::exists(run))
    fail(ErrorCode::kUsage,
         "{} is there already; go on with it: flipside train --resume {}, or choose another --out",
         run.string(), run.string());
  const fs::path fresh = run.string() + ".new" + std::to_string(getpid());
  const std::string source = fs::absolute(data).lexically_normal().string();
  if (!is_utf8(source))
    fail(ErrorCode::kUsage, "{}: the path of the data must be UTF-8; rename the folder", source);
  const nlohmann::ordered_json about{
      {"data", source}, {"version", FLIPSIDE_VERSION}, {"seed", config.train.seed}};
  try {
    atomic_write(fresh / "run.json", about.dump(2) + "\n");
    atomic_write(fresh / "config.toml", to_toml(config));
    fs::rename(fresh, run);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove_all(fresh, ignored);
    if (dynamic_cast<const Error*>(&error)) throw;
    fail(ErrorCode::kIo, "{}: could not be made: {}", run.string(), error.what());
  }
}

}  // namespace

void start_run(const fs::path& data, const fs::path& run, const Config& config,
               const MakeValidate& make_validate) {
  validate_config(config);
  const ProcessGroup group = join_launch();
  Run fresh(run, data, config, group, make_validate);  // writes nothing yet, finds what is wrong
  group.from_first([&] {
    create_run_folder(run, data, config);
    return std::string();
  });
  fresh.lock();
  fresh.train();
}

RunAbout read_about(const fs::path& run) {
  const fs::path file = run / "run.json";
  if (!fs::exists(file))
    fail(ErrorCode::kUsage,
         "{}: is no run folder (it has no run.json); start one with: flipside "
         "train DIR --out {}",
         run.string(), run.string());
  const auto about = nlohmann::json::parse(read_file(file), nullptr, false);
  if (!about.is_object() || !about.contains("data") || !about["data"].is_string())
    fail(ErrorCode::kCheckpoint,
         "{}: is no JSON with a key \"data\"; restore it or start a new run", file.string());
  const auto version = about.find("version");
  return {about["data"].get<std::string>(),
          version != about.end() && version->is_string() ? version->get<std::string>() : ""};
}

void resume_run(const fs::path& run, const MakeValidate& make_validate) {
  const ProcessGroup group = join_launch();
  const std::string data = group.from_first([&] { return read_about(run).data.string(); });
  if (!fs::exists(data))
    fail(ErrorCode::kData,
         "{}: its images {} are gone; if they were moved, write their new place into {}",
         run.string(), data, (run / "run.json").string());
  const std::string text =
      group.from_first([&] { return to_toml(load_stored_config(run / "config.toml")); });
  Config config;
  parse_config(text, (run / "config.toml").string(), config);
  Run resumed(run, data, config, group, make_validate);
  resumed.lock();
  resumed.restore();
  resumed.train();
}

}  // namespace flipside
