// A RegisteredModel is what balancer and tools may ask of any model, whatever its family: where its
// MoE layers are, which experts each rank holds, where tokens of an expert may go, what has come
// in.
//
// Here `layer` always counts MoE layers from 0; moe_layers() says which layers of the model those
// are. Answers are those of the balancer's tables in force and change only between two steps. Used
// by the thread that drives the rank's steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "steelyard/balance/balancer.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// Where a model's experts are, by its family's rule.
struct MoeLayout {
  std::string model_type;
  int num_model_layers = 0;     // dense and MoE layers together
  std::vector<int> moe_layers;  // model layers, from 0, ascending
  int num_experts = 0;          // in each of them
};

/// Reads config.json of a model folder. Knows every registered family (qwen3_moe, deepseek_v2,
/// deepseek_v3), those whose engine is not built included. Fails naming file, key and rule, or with
/// the list of families.
Result<MoeLayout> ReadMoeLayout(const std::filesystem::path& model_folder);

/// One place where tokens of an expert go, and the part of them that it takes.
struct ExpertReplica {
  int32_t slot = 0;  // over all ranks: rank * slots_per_rank + local slot
  double share = 1.0;
  friend bool operator==(const ExpertReplica&, const ExpertReplica&) = default;
};

class RegisteredModel {
 public:
  /// `balancer` is that of rank `rank` and must outlive the model. Fails with kInvalidArgument when
  /// it balances another number of layers or experts than the layout has.
  static Result<RegisteredModel> Create(MoeLayout layout, Balancer* balancer, int rank);

  const MoeLayout& layout() const { return layout_; }
  int num_moe_layers() const { return static_cast<int>(layout_.moe_layers.size()); }

  /// Local slot of each expert on this rank, -1 where the rank does not hold it; [num_experts].
  std::vector<int32_t> ExpertMap(int layer) const;

  /// ExpertMap() of every layer, [num_moe_layers, num_experts].
  std::vector<int32_t> AllExpertMaps() const;

  /// Every slot of each expert, ascending, with its share; [num_experts][replicas].
  std::vector<std::vector<ExpertReplica>> LogicalToPhysical(int layer) const;

  /// Tokens that each local slot has received since the last ClearMoeLoads(), [num_moe_layers,
  /// slots_per_rank]; a copy.
  std::vector<int64_t> MoeLoads() const;
  void ClearMoeLoads() { balancer_->ClearLoads(); }

 private:
  RegisteredModel(MoeLayout layout, Balancer* balancer, int rank)
      : layout_(std::move(layout)), balancer_(balancer), rank_(rank) {}

  MoeLayout layout_;
  Balancer* balancer_;
  int rank_;
};

}  // namespace steelyard
