// The bundled model, its demo requests and its reference outputs, for the tests of whole runs.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/serve/serve.h"

namespace steelyard {

inline std::filesystem::path BundledFolder() {
  return STEELYARD_SOURCE_DIR "/models/qwen3_moe_tiny";
}

inline const ModelFiles& BundledModel() {
  static const Result<ModelFiles>& files =
      *new Result<ModelFiles>(ModelFiles::Open(BundledFolder()));
  return files.value();
}

/// The first `count` of the drifting requests; all of them where there are no more.
inline std::vector<Request> DemoRequests(size_t count) {
  const ModelFiles& model = BundledModel();
  std::vector<Request> requests = ReadRequests(STEELYARD_SOURCE_DIR "/models/demo_requests.jsonl",
                                               model.tokenizer, model.limits())
                                      .value();
  if (count < requests.size()) requests.resize(count);
  return requests;
}

inline std::vector<Json> ReferenceLines(const std::string& name) {
  std::vector<Json> lines;
  std::ifstream file(BundledFolder() / "reference" / name);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) lines.push_back(Json::parse(line));
  }
  EXPECT_FALSE(lines.empty()) << name;
  return lines;
}

inline std::vector<std::vector<int32_t>> TokensOf(const ServeReport& report) {
  std::vector<std::vector<int32_t>> tokens;
  for (const RequestResult& result : report.results) tokens.push_back(result.new_tokens);
  return tokens;
}

}  // namespace steelyard
