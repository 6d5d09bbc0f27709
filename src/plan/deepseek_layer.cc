#include "plan/deepseek_layer.h"

#include <algorithm>
#include <numeric>

#include "steelyard/base/check.h"

namespace steelyard {

void VllmArithmetic::SortDescending(std::span<Item> items) {
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.value != b.value ? a.value > b.value : a.index < b.index;
  });
}

template <typename Arithmetic>
void EplbLayer<Arithmetic>::Place(std::span<const float> weight, int num_groups,
                                  const Topology& topology, std::span<int32_t> slot_to_expert,
                                  std::span<int32_t> slot_to_copy) {
  const bool by_node = num_groups % topology.num_nodes() == 0;
  const int num_nodes = by_node ? topology.num_nodes() : 1;
  const auto num_experts = static_cast<int>(weight.size());
  const int node_experts = num_experts / num_nodes;
  const int node_slots = topology.num_slots() / num_nodes;
  weight_ = weight;
  OrderExpertsByNode(weight, by_node ? num_groups : 1, num_nodes);

  for (int node = 0; node < num_nodes; ++node) {
    const std::span<const int32_t> experts =
        std::span(node_order_).subspan(node * node_experts, node_experts);
    Replicate(experts, node_slots);
    Pack(slot_load_, topology.num_ranks() / num_nodes);
    for (int item = 0; item < node_slots; ++item) {
      const int slot = node * node_slots + place_of_[item];
      slot_to_expert[slot] = experts[local_of_[item]];
      slot_to_copy[slot] = copy_of_[item];
    }
  }
}

template <typename Arithmetic>
void EplbLayer<Arithmetic>::OrderExpertsByNode(std::span<const float> weight, int num_groups,
                                               int num_nodes) {
  const size_t group_size = weight.size() / num_groups;
  STEELYARD_CHECK_EQ(group_size * num_groups, weight.size());
  group_load_.resize(num_groups);
  for (int group = 0; group < num_groups; ++group) {
    const std::span<const float> members = weight.subspan(group * group_size, group_size);
    group_load_[group] = std::accumulate(members.begin(), members.end(), 0.0F);
  }
  Pack(group_load_, num_nodes);
  node_order_.resize(weight.size());
  for (size_t expert = 0; expert < weight.size(); ++expert) {
    const size_t place = place_of_[expert / group_size];
    node_order_[place * group_size + expert % group_size] = static_cast<int32_t>(expert);
  }
}

/// The first slots are the experts themselves; each further one goes to the largest weight per
/// copy, ties to the lowest.
template <typename Arithmetic>
void EplbLayer<Arithmetic>::Replicate(std::span<const int32_t> experts, int num_slots) {
  const auto num_experts = static_cast<int>(experts.size());
  copies_.assign(num_experts, 1);
  local_of_.resize(num_slots);
  copy_of_.assign(num_slots, 0);
  std::iota(local_of_.begin(), local_of_.begin() + num_experts, 0);
  const auto load_per_copy = [&](int local) {
    return static_cast<Load>(weight_[experts[local]]) / static_cast<Load>(copies_[local]);
  };
  slot_load_.resize(num_experts);
  for (int local = 0; local < num_experts; ++local) {
    slot_load_[local] = load_per_copy(local);
  }
  for (int slot = num_experts; slot < num_slots; ++slot) {
    int heaviest = 0;
    for (int local = 1; local < num_experts; ++local) {
      if (slot_load_[local] > slot_load_[heaviest]) {
        heaviest = local;
      }
    }
    local_of_[slot] = heaviest;
    copy_of_[slot] = copies_[heaviest]++;
    slot_load_[heaviest] = load_per_copy(heaviest);
  }
  slot_load_.resize(num_slots);
  for (int slot = num_experts; slot < num_slots; ++slot) {
    slot_load_[slot] = slot_load_[local_of_[slot]];
  }
}

/// Heaviest first, each item to the lightest pack that has room, ties to the lowest. One item per
/// pack stays where it is.
template <typename Arithmetic>
void EplbLayer<Arithmetic>::Pack(std::span<const Load> weight, int num_packs) {
  const auto num_items = static_cast<int>(weight.size());
  const int items_per_pack = num_items / num_packs;
  place_of_.resize(num_items);
  if (items_per_pack == 1) {
    std::iota(place_of_.begin(), place_of_.end(), 0);
    return;
  }
  sorted_.resize(num_items);
  for (int item = 0; item < num_items; ++item) {
    sorted_[item] = {weight[item], item};
  }
  Arithmetic::SortDescending(sorted_);
  pack_load_.assign(num_packs, Load{0});
  pack_size_.assign(num_packs, 0);
  for (const typename Arithmetic::Item& item : sorted_) {
    int lightest = -1;
    for (int pack = 0; pack < num_packs; ++pack) {
      const bool has_room = pack_size_[pack] < items_per_pack;
      if (has_room && (lightest < 0 || pack_load_[pack] < pack_load_[lightest])) {
        lightest = pack;
      }
    }
    place_of_[item.index] = lightest * items_per_pack + pack_size_[lightest]++;
    pack_load_[lightest] += item.value;
  }
}

template class EplbLayer<DeepseekArithmetic>;
template class EplbLayer<VllmArithmetic>;

}  // namespace steelyard
