#include "steelyard/placement/placement.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr double kShareTolerance = 1e-6;

// What the checks of one layer need, taken once for all layers.
struct Workspace {
  std::vector<int32_t> last_slot;  // [num_experts] last slot seen to hold the expert, or -1
  std::vector<double> sum;         // [num_experts] of shares
};

std::string SlotText(const Topology& topology, int layer_idx, int slot) {
  return fmt::format("layer {}, slot {} (rank {})", layer_idx, slot, topology.rank_of_slot(slot));
}

Status CheckExperts(const Topology& topology, int layer_idx, std::span<const int32_t> experts,
                    DuplicateRule duplicates, Workspace& workspace) {
  const int num_experts = static_cast<int>(workspace.last_slot.size());
  workspace.last_slot.assign(num_experts, -1);
  for (int slot = 0; slot < topology.num_slots(); ++slot) {
    const int32_t expert = experts[slot];
    if (!topology.is_live_slot(slot)) {
      if (expert == kNoExpert) continue;
      return InvalidArgument(
          fmt::format("{}: expert {} where the rank has no live slot, only {} fits",
                      SlotText(topology, layer_idx, slot), expert, kNoExpert));
    }
    if (expert < 0 || expert >= num_experts) {
      return InvalidArgument(fmt::format("{}: expert {} is outside [0, {})",
                                         SlotText(topology, layer_idx, slot), expert, num_experts));
    }
    const int32_t before = std::exchange(workspace.last_slot[expert], slot);
    const int rank = topology.rank_of_slot(slot);
    if (duplicates == DuplicateRule::kRefuse && before >= topology.first_slot_of_rank(rank)) {
      return InvalidArgument(fmt::format("layer {}: rank {} holds expert {} in slots {} and {}",
                                         layer_idx, rank, expert, before, slot));
    }
  }
  for (int expert = 0; expert < num_experts; ++expert) {
    if (workspace.last_slot[expert] < 0) {
      return InvalidArgument(fmt::format("layer {}: expert {} has no slot", layer_idx, expert));
    }
  }
  return Status::Ok();
}

Status CheckShares(const Topology& topology, int layer_idx, std::span<const int32_t> experts,
                   std::span<const double> shares, Workspace& workspace) {
  workspace.sum.assign(workspace.last_slot.size(), 0);
  for (int slot = 0; slot < topology.num_slots(); ++slot) {
    if (!std::isfinite(shares[slot]) || shares[slot] < 0) {
      return InvalidArgument(fmt::format("{}: share {} is {}", SlotText(topology, layer_idx, slot),
                                         shares[slot],
                                         std::isfinite(shares[slot]) ? "negative" : "not finite"));
    }
    if (experts[slot] == kNoExpert) {
      if (shares[slot] == 0.0) continue;
      return InvalidArgument(fmt::format("{}: share {} of an empty slot is not 0",
                                         SlotText(topology, layer_idx, slot), shares[slot]));
    }
    workspace.sum[experts[slot]] += shares[slot];
  }
  for (size_t expert = 0; expert < workspace.sum.size(); ++expert) {
    if (std::fabs(workspace.sum[expert] - 1) > kShareTolerance) {
      return InvalidArgument(fmt::format("layer {}: shares of expert {} sum to {}, not to 1",
                                         layer_idx, expert, workspace.sum[expert]));
    }
  }
  return Status::Ok();
}

Status CheckFit(const Topology& topology, int num_experts, DuplicateRule duplicates) {
  if (num_experts < 1) {
    return InvalidArgument(fmt::format("num_experts is {}, but at least 1 is needed", num_experts));
  }
  if (topology.num_live_slots() < num_experts) {
    return InvalidArgument(
        fmt::format("{} slots are fewer than {} experts", topology.num_live_slots(), num_experts));
  }
  if (duplicates == DuplicateRule::kRefuse && topology.slots_per_rank() > num_experts) {
    return InvalidArgument(fmt::format("{} slots on a rank are more than {} experts",
                                       topology.slots_per_rank(), num_experts));
  }
  return Status::Ok();
}

// The bytes of `values`, as a little-endian machine has them.
template <typename T>
void AppendBytes(std::span<const T> values, std::string& bytes) {
  static_assert(std::endian::native == std::endian::little, "digests are over little-endian bytes");
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

}  // namespace

Result<Placement> Placement::Create(const Topology& topology, int num_experts,
                                    std::vector<int32_t> slot_to_expert, DuplicateRule duplicates,
                                    std::vector<double> shares) {
  STEELYARD_RETURN_IF_ERROR(CheckFit(topology, num_experts, duplicates));
  const auto num_slots = static_cast<size_t>(topology.num_slots());
  if (slot_to_expert.empty() || slot_to_expert.size() % num_slots != 0) {
    return InvalidArgument(fmt::format("{} entries are not one or more layers of {} slots",
                                       slot_to_expert.size(), num_slots));
  }
  if (!shares.empty() && shares.size() != slot_to_expert.size()) {
    return InvalidArgument(
        fmt::format("{} shares for {} slots", shares.size(), slot_to_expert.size()));
  }
  Placement placement;
  placement.topology_ = topology;
  placement.num_layers_ = static_cast<int>(slot_to_expert.size() / num_slots);
  placement.num_experts_ = num_experts;
  placement.slot_to_expert_ = std::move(slot_to_expert);
  placement.shares_ = std::move(shares);

  Workspace workspace;
  workspace.last_slot.resize(num_experts);
  for (int layer_idx = 0; layer_idx < placement.num_layers_; ++layer_idx) {
    const std::span<const int32_t> experts = placement.slot_to_expert(layer_idx);
    STEELYARD_RETURN_IF_ERROR(CheckExperts(topology, layer_idx, experts, duplicates, workspace));
    if (placement.has_shares()) {
      STEELYARD_RETURN_IF_ERROR(
          CheckShares(topology, layer_idx, experts, placement.shares(layer_idx), workspace));
    }
  }
  return placement;
}

Result<Placement> Placement::Contiguous(const Topology& topology, int num_layers, int num_experts) {
  if (num_layers < 1) {
    return InvalidArgument(fmt::format("num_layers is {}, but at least 1 is needed", num_layers));
  }
  STEELYARD_RETURN_IF_ERROR(CheckFit(topology, num_experts, DuplicateRule::kRefuse));
  Placement placement;
  placement.topology_ = topology;
  placement.num_layers_ = num_layers;
  placement.num_experts_ = num_experts;
  placement.slot_to_expert_.reserve(static_cast<size_t>(num_layers) * topology.num_slots());
  for (int layer_idx = 0; layer_idx < num_layers; ++layer_idx) {
    int num_placed = 0;
    for (int slot = 0; slot < topology.num_slots(); ++slot) {
      placement.slot_to_expert_.push_back(topology.is_live_slot(slot) ? num_placed++ % num_experts
                                                                      : kNoExpert);
    }
  }
  return placement;
}

std::span<const int32_t> Placement::slot_to_expert(int layer_idx) const {
  STEELYARD_CHECK(0 <= layer_idx && layer_idx < num_layers_);
  const auto size = static_cast<size_t>(num_slots());
  return {slot_to_expert_.data() + layer_idx * size, size};
}

std::span<const double> Placement::shares(int layer_idx) const {
  STEELYARD_CHECK(0 <= layer_idx && layer_idx < num_layers_);
  if (shares_.empty()) {
    return {};
  }
  const auto size = static_cast<size_t>(num_slots());
  return {shares_.data() + layer_idx * size, size};
}

bool Placement::IsContiguous(int layer_idx) const {
  int num_placed = 0;
  for (const int32_t expert : slot_to_expert(layer_idx)) {
    if (expert != kNoExpert && expert != num_placed++ % num_experts_) {
      return false;
    }
  }
  return true;
}

int Placement::CountDuplicates(int layer_idx) const {
  const std::span<const int32_t> experts = slot_to_expert(layer_idx);
  std::vector<int32_t> last_rank(num_experts_, -1);
  int num_duplicates = 0;
  for (int slot = 0; slot < num_slots(); ++slot) {
    if (experts[slot] == kNoExpert) continue;
    const int rank = topology_.rank_of_slot(slot);
    num_duplicates += std::exchange(last_rank[experts[slot]], rank) == rank ? 1 : 0;
  }
  return num_duplicates;
}

int Placement::CountDuplicates() const {
  int num_duplicates = 0;
  for (int layer_idx = 0; layer_idx < num_layers_; ++layer_idx) {
    num_duplicates += CountDuplicates(layer_idx);
  }
  return num_duplicates;
}

uint64_t Placement::Digest() const {
  std::string bytes;
  bytes.reserve(32 + slot_to_expert_.size() * 4 + shares_.size() * 8);
  const TopologySpec ranks = topology_.spec();
  const std::array<int32_t, 6> shape = {ranks.num_ranks, ranks.slots_per_rank,
                                        ranks.num_nodes, num_layers_,
                                        num_experts_,    has_shares() ? 1 : 0};
  AppendBytes(std::span<const int32_t>(shape), bytes);
  AppendBytes(std::span<const int32_t>(ranks.dead_ranks), bytes);
  AppendBytes(std::span<const int32_t>(ranks.slots_of_rank), bytes);
  AppendBytes(std::span<const double>(ranks.rank_speed), bytes);
  AppendBytes(std::span<const int32_t>(slot_to_expert_), bytes);
  for (double share : shares_) {
    share += 0.0;  // turns -0, which equals 0, into 0
    AppendBytes(std::span<const double>(&share, 1), bytes);
  }
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string Placement::ToString() const {
  return fmt::format("{} layer{}, {} expert{} on {}, {}", num_layers_, num_layers_ == 1 ? "" : "s",
                     num_experts_, num_experts_ == 1 ? "" : "s", topology_.ToString(),
                     has_shares() ? "weighted split" : "even split");
}

}  // namespace steelyard
