#include "plan/static_policy.h"

#include "plan/policy_base.h"

namespace steelyard {
namespace {

class StaticPolicy final : public ReportingPolicy {
 public:
  std::string_view name() const override { return "static"; }

  Result<Plan> MakePlan(const PlanInput& input, PolicyState& state,
                        const PlanContext& context) override {
    STEELYARD_RETURN_IF_ERROR(CheckPlainInput(name(), input));
    const std::vector<LayerDecision> kept(input.current->num_layers());
    return builder_.Build(input, *input.current, kept, state, context);
  }
};

}  // namespace

std::unique_ptr<Policy> MakeStaticPolicy() { return std::make_unique<StaticPolicy>(); }

}  // namespace steelyard
