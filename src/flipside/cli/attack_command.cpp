#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "flipside/cli/commands.h"
#include "flipside/cli/config_options.h"
#include "flipside/core/error.h"
#include "flipside/core/file.h"
#include "flipside/core/log.h"
#include "flipside/data/hash.h"
#include "flipside/data/loader.h"
#include "flipside/eval/doubt.h"
#include "flipside/eval/evaluator.h"
#include "flipside/eval/model_folder.h"
#include "flipside/eval/robustness.h"
#include "flipside/eval/victims.h"
#include "flipside/explain/views.h"
#include "flipside/report/attack_files.h"
#include "flipside/report/sample_pictures.h"

namespace flipside {
namespace {

constexpr int64_t kPictures = 8;  // attacked images drawn

struct AttackArguments {
  DeviceChoice device = DeviceChoice::kAuto;
  std::string run, data, on = "discriminator", json, out;
  Split split = Split::kTest;
  SuiteOptions suite;
  std::vector<double> eps;  ///< as given: in 1/255 for L-inf
  Shard shard;
  RejectScore reject_score = RejectScore::kFakeness;
  double accept = 0.95;
  int64_t limit = 200;
};

/// One suite to run: a name for people and for the stored state.
struct Trial {
  std::string name, key;
  Victim victim, judge;
  bool adaptive = true;  ///< the attacker sees what answers
};

std::vector<Trial> make_trials(const Model& model, const AttackArguments& arguments,
                               double threshold) {
  if (arguments.on == "head") {
    const Victim head = head_victim(model);
    return {{"generator's head", "head", head, head}};
  }
  const Victim classes = class_victim(model);
  if (arguments.on == "discriminator") {
    const bool classifier = model.config.model.kind == ModelKind::kClassifier;
    return {{classifier ? "classifier" : "discriminator, real classes", "discriminator", classes,
             classes}};
  }
  if (arguments.on == "answer") {
    const Victim answer = answer_victim(model);
    return {{"answer, attacker asks about the image as it lies only", "answer_unaware", classes,
             answer, /*adaptive=*/false},
            {"answer, adaptive attacker", "answer_adaptive", answer, answer}};
  }
  const Victim reject = reject_victim(model, arguments.reject_score, threshold);
  return {{"reject option, attacker sees the real classes only", "reject_unaware", classes, reject,
           /*adaptive=*/false},
          {"reject option, adaptive attacker", "reject_adaptive", reject, reject}};
}

/// Throws `Error(kUsage)` for a model without what is to be attacked.
void require_on(const std::string& on, const Model& model) {
  if ((on == "head" || on == "reject") && model.config.model.kind != ModelKind::kCounterfactual)
    fail(ErrorCode::kUsage, "--on {}: only a counterfactual model has it; leave --on out", on);
  if (on == "answer" && views_of(model.config, /*square=*/true).size() == 1)
    fail(ErrorCode::kUsage,
         "--on answer: this model asks about an image as it lies only (average_views = false, or "
         "trained without flip and turn), which is what is attacked without --on; leave it out");
}

/// Of the images as they were read. A sum would depend on the number of threads.
uint64_t hash_of_pixels(const Tensor& images) {
  const Tensor bytes = images.mul(255).round().to(torch::kUInt8).contiguous();
  const auto* byte = bytes.data_ptr<uint8_t>();
  Hash hash;
  for (int64_t i = 0; i < bytes.numel(); ++i) hash.mix(byte[i]);
  return hash.value();
}

/// What must be the same for stored results to be gone on with.
std::string fingerprint(const AttackArguments& arguments, const Batch& images) {
  struct stat status {};
  const fs::path checkpoint = checkpoint_file(arguments.run);
  stat(checkpoint.c_str(), &status);
  const SuiteOptions& suite = arguments.suite;
  return nlohmann::json{{"run", fs::absolute(checkpoint).string()},
                        {"changed", static_cast<int64_t>(status.st_mtime)},
                        {"data", fs::absolute(arguments.data).string()},
                        {"pixels", hash_of_pixels(images.images)},
                        {"split", to_string(arguments.split)},
                        {"images", images.images.size(0)},
                        {"on", arguments.on},
                        {"accept", arguments.accept},
                        {"reject_score", static_cast<int>(arguments.reject_score)},
                        {"norm", to_string(suite.norm)},
                        {"eps", suite.eps},
                        {"steps", suite.steps},
                        {"restarts", suite.restarts},
                        {"queries", suite.queries},
                        {"alone", suite.alone},
                        {"seed", suite.seed}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Partial results in the out folder: one file per trial and shard, rewritten after every batch.
class StoredRecords {
 public:
  /// `fingerprint` is that of the whole set of images, whatever the shard.
  StoredRecords(const fs::path& out, const std::string& fingerprint, const Shard& shard)
      : out_(out), fingerprint_(fingerprint), shard_(shard) {
    if (out_.empty()) return;
    if (!fs::exists(about(shard_))) atomic_write(about(shard_), fingerprint);
    require_same(shard_);
  }
  /// What an interrupted call has left; for the whole set, else, what its shards have found.
  SuiteRecord load(const Trial& trial) const {
    if (out_.empty()) return {};
    if (fs::exists(file(trial, shard_))) return read(trial, shard_);
    const int64_t count = shard_.is_whole() ? stored_shards() : 0;
    if (count == 0) return {};
    std::vector<SuiteRecord> records;
    for (int64_t i = 0; i < count; ++i) {
      const Shard part{i, count};
      if (!fs::exists(file(trial, part)))
        fail(ErrorCode::kUsage,
             "{}: the shards' results are put together when all are there; {}/{}"
             " is missing: run it with --shard {}/{}, or choose another --out",
             out_.string(), i + 1, count, i + 1, count);
      require_same(part);
      records.push_back(read(trial, part));
    }
    return merge_shards(records);
  }
  void save(const Trial& trial, const SuiteRecord& record) const {
    if (!out_.empty()) atomic_write(file(trial, shard_), to_json(record));
  }

 private:
  fs::path about(const Shard& shard) const { return out_ / shard_file("state", ".json", shard); }
  fs::path file(const Trial& trial, const Shard& shard) const {
    return out_ / shard_file("state_" + trial.key, ".json", shard);
  }
  SuiteRecord read(const Trial& trial, const Shard& shard) const {
    return suite_record_from_json(read_file(file(trial, shard)));
  }
  void require_same(const Shard& shard) const {
    if (read_file(about(shard)) != fingerprint_)
      fail(ErrorCode::kUsage,
           "{}: holds the attack of another model, data or options; choose another --out",
           out_.string());
  }
  /// Into how many shards an attack in this folder was cut; 0 where none was.
  int64_t stored_shards() const {
    for (const auto& entry : fs::directory_iterator(out_)) {
      long long index = 0, count = 0;
      if (std::sscanf(entry.path().filename().c_str(), "state.%lld-of-%lld.json", &index, &count) ==
          2)
        return count;
    }
    return 0;
  }

  fs::path out_;
  std::string fingerprint_;
  Shard shard_;
};

/// The images of a shard.
Batch share_of(const Batch& all, const Shard& shard) {
  const int64_t n = all.images.size(0);
  if (shard.count > n)
    fail(ErrorCode::kUsage, "--shard: {} images cannot be cut into {} shards; raise --limit", n,
         shard.count);
  return {all.images.slice(0, shard.index, n, shard.count).contiguous(kChannelsLast),
          all.labels.slice(0, shard.index, n, shard.count).contiguous(),
          {},
          {}};
}

SuiteRecord attack_trial(const Trial& trial, const Batch& images, SuiteOptions options,
                         const StoredRecords& stored) {
  options.stop_when_won = trial.adaptive;
  return attack_with_progress(trial.key, trial.victim, trial.judge, images, options,
                              stored.load(trial),
                              [&](const SuiteRecord& partial) { stored.save(trial, partial); });
}

Robustness run_trial(const Trial& trial, const Batch& images, const SuiteOptions& options,
                     const StoredRecords& stored) {
  const SuiteRecord record = attack_trial(trial, images, options, stored);
  // One who does not see what answers fails for that reason, and not by a hidden gradient.
  if (!trial.adaptive) return summarise(record, options.eps, trial.name, {});
  info("{}: looking for signs of hidden gradients", trial.key);
  return summarise_with_warnings(record, trial.name, trial.victim, images, options);
}

void write_files(const fs::path& out, const RobustnessReport& report,
                 const std::vector<Trial>& trials, const Batch& images, SuiteOptions options) {
  atomic_write(out / "attack.json", to_json(report));
  const int64_t n = images.images.size(0), count = std::min(n, kPictures);
  const Tensor rows = (torch::arange(count, torch::kInt64) * n).div(count, "floor");
  for (size_t i = 0; i < trials.size(); ++i) {
    atomic_write(out / (trials[i].key + ".svg"), robustness_svg(report.victims[i], options.norm));
    options.stop_when_won = trials[i].adaptive;
    draw_attacked(out / (trials[i].key + ".png"), trials[i].victim,
                  images.images.index_select(0, rows), images.labels.index_select(0, rows),
                  report.class_names, options);
  }
}

/// The bounds as the suite takes them: rising, in [0,1] units, without 0, which is no attack.
std::vector<double> suite_bounds(const AttackArguments& arguments) {
  const bool linf = arguments.suite.norm == Norm::kLinf;
  std::vector<double> given = arguments.eps;
  if (given.empty())
    given = linf ? std::vector<double>{1, 2, 4, 8} : std::vector<double>{0.25, 0.5, 1, 2};
  std::set<double> bounds;
  for (double eps : given)
    if (eps > 0) bounds.insert(eps / (linf ? 255 : 1));
  return {bounds.begin(), bounds.end()};
}

void run_attack_command(AttackArguments arguments) {
  if (!arguments.shard.is_whole() && (arguments.out.empty() || !arguments.json.empty()))
    fail(ErrorCode::kUsage,
         "--shard: needs --out, and takes no --json: the report comes from the "
         "same command without --shard when all shards are done");
  require_writable_result(arguments.json);
  arguments.suite.eps = suite_bounds(arguments);
  const Model model = load_model(arguments.run, resolve_device(arguments.device));
  require_on(arguments.on, model);
  const ImageFolder folder = scan_for_model(arguments.data, model);
  const Batch images = spread_images(folder, model.config.data, arguments.split, arguments.limit);
  RobustnessReport report;
  report.norm = arguments.suite.norm;
  report.split = to_string(arguments.split);
  report.images = images.images.size(0);
  report.class_names = model.class_names;
  report.options = arguments.suite;
  if (arguments.on == "reject")
    report.reject_threshold =
        choose_reject_threshold(model, folder, arguments.reject_score, arguments.accept);
  const auto trials = make_trials(model, arguments, report.reject_threshold.value_or(1.0));
  const StoredRecords stored(arguments.out, fingerprint(arguments, images), arguments.shard);
  if (!arguments.shard.is_whole()) {
    arguments.suite.shard = arguments.shard;
    const Batch share = share_of(images, arguments.shard);
    for (const auto& trial : trials) attack_trial(trial, share, arguments.suite, stored);
    info("shard {}/{} is done; when all are, the same command without --shard reports on them",
         arguments.shard.index + 1, arguments.shard.count);
    return;
  }
  for (const auto& trial : trials)
    report.victims.push_back(run_trial(trial, images, arguments.suite, stored));
  if (!arguments.out.empty()) write_files(arguments.out, report, trials, images, arguments.suite);
  put_result(arguments.json, to_json(report), to_text(report));
}

void add_budget_options(CLI::App& command, const std::shared_ptr<AttackArguments>& arguments) {
  SuiteOptions& suite = arguments->suite;
  const auto add_count = [&](const char* flag, int64_t& value, const char* help, int64_t most) {
    command.add_option(flag, value, help)
        ->check(CLI::Range(int64_t{1}, most))
        ->capture_default_str()
        ->type_name("");
  };
  add_count("--steps", suite.steps, "of APGD and FAB", 100000);
  add_count("--restarts", suite.restarts, "of APGD and FAB", 1000);
  add_count("--queries", suite.queries, "of Square, per image", 1000000);
  add_count("--batch", suite.batch, "images per pass", 1024);
  command
      .add_option("--limit", arguments->limit,
                  "attack this many images, spread over the split; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->type_name("");
  command.add_flag("--alone", suite.alone,
                   "each attack on every image, also those that another one has broken");
  command.add_option("--seed", suite.seed, "same seed, same attack")
      ->capture_default_str()
      ->type_name("");
}

}  // namespace

void add_attack_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("attack", "Measure a model under attack, worst case per image");
  auto arguments = std::make_shared<AttackArguments>();
  command->add_option("RUN", arguments->run, "run folder or checkpoint")->required();
  command
      ->add_option("DIR", arguments->data,
                   "folder with one folder of images per class, or a file of data pack")
      ->required();
  add_choice<Norm>(*command, "--norm", arguments->suite.norm,
                   {{"linf", Norm::kLinf}, {"l2", Norm::kL2}}, "linf (default) or l2");
  command
      ->add_option(
          "--eps", arguments->eps,
          "bounds: in 1/255 for linf (default 0,1,2,4,8), lengths of change of [0,1] values "
          "for l2 (default 0,0.25,0.5,1,2)")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber)
      ->type_name("E,E,...");
  command
      ->add_option("--on", arguments->on,
                   "discriminator (default; or the classifier): asked about the image as it lies; "
                   "answer: as explain answers, asking again in all views where it is not sure, by "
                   "attackers who do not know of that and who do; head; or reject: the "
                   "discriminator with fakeness as rejection, by both attackers")
      ->check(CLI::IsMember({"discriminator", "answer", "head", "reject"}))
      ->type_name("WHAT");
  add_choice<RejectScore>(
      *command, "--reject-score", arguments->reject_score,
      {{"fakeness", RejectScore::kFakeness}, {"logit", RejectScore::kFakeLogit}},
      "fakeness (default) or logit");
  command
      ->add_option("--accept", arguments->accept,
                   "share of clean validation images that the reject threshold lets through")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str()
      ->type_name("");
  add_split_option(*command, arguments->split);
  add_budget_options(*command, arguments);
  command->add_option("--json", arguments->json, "write JSON to this file; -: print it instead")
      ->type_name("FILE");
  add_shard_option(*command, arguments->shard,
                   "attack only every N-th of the images, from the I-th on (I from 1 to N): N "
                   "machines share the work in one --out");
  command
      ->add_option("--out", arguments->out,
                   "folder for curves, pictures and partial results; the same command goes on")
      ->type_name("FOLDER");
  add_threads_option(*command);
  add_device_option(*command, arguments->device);
  command->callback([arguments] { run_attack_command(*arguments); });
}

}  // namespace flipside
