#include "plan/static_policy.h"

#include "plan/plan_builder.h"

namespace steelyard {
namespace {

class StaticPolicy final : public Policy {
 public:
  std::string_view name() const override { return "static"; }

  Status Prepare(const Placement& current, const LoadShape& window_shape, int /*num_windows*/,
                 int num_workers) override {
    builder_.Prepare(current, window_shape, num_workers);
    return Status::Ok();
  }

  Result<Plan> MakePlan(const PlanInput& input, PolicyState& state,
                        const PlanContext& context) override {
    STEELYARD_RETURN_IF_ERROR(CheckPlainInput(name(), input));
    const std::vector<LayerDecision> kept(input.current->num_layers());
    return builder_.Build(input, *input.current, kept, state, context);
  }

 private:
  PlanBuilder builder_;
};

}  // namespace

std::unique_ptr<Policy> MakeStaticPolicy() { return std::make_unique<StaticPolicy>(); }

}  // namespace steelyard
