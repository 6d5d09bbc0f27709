#include "topology_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "command.h"
#include "number_text.h"

namespace steelyard {
namespace {

constexpr int kMostSlots = 1 << 20;
// Topology takes no others.
constexpr double kSlowest = 1e-6;
constexpr double kFastest = 1e6;
constexpr const char* kNoRanks = "none";

template <typename Number, typename Good>
bool IsListOf(const std::string& text, const Good& good) {
  std::vector<Number> numbers;
  return ParseNumbers(text, &numbers) && std::all_of(numbers.begin(), numbers.end(), good);
}

CLI::Validator SlotList() {
  return {[](std::string& text) {
            return IsListOf<int>(text, [](int slots) { return 1 <= slots && slots <= kMostSlots; })
                       ? std::string()
                       : fmt::format("{}: not whole numbers from 1 to {}, with commas between",
                                     text, kMostSlots);
          },
          ""};
}

CLI::Validator SpeedList() {
  return {[](std::string& text) {
            return IsListOf<double>(
                       text, [](double speed) { return kSlowest <= speed && speed <= kFastest; })
                       ? std::string()
                       : fmt::format("{}: not numbers from {:g} to {:g}, with commas between", text,
                                     kSlowest, kFastest);
          },
          ""};
}

CLI::Validator RankList() {
  return {[](std::string& text) {
            return text == kNoRanks || IsListOf<int>(text, [](int rank) { return rank >= 0; })
                       ? std::string()
                       : fmt::format("{}: neither {} nor numbers of ranks, with commas between",
                                     text, kNoRanks);
          },
          ""};
}

// Requires: validated text.
template <typename Number>
std::vector<Number> ListOf(const std::string& text) {
  std::vector<Number> numbers;
  ParseNumbers(text, &numbers);
  return numbers;
}

// One number for all ranks, or one for each.
template <typename Number>
std::vector<Number> ListForRanks(const char* option, const std::string& text, int num_ranks) {
  std::vector<Number> numbers = ListOf<Number>(text);
  if (numbers.size() == 1) {
    numbers.resize(num_ranks, numbers[0]);
  }
  if (numbers.size() != static_cast<size_t>(num_ranks)) {
    throw UsageError{
        fmt::format("{} {}: {} numbers for {} ranks", option, text, numbers.size(), num_ranks)};
  }
  return numbers;
}

template <typename Number>
void Fit(const char* option, bool is_given, int num_ranks, std::vector<Number>& list) {
  if (list.empty() || is_given) {
    return;
  }
  if (list.size() < static_cast<size_t>(num_ranks)) {
    throw UsageError{fmt::format("--ranks {}: the placement's {} ranks differ, so {} is needed",
                                 num_ranks, list.size(), option)};
  }
  list.resize(num_ranks);
}

void CheckDead(const TopologySpec& spec, const std::string& dead) {
  TopologySpec only_dead;
  only_dead.num_ranks = spec.num_ranks;
  only_dead.dead_ranks = spec.dead_ranks;
  const Result<Topology> topology = Topology::Create(only_dead);
  if (!topology.ok()) {
    throw UsageError{fmt::format("--dead {}: {}", dead, topology.status().message())};
  }
}

void AddRanksAndNodes(CLI::App* command, TopologyOptions& options) {
  command->add_option("--ranks", options.ranks, "Ranks of the expert-parallel group")
      ->check(WholeNumber(1, kMostRanks));
  command
      ->add_option("--nodes", options.nodes, "Nodes that the ranks sit on in equal runs; default 1")
      ->check(WholeNumber(1, kMostRanks));
}

int DefaultSlots(int num_experts, int num_live_ranks) {
  return std::min(num_experts, (num_experts + num_live_ranks - 1) / num_live_ranks + 1);
}

}  // namespace

void TopologyOptions::AddPlainTo(CLI::App* command) {
  AddRanksAndNodes(command, *this);
  command
      ->add_option("--slots", slots,
                   "Slots per rank; default min(experts, ceil(experts / ranks) + 1), so that every "
                   "rank has a redundant one")
      ->check(WholeNumber(1, kMostSlots));
}

void TopologyOptions::AddTo(CLI::App* command) {
  AddRanksAndNodes(command, *this);
  command
      ->add_option("--slots", slots,
                   "Slots per rank: one number, or one for each rank (9,9,8,8); default "
                   "min(experts, ceil(experts / live ranks) + 1)")
      ->check(SlotList())
      ->join();
  command
      ->add_option("--speeds", speeds, "Work per time of each rank (1,1,0.5,1); default all alike")
      ->check(SpeedList())
      ->join();
  command
      ->add_option("--dead", dead,
                   "Ranks that hold nothing (3,7); none takes back those of a placement")
      ->check(RankList())
      ->join();
}

bool TopologyOptions::any_given() const {
  return ranks != 0 || nodes != 0 || !slots.empty() || !speeds.empty() || !dead.empty();
}

Result<Topology> TopologyOptions::Resolve(int num_experts, const Topology* in_force) const {
  if (ranks == 0 && in_force == nullptr) {
    throw UsageError{any_given() ? "--ranks is required with --slots, --nodes, --speeds and --dead"
                                 : "--ranks is required"};
  }
  TopologySpec spec = in_force != nullptr ? in_force->spec() : TopologySpec();
  if (ranks != 0) {
    spec.num_ranks = ranks;
    Fit("--slots", !slots.empty(), ranks, spec.slots_of_rank);
    Fit("--speeds", !speeds.empty(), ranks, spec.rank_speed);
    std::erase_if(spec.dead_ranks, [this](int rank) { return rank >= ranks; });
  }
  if (nodes != 0) {
    spec.num_nodes = nodes;
  }
  if (!dead.empty()) {
    spec.dead_ranks = dead == kNoRanks ? std::vector<int32_t>() : ListOf<int32_t>(dead);
  }
  CheckDead(spec, dead);
  if (!speeds.empty()) {
    spec.rank_speed = ListForRanks<double>("--speeds", speeds, spec.num_ranks);
  }
  if (!slots.empty()) {
    spec.slots_of_rank = ListForRanks<int32_t>("--slots", slots, spec.num_ranks);
  } else if (in_force == nullptr) {
    spec.slots_per_rank =
        DefaultSlots(num_experts, spec.num_ranks - static_cast<int>(spec.dead_ranks.size()));
  }
  if (!spec.slots_of_rank.empty()) {
    spec.slots_per_rank = *std::max_element(spec.slots_of_rank.begin(), spec.slots_of_rank.end());
  }
  Result<Topology> topology = Topology::Create(spec);
  if (!topology.ok()) {
    throw UsageError{"--ranks, --slots, --nodes: " + topology.status().message()};
  }
  // Those that a default fills in are always enough.
  const std::string given = slots.empty()
                                ? fmt::format("{} slots on a rank, as before", spec.slots_per_rank)
                                : "--slots " + slots;
  if (topology->slots_per_rank() > num_experts) {
    return InvalidArgument(
        fmt::format("{}: more slots on a rank than the {} experts", given, num_experts));
  }
  if (topology->num_live_slots() < num_experts) {
    return InvalidArgument(
        fmt::format("{}: {} live ranks have fewer slots than the {} experts need", given,
                    topology->num_live_ranks(), num_experts));
  }
  return topology;
}

}  // namespace steelyard
