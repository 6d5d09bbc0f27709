#include "steelyard/engine/registered_model.h"

#include <fmt/format.h>

#include <span>
#include <utility>

#include "engine/checkpoint/model_config.h"
#include "engine/models/registry.h"
#include "steelyard/base/check.h"

namespace steelyard {

Result<MoeLayout> ReadMoeLayout(const std::filesystem::path& model_folder) {
  STEELYARD_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(model_folder));
  const Result<const ModelFamily*> family = FindFamily(config.model_type);
  if (!family.ok()) return family.status().WithContext((model_folder / "config.json").string());
  return MoeLayout{config.model_type, static_cast<int>(config.num_hidden_layers),
                   (*family)->moe_layers(config), static_cast<int>(config.num_experts)};
}

Result<RegisteredModel> RegisteredModel::Create(MoeLayout layout, Balancer* balancer, int rank) {
  const Placement placement = balancer->placement();
  if (placement.num_layers() != static_cast<int>(layout.moe_layers.size()) ||
      placement.num_experts() != layout.num_experts) {
    return InvalidArgument(
        fmt::format("{}: the balancer has {} layers of {} experts, the model {} MoE layers of {}",
                    layout.model_type, placement.num_layers(), placement.num_experts(),
                    layout.moe_layers.size(), layout.num_experts));
  }
  if (rank < 0 || rank >= placement.topology().num_ranks()) {
    return InvalidArgument(fmt::format("{}: rank {} is none of the {} ranks", layout.model_type,
                                       rank, placement.topology().num_ranks()));
  }
  return RegisteredModel(std::move(layout), balancer, rank);
}

std::vector<int32_t> RegisteredModel::ExpertMap(int layer) const {
  STEELYARD_CHECK(layer >= 0 && layer < num_moe_layers());
  const LayerTables tables = balancer_->tables(layer);
  const int slots_per_rank = static_cast<int>(tables.slot_to_buffer.size());
  std::vector<int32_t> map(layout_.num_experts, -1);
  // From the last slot to the first, so that of two copies on a rank the lower one stands.
  for (int slot = slots_per_rank - 1; slot >= 0; --slot) {
    map[tables.slot_to_expert[rank_ * slots_per_rank + slot]] = slot;
  }
  return map;
}

std::vector<int32_t> RegisteredModel::AllExpertMaps() const {
  std::vector<int32_t> all;
  for (int layer = 0; layer < num_moe_layers(); ++layer) {
    const std::vector<int32_t> map = ExpertMap(layer);
    all.insert(all.end(), map.begin(), map.end());
  }
  return all;
}

std::vector<std::vector<ExpertReplica>> RegisteredModel::LogicalToPhysical(int layer) const {
  STEELYARD_CHECK(layer >= 0 && layer < num_moe_layers());
  const RoutingTable& routing = *balancer_->tables(layer).routing;
  std::vector<std::vector<ExpertReplica>> replicas(layout_.num_experts);
  for (int expert = 0; expert < layout_.num_experts; ++expert) {
    const std::span<const int32_t> slots = routing.slots(expert);
    const std::span<const double> shares = routing.shares(expert);
    for (size_t i = 0; i < slots.size(); ++i) replicas[expert].push_back({slots[i], shares[i]});
  }
  return replicas;
}

std::vector<int64_t> RegisteredModel::MoeLoads() const {
  const std::span<const int64_t> loads = balancer_->loads();
  return {loads.begin(), loads.end()};
}

}  // namespace steelyard
