#include <nlohmann/json.hpp>

#include "flipside/attack/suite.h"
#include "flipside/core/error.h"

namespace flipside {

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
