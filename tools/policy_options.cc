#include "policy_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "command.h"
#include "number_text.h"

namespace steelyard {
namespace {

constexpr int64_t kMostGroups = 1 << 20;
constexpr int64_t kMostMoves = int64_t{1} << 62;
constexpr int64_t kMostBytes = int64_t{1} << 40;  // times any number of moves stays in range

template <typename Names, typename NameOf>
std::string ListOf(const Names& names, const NameOf& name_of) {
  std::string list;
  for (const auto& name : names) {
    list.append(list.empty() ? "" : ", ").append(name_of(name));
  }
  return list;
}

std::string ListOfPolicies() {
  return ListOf(PolicyNames(), [](std::string_view name) { return name; });
}

std::string ListOfPredictors() { return ListOf(kPredictors, PredictorName); }

SplitRule ParseSplit(const std::string& text) {
  if (text != "even" && text != "weighted") {
    throw UsageError{fmt::format("--split {}: neither even nor weighted", text)};
  }
  return text == "even" ? SplitRule::kEven : SplitRule::kWeighted;
}

Predictor ParsePredictor(const std::string& text) {
  for (const Predictor predictor : kPredictors) {
    if (PredictorName(predictor) == text) {
      return predictor;
    }
  }
  throw UsageError{fmt::format("--predictor {}: not one of {}", text, ListOfPredictors())};
}

RankCost ParseRankCost(const std::string& text) {
  if (text == "tokens") {
    return RankCost();
  }
  if (text == "active") {
    return {.a = 0.0, .b = 1.0, .c = 0.0, .d = 0.0};
  }
  std::vector<double> terms;
  if (!ParseNumbers(text, &terms) || terms.size() != 4) {
    throw UsageError{
        fmt::format("--rank-cost {}: neither tokens, nor active, nor four numbers A,B,C,D", text)};
  }
  PlanOptions options;
  options.rank_cost = {.a = terms[0], .b = terms[1], .c = terms[2], .d = terms[3]};
  const Status valid = options.Validate();
  if (!valid.ok()) {
    throw UsageError{fmt::format("--rank-cost {}: {}", text, valid.message())};
  }
  return options.rank_cost;
}

CLI::Option* AddWord(CLI::App* command, const std::string& name, const std::string& word,
                     const std::string& description,
                     const std::function<void(const std::string&)>& parse) {
  return command->add_option_function(name, parse, description)->default_str(word);
}

void AddLimit(CLI::App* command, const std::string& name, int64_t& limit,
              const std::string& description) {
  command->add_option(name, limit, description)->check(WholeNumber(0, kMostMoves));
}

}  // namespace

void PolicyOptions::AddTo(CLI::App* command) {
  command->add_option("--policy", policy, "How to plan: " + ListOfPolicies())
      ->check(CLI::Validator(
          [](std::string& text) {
            const std::vector<std::string_view> names = PolicyNames();
            return std::find(names.begin(), names.end(), text) != names.end()
                       ? std::string()
                       : fmt::format("{}: not one of {}", text, ListOfPolicies());
          },
          ""))
      ->capture_default_str();
  command
      ->add_option(
          "--groups", plan.num_groups,
          "Expert groups that group-limited routing keeps together, which divide the experts; "
          "only deepseek and vllm look at it")
      ->check(WholeNumber(1, kMostGroups))
      ->capture_default_str();
  command
      ->add_option(
          "--price", plan.price,
          "Imbalance that moving all slots of a layer must buy (steelyard); 0 moves for any gain")
      ->check(NotNegative())
      ->capture_default_str();
  AddWord(command, "--split", "even",
          "How replicas share an expert's tokens: even, or weighted so that the hottest rank is as "
          "cool as can be",
          [this](const std::string& text) { plan.split = ParseSplit(text); });
  command
      ->add_option("--threads", threads, "Threads that plan; the plan is the same with any number")
      ->check(WholeNumber(1, 1024))
      ->capture_default_str();
  command->add_option("--seed", plan.seed, "Of the policy random")
      ->check(WholeNumber(0, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
}

void PolicyOptions::AddOfflineTo(CLI::App* command) {
  AddWord(command, "--predictor", "auto",
          "What steelyard takes the coming loads to be: " + ListOfPredictors(),
          [this](const std::string& text) { plan.predictor = ParsePredictor(text); });
  AddWord(command, "--rank-cost", "tokens",
          "What a rank's time goes by (steelyard): tokens, active (experts that got any), or "
          "A,B,C,D for max(A + B active, C + D tokens)",
          [this](const std::string& text) { plan.rank_cost = ParseRankCost(text); })
      ->join();
  command
      ->add_option("--expert-bytes", plan.expert_bytes,
                   "Bytes of one expert, to say how many must move")
      ->check(WholeNumber(1, kMostBytes));
  AddLimitsTo(command);
  command->get_option("--max-bytes")
      ->description("Bytes that a plan moves at most; needs --expert-bytes");
}

void PolicyOptions::AddLimitsTo(CLI::App* command) {
  MoveLimits& limits = plan.limits;
  AddLimit(command, "--max-moves", limits.moves, "Moves of a plan at most, all layers together");
  AddLimit(command, "--max-bytes", limits.bytes, "Bytes that a plan moves at most");
  AddLimit(command, "--max-moves-per-pair", limits.per_rank_pair,
           "Moves from one rank to another at most, in each layer");
  AddLimit(command, "--max-moves-per-rank", limits.per_receiving_rank,
           "Moves to one rank at most, in each layer");
  AddLimit(command, "--max-moves-across-nodes", limits.across_nodes,
           "Experts that enter a node which has none of them at most, in each layer");
}

Status PolicyOptions::Check() const {
  if (plan.limits.bytes != MoveLimits::kNone && plan.expert_bytes == 0 && !model_has_bytes) {
    throw UsageError{"--max-bytes needs --expert-bytes"};
  }
  if (plan.limits.any() && policy != "steelyard") {
    throw UsageError{fmt::format(
        "--policy {}: knows no limits on moves (--max-moves, ..); steelyard does", policy)};
  }
  PlanOptions filled = plan;
  if (model_has_bytes) filled.expert_bytes = 1;
  return filled.Validate();
}

void PolicyOptions::CheckGroups(int num_experts) const {
  if (num_experts % plan.num_groups != 0) {
    throw UsageError{fmt::format("--groups {}: does not divide the {} experts of a layer",
                                 plan.num_groups, num_experts)};
  }
}

void CheckTakesRanks(const std::string& option, std::string_view policy, const Topology& in_force,
                     const Topology& target) {
  if (policy != "steelyard" && (!(in_force == target) || !target.is_plain())) {
    throw UsageError{
        fmt::format("{} {}: plans only for the ranks in force, all alive, with equal slots and "
                    "speed; steelyard takes others",
                    option, policy)};
  }
}

}  // namespace steelyard
