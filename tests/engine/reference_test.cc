// The bundled model says what Hugging Face transformers says, within the tolerances that were
// measured on transformers itself (models/qwen3_moe_tiny/reference/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>

#include "bundled.h"
#include "trace/npz.h"

namespace steelyard {
namespace {

struct ReferenceRun {
  ServeReport report;
  std::map<std::string, std::vector<float>> logits;  // by id
};

std::vector<Request> ReferenceRequests() {
  std::vector<Request> requests;
  const std::vector<Json> greedy = ReferenceLines("greedy.jsonl");
  for (const Json& line : ReferenceLines("tokens.jsonl")) {
    Request request;
    request.id = line["id"].get<std::string>();
    request.input_ids = line["input_ids"].get<std::vector<int32_t>>();
    for (const Json& row : greedy) {
      if (row["id"] == line["id"]) {
        request.max_new_tokens = static_cast<int64_t>(row["new_tokens"].size());
      }
    }
    request.ignore_eos = true;
    requests.push_back(std::move(request));
  }
  return requests;
}

ReferenceRun RunReference(ComputeType compute) {
  ReferenceRun run;
  ServeOptions options;
  options.compute = compute;
  options.num_ranks = 2;
  options.balancer.window_steps = 8;
  options.count_prefill_routing = true;
  options.on_logits = [&](const Request& request, std::span<const float> logits) {
    run.logits[request.id].assign(logits.begin(), logits.end());
    return Status::Ok();
  };
  const std::vector<Request> requests = ReferenceRequests();
  Result<ServeReport> report = Serve(BundledModel(), requests, options);
  EXPECT_TRUE(report.ok()) << report.status().ToString();
  if (report.ok()) run.report = *std::move(report);
  return run;
}

const ReferenceRun& RunOf(ComputeType compute) {
  static const ReferenceRun& f32 = *new ReferenceRun(RunReference(ComputeType::kF32));
  static const ReferenceRun& bf16 = *new ReferenceRun(RunReference(ComputeType::kBf16));
  return compute == ComputeType::kF32 ? f32 : bf16;
}

Json Tolerance(ComputeType compute) {
  const Json all = ReadJsonFile(BundledFolder() / "reference/tolerances.json").value();
  return all[std::string(ComputeTypeName(compute))];
}

NpzFile OpenNpz(const std::string& name) {
  Result<NpzFile> file = NpzFile::Open(BundledFolder() / "reference" / name);
  EXPECT_TRUE(file.ok()) << file.status().ToString();
  return std::move(file).value();
}

struct Difference {
  double largest = 0;
  double rms = 0;
};

Difference CompareLogits(const ReferenceRun& run) {
  const NpzFile file = OpenNpz("logits.npz");
  const std::vector<std::string> ids = file.Read("ids").value().ToStrings().value();
  const std::vector<double> last = file.Read("last").value().ToDoubles().value();
  const size_t vocab = last.size() / ids.size();
  Difference difference;
  double squares = 0;
  EXPECT_EQ(run.logits.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::vector<float>& have = run.logits.at(ids[i]);
    EXPECT_EQ(have.size(), vocab);
    for (size_t v = 0; v < vocab; ++v) {
      const double delta = have[v] - last[i * vocab + v];
      difference.largest = std::max(difference.largest, std::fabs(delta));
      squares += delta * delta;
    }
  }
  difference.rms = std::sqrt(squares / static_cast<double>(last.size()));
  return difference;
}

// Prompts whose greedy tokens differ from the reference before the first step whose margin is so
// small that either token is right.
int CountEarlyPartings(const ReferenceRun& run, double smallest_margin, int* num_compared) {
  std::map<std::string, Json> greedy;
  for (const Json& line : ReferenceLines("greedy.jsonl")) greedy[line["id"]] = line;
  int num_early = 0;
  for (const RequestResult& result : run.report.results) {
    const Json& want = greedy.at(result.id);
    for (size_t i = 0; i < result.new_tokens.size(); ++i) {
      if (want["margin"][i].get<double>() < smallest_margin) break;
      ++*num_compared;
      if (result.new_tokens[i] != want["new_tokens"][i].get<int32_t>()) {
        ++num_early;
        break;
      }
    }
  }
  return num_early;
}

TEST(Reference, LogitsInFloat32AreThoseOfTransformers) {
  const Difference difference = CompareLogits(RunOf(ComputeType::kF32));
  RecordProperty("largest", std::to_string(difference.largest));
  EXPECT_LE(difference.largest, Tolerance(ComputeType::kF32)["logits"].get<double>());
}

TEST(Reference, LogitsInBf16AreThoseOfTransformers) {
  const Difference difference = CompareLogits(RunOf(ComputeType::kBf16));
  RecordProperty("rms", std::to_string(difference.rms));
  EXPECT_LE(difference.rms, Tolerance(ComputeType::kBf16)["rms"].get<double>());
}

TEST(Reference, GreedyTokensInFloat32AreThoseOfTransformers) {
  int num_compared = 0;
  EXPECT_EQ(CountEarlyPartings(RunOf(ComputeType::kF32),
                               Tolerance(ComputeType::kF32)["margin"].get<double>(), &num_compared),
            0);
  EXPECT_GT(num_compared, 500);
}

// One expert chosen otherwise moves single logits far: one prompt in twelve may part early.
TEST(Reference, GreedyTokensInBf16AreThoseOfTransformers) {
  int num_compared = 0;
  EXPECT_LE(
      CountEarlyPartings(RunOf(ComputeType::kBf16),
                         Tolerance(ComputeType::kBf16)["margin"].get<double>(), &num_compared),
      2);
  EXPECT_GT(num_compared, 20);
}

TEST(Reference, PromptsVisitTheExpertsThatTransformersChose) {
  const NpzFile routing = OpenNpz("routing.npz");
  std::map<std::string, std::vector<double>> gaps;
  for (const Json& line : ReferenceLines("routing_gaps.jsonl")) {
    gaps[line["id"]] = line["smallest_gap"].get<std::vector<double>>();
  }
  int num_compared = 0;
  for (const RequestResult& result : RunOf(ComputeType::kF32).report.results) {
    const std::vector<double>& gap = gaps.at(result.id);
    if (*std::min_element(gap.begin(), gap.end()) <= 1e-4) continue;
    const std::vector<double> want = routing.Read(result.id).value().ToDoubles().value();
    const std::vector<double> have(result.prefill_routing.begin(), result.prefill_routing.end());
    EXPECT_EQ(have, want) << result.id;
    ++num_compared;
  }
  EXPECT_GE(num_compared, 15);
}

}  // namespace
}  // namespace steelyard
