// What the serving loop knows of a model: weights that the ranks of a process share, and one
// RankModel per rank with that rank's experts, cache and scratch memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/compute/gemm.h"
#include "engine/models/kv_cache.h"
#include "steelyard/balance/balancer.h"
#include "steelyard/base/clock.h"
#include "steelyard/base/status.h"
#include "steelyard/comm/communicator.h"
#include "steelyard/load/load_window.h"
#include "steelyard/migrate/expert_store.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

struct ModelOptions {
  ComputeType compute = ComputeType::kBf16;
  int max_context = 0;  // most positions of a sequence
};

struct RankOptions {
  Communicator* comm = nullptr;          // must outlive the rank's model
  const Placement* placement = nullptr;  // says which experts to load; not kept
  int num_spare_buffers = 0;
  int max_rows = 0;  // most tokens of a step
  int num_kv_blocks = 0;
  Duration exchange_timeout = std::chrono::seconds(60);
};

/// Tokens of one sequence in one step: a run of rows, positions in a row from `first_position`.
struct SequenceRun {
  std::span<const int32_t> blocks;  // of the cache, those of positions 0.. in order
  int first_row = 0;
  int num_rows = 0;
  int first_position = 0;
  Phase phase = Phase::kPrefill;
  bool wants_logits = false;  // of its last row
};

/// Sees where the router sends each token of this rank.
class RoutingSink {
 public:
  virtual ~RoutingSink() = default;
  /// `layer` counts MoE layers; `experts` [num_rows, top_k] of the step's rows.
  virtual void Routed(int layer, std::span<const int32_t> experts) = 0;
};

struct StepBatch {
  std::span<const int32_t> tokens;    // [num_rows], may be empty
  std::span<const SequenceRun> runs;  // cover the rows in order
  bool more_work = false;             // this rank may have tokens for another step
  RoutingSink* routing = nullptr;     // may be null
};

/// One rank of a model; used by that rank's thread alone.
class RankModel {
 public:
  virtual ~RankModel() = default;

  virtual ExpertStore& experts() = 0;

  /// One step, in lock-step with the other ranks, between the balancer's BeginStep() and EndStep().
  /// Returns whether any rank may have tokens for another step. Fails when a peer is lost or says
  /// something that cannot be.
  virtual Result<bool> Forward(const StepBatch& batch, Balancer& balancer) = 0;

  /// Logits of the step's runs that want them, in the order of runs: [count, vocab], of those from
  /// `first` on. Valid until the next call. Requires: count <= kMaxLogitRows.
  virtual std::span<const float> Logits(int first, int count) = 0;
  static constexpr int kMaxLogitRows = 64;
};

/// Never changes once loaded, so threads may share it.
class Model {
 public:
  virtual ~Model() = default;
  virtual Result<std::unique_ptr<RankModel>> MakeRank(const RankOptions& options) const = 0;
};

}  // namespace steelyard
