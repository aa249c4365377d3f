#pragma once

#include <functional>
#include <string>
#include <vector>

#include "flipside/attack/threat_model.h"
#include "flipside/attack/victim.h"
#include "flipside/core/shard.h"

namespace flipside {

struct SuiteOptions {
  Norm norm = Norm::kLinf;
  std::vector<double> eps;  ///< bounds to try, each > 0, rising
  int64_t steps = 100;      ///< of APGD and FAB
  int64_t restarts = 1;     ///< of APGD and FAB
  int64_t queries = 1000;   ///< of Square, per image
  int64_t batch = 64;
  /// Each attack on every image that is right without attack, also those that another attack has
  /// already broken: comparable attack by attack, and slower.
  bool alone = false;
  uint64_t seed = 1;
  /// False where the victim is not what answers: PGD and APGD then go on as far as they get, since
  /// the first point that wins lies at the edge, where a judge who looks again is hard to fool. FAB
  /// and Square end at that edge by their nature.
  bool stop_when_won = true;
  /// The images of a call are this share of a greater set: they get the random numbers that they
  /// would get there.
  Shard shard;
};

/// The answers after one attack at one bound.
struct Stage {
  double eps = 0;
  std::string attack;
  /// True when the answers are those of this attack alone (PGD always, the others by
  /// `SuiteOptions::alone`); else they are the worst of this one, of the attacks before it and of
  /// PGD at smaller bounds, as the attack is run on what those have left.
  bool alone = false;
  /// Per image the judge's answer in [0,K], K being "rejected"; `kPending` where it is still to be
  /// attacked.
  std::vector<int64_t> answers;
};
constexpr int64_t kPending = -1;

/// What a suite has found so far: everything needed to go on, and to summarise it.
struct SuiteRecord {
  int64_t num_classes = 0;
  bool rejects = false;                ///< the judge may reject
  std::vector<int64_t> labels, clean;  ///< per image: truth, answer without attack
  std::vector<Stage> stages;           ///< in the order of the work

  /// The worst answer of each image at a bound over all attacks at it and at smaller ones; the
  /// clean answers for 0.
  std::vector<int64_t> worst(double eps) const;
};

/// How bad an answer is for its defender: 0 right, 1 rejected, 2 wrong.
int badness(int64_t answer, int64_t label, int64_t num_classes);

/// The attacks that a suite runs on a victim with this many logits, in order: PGD-20, PGD-100,
/// APGD-CE, APGD-CW, with 3 logits APGD-DLR, with 4 logits and 3 classes APGD-DLR-T (targeted),
/// FAB, Square.
std::vector<std::string> suite_attacks(int64_t num_logits, int64_t num_classes);

/// Attacks images [N,3,H,W] in [0,1] of classes `labels` [N] at each bound by each attack.
/// `victim` is what the attacks see, `judge` what answers: two of them to ask what a reject option
/// is worth against attackers who do not know of it, one and the same for those who do. An image on
/// which the judge is wrong is not attacked again, as an image found within a bound also lies
/// within every greater one; and one that withstands every attack at a bound is attacked by PGD
/// alone at the smaller ones, whose balls lie within. Deterministic for a seed, whatever the batch
/// but for rounding.
///
/// `record` is what an earlier, interrupted call had found. `on_batch(record, images)` is called
/// after every batch.
SuiteRecord run_suite(
    const Victim& victim, const Victim& judge, const Tensor& images, const Tensor& labels,
    const SuiteOptions& options, SuiteRecord record = {},
    const std::function<void(const SuiteRecord& record, int64_t images)>& on_batch = {});

/// The attack of this name on a batch; `image_numbers` [N] choose the streams.
Tensor run_attack(const std::string& attack, const Victim& victim, const ThreatModel& threat,
                  const Tensor& images, const Tensor& labels,
                  const std::vector<int64_t>& image_numbers, const SuiteOptions& options);

/// The record of a set from those of all its shares, in order. Throws `Error(kData)` where they
/// have not come equally far.
SuiteRecord merge_shards(const std::vector<SuiteRecord>& shards);

/// A record as JSON, and back; `Error(kData)` for text that is none.
std::string to_json(const SuiteRecord& record);
SuiteRecord suite_record_from_json(const std::string& text);

}  // namespace flipside
