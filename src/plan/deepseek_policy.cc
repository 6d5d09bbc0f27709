#include "plan/deepseek_policy.h"

#include <fmt/format.h>

#include "plan/eplb_policy.h"

namespace steelyard {

Status CheckGroups(int num_groups, const Placement& current) {
  const int num_nodes = current.topology().num_nodes();
  if (num_groups % num_nodes == 0 && current.num_experts() % num_groups != 0) {
    return InvalidArgument(
        fmt::format("{} groups do not divide {} experts", num_groups, current.num_experts()));
  }
  return Status::Ok();
}

std::unique_ptr<Policy> MakeDeepseekPolicy() {
  return std::make_unique<EplbPolicy<DeepseekArithmetic>>("deepseek");
}

}  // namespace steelyard
