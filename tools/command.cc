#include "command.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace steelyard {

namespace {

constexpr int kMostRanks = 1 << 20;

template <typename Number>
bool ParseAll(const std::string& text, Number* number) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *number);
  return error == std::errc() && rest == end;
}

CLI::Validator NotNegative() {
  return {[](std::string& text) {
            double number = 0.0;
            return ParseAll(text, &number) && std::isfinite(number) && number >= 0.0
                       ? std::string()
                       : fmt::format("{}: not a finite number from 0 on", text);
          },
          ""};
}

std::string ListOfPolicies() {
  std::string list;
  for (const std::string_view name : PolicyNames()) {
    list += (list.empty() ? "" : ", ") + std::string(name);
  }
  return list;
}

}  // namespace

CLI::Validator WholeNumber(int64_t low, int64_t high) {
  return {[low, high](std::string& text) {
            int64_t number = 0;
            return ParseAll(text, &number) && number >= low && number <= high
                       ? std::string()
                       : fmt::format("{}: not a whole number from {} to {}", text, low, high);
          },
          ""};
}

CLI::App* AddCommand(CLI::App& app, const std::string& name, const std::string& description,
                     CommandBody body) {
  CLI::App* command = app.add_subcommand(name, description);
  command->fallthrough();
  command->final_callback([body = std::move(body)] {
    const Status status = body();
    if (!status.ok()) {
      throw CLI::RuntimeError(status.message(), 1);
    }
  });
  return command;
}

bool HasCommand(const CLI::App& app, const std::string& name) {
  const std::vector<const CLI::App*> found =
      app.get_subcommands([&name](const CLI::App* command) { return command->get_name() == name; });
  return !found.empty();
}

void TopologyOptions::AddTo(CLI::App* command) {
  command->add_option("--ranks", ranks, "Ranks of the expert-parallel group")
      ->check(WholeNumber(1, kMostRanks));
  command
      ->add_option(
          "--slots", slots,
          "Slots per rank; default min(experts, ceil(experts / ranks) + 1), so that every rank "
          "has a redundant one")
      ->check(WholeNumber(1, kMostRanks));
  command->add_option("--nodes", nodes, "Nodes that the ranks sit on in equal runs; default 1")
      ->check(WholeNumber(1, kMostRanks));
}

Result<Topology> TopologyOptions::Resolve(int num_experts, const Placement* current) const {
  const Topology in_force = current != nullptr ? current->topology() : Topology();
  if (ranks == 0 && current == nullptr) {
    throw UsageError{"--ranks is required"};
  }
  const int num_ranks = ranks != 0 ? ranks : in_force.num_ranks();
  int slots_per_rank = slots != 0 ? slots : in_force.slots_per_rank();
  if (slots == 0 && current == nullptr) {
    slots_per_rank = std::min(num_experts, (num_experts + num_ranks - 1) / num_ranks + 1);
  }
  if (current != nullptr &&
      (num_ranks != in_force.num_ranks() || slots_per_rank != in_force.slots_per_rank())) {
    return InvalidArgument(fmt::format("--ranks {} with --slots {} is not the placement's {}",
                                       num_ranks, slots_per_rank, in_force.ToString()));
  }
  if (slots_per_rank > num_experts) {
    return InvalidArgument(fmt::format("--slots {}: more slots on a rank than the {} experts",
                                       slots_per_rank, num_experts));
  }
  if (int64_t{1} * slots_per_rank * num_ranks < num_experts) {
    return InvalidArgument(
        fmt::format("--slots {}: {} ranks have fewer slots than the {} experts need",
                    slots_per_rank, num_ranks, num_experts));
  }
  const int num_nodes = nodes != 0 ? nodes : (current != nullptr ? in_force.num_nodes() : 1);
  Result<Topology> topology = Topology::Create(num_ranks, slots_per_rank, num_nodes);
  return topology.ok() ? topology : topology.status().WithContext("--ranks, --slots, --nodes");
}

void PolicyOptions::AddTo(CLI::App* command) {
  command->add_option("--policy", policy, "How to plan: " + ListOfPolicies())
      ->capture_default_str();
  command
      ->add_option("--groups", plan.num_groups,
                   "Expert groups that group-limited routing keeps together (deepseek)")
      ->check(WholeNumber(1, kMostRanks))
      ->capture_default_str();
  command
      ->add_option(
          "--price", plan.price,
          "Imbalance that moving all slots of a layer must buy (steelyard); 0 moves for any gain")
      ->check(NotNegative())
      ->capture_default_str();
  command->add_option("--split", split, "How replicas share an expert's tokens: even")
      ->capture_default_str();
  command
      ->add_option("--threads", threads, "Threads that plan; the plan is the same with any number")
      ->check(WholeNumber(1, 1024))
      ->capture_default_str();
  command->add_option("--seed", plan.seed, "Of the policy random")
      ->check(WholeNumber(0, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
}

Status PolicyOptions::Check() const {
  if (split == "weighted") {
    return Unimplemented("--split weighted is not supported yet: replicas share tokens evenly");
  }
  if (split != "even") {
    throw UsageError{fmt::format("--split {}: neither even nor weighted", split)};
  }
  const std::vector<std::string_view> names = PolicyNames();
  if (std::find(names.begin(), names.end(), policy) == names.end()) {
    throw UsageError{fmt::format("--policy {}: not one of {}", policy, ListOfPolicies())};
  }
  return plan.Validate();
}

void AddJsonOption(CLI::App* command, bool* json) {
  command->add_flag("--json", *json,
                    "Print one JSON object on standard output, and nothing else there");
}

}  // namespace steelyard
