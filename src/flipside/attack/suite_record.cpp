#include <nlohmann/json.hpp>

#include "flipside/attack/suite.h"
#include "flipside/core/error.h"

namespace flipside {

namespace {

/// Values of the shares put back into the order of the set.
std::vector<int64_t> interleaved(const std::vector<const std::vector<int64_t>*>& shards) {
  std::vector<int64_t> whole;
  for (size_t row = 0; row < shards[0]->size(); ++row)
    for (const auto* shard : shards)
      if (row < shard->size()) whole.push_back((*shard)[row]);
  return whole;
}

}  // namespace

SuiteRecord merge_shards(const std::vector<SuiteRecord>& shards) {
  TORCH_CHECK(!shards.empty(), "no shards to merge");
  const auto merge = [&](const auto& part_of) {
    std::vector<const std::vector<int64_t>*> parts;
    for (const auto& shard : shards) parts.push_back(&part_of(shard));
    return interleaved(parts);
  };
  const SuiteRecord& first = shards[0];
  SuiteRecord whole{first.num_classes,
                    first.rejects,
                    merge([](const SuiteRecord& r) -> auto& { return r.labels; }),
                    merge([](const SuiteRecord& r) -> auto& { return r.clean; }),
                    {}};
  for (size_t i = 0; i < shards.size(); ++i) {
    bool alike = shards[i].stages.size() == first.stages.size();
    for (size_t k = 0; alike && k < first.stages.size(); ++k)
      alike = shards[i].stages[k].eps == first.stages[k].eps &&
              shards[i].stages[k].attack == first.stages[k].attack;
    if (!alike)
      fail(ErrorCode::kData,
           "shards 1/{0} and {1}/{0} have not come equally far; finish both with --shard first",
           shards.size(), i + 1);
  }
  for (size_t k = 0; k < first.stages.size(); ++k)
    whole.stages.push_back(
        {first.stages[k].eps, first.stages[k].attack, first.stages[k].alone,
         merge([k](const SuiteRecord& r) -> auto& { return r.stages[k].answers; })});
  return whole;
}

std::string to_json(const SuiteRecord& record) {
  nlohmann::ordered_json stages = nlohmann::ordered_json::array();
  for (const auto& stage : record.stages)
    stages.push_back({{"eps", stage.eps},
                      {"attack", stage.attack},
                      {"alone", stage.alone},
                      {"answers", stage.answers}});
  return nlohmann::ordered_json{{"num_classes", record.num_classes},
                                {"rejects", record.rejects},
                                {"labels", record.labels},
                                {"clean", record.clean},
                                {"stages", stages}}
      .dump();
}

SuiteRecord suite_record_from_json(const std::string& text) {
  try {
    const auto json = nlohmann::json::parse(text);
    SuiteRecord record;
    record.num_classes = json.at("num_classes").get<int64_t>();
    record.rejects = json.at("rejects").get<bool>();
    record.labels = json.at("labels").get<std::vector<int64_t>>();
    record.clean = json.at("clean").get<std::vector<int64_t>>();
    for (const auto& stage : json.at("stages")) {
      record.stages.push_back({stage.at("eps").get<double>(), stage.at("attack").get<std::string>(),
                               stage.at("alone").get<bool>(),
                               stage.at("answers").get<std::vector<int64_t>>()});
      if (record.stages.back().answers.size() != record.clean.size())
        fail(ErrorCode::kData, "stored attack: stages of unequal length; begin in a new folder");
    }
    return record;
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorCode::kData, "stored attack: {}; begin in a new folder", error.what());
  }
}

}  // namespace flipside
