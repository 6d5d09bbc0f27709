#include "engine/models/registry.h"

#include <fmt/format.h>

#include <array>
#include <string>

#include "engine/models/qwen3_moe.h"

namespace steelyard {
namespace {

constexpr std::array kFamilies = {
    ModelFamily{"qwen3_moe", &MoeLayers, &LoadQwen3Moe},
    ModelFamily{"deepseek_v2", &MoeLayers, nullptr},
    ModelFamily{"deepseek_v3", &MoeLayers, nullptr},
};

std::string SupportedTypes() {
  std::string names;
  for (const ModelFamily& family : kFamilies) {
    if (family.load == nullptr) continue;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", family.model_type);
  }
  return names;
}

}  // namespace

Result<const ModelFamily*> FindFamily(std::string_view model_type) {
  for (const ModelFamily& family : kFamilies) {
    if (family.model_type == model_type) return &family;
  }
  return Unimplemented(
      fmt::format("model_type \"{}\" is not known; supported: {}", model_type, SupportedTypes()));
}

Result<const ModelFamily*> FindFamilyWithEngine(std::string_view model_type) {
  STEELYARD_ASSIGN_OR_RETURN(const ModelFamily* family, FindFamily(model_type));
  if (family->load == nullptr) {
    return Unimplemented(
        fmt::format("model_type \"{}\": its layers are registered, its engine is not built yet; "
                    "supported: {}",
                    model_type, SupportedTypes()));
  }
  return family;
}

}  // namespace steelyard
