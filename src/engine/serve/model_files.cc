#include "engine/serve/model_files.h"

#include <fmt/format.h>

#include <utility>

namespace steelyard {

Result<ModelFiles> ModelFiles::Open(const std::filesystem::path& folder) {
  STEELYARD_RETURN_IF_ERROR(RequireFolder(folder));
  STEELYARD_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(folder));
  const Result<const ModelFamily*> family = FindFamilyWithEngine(config.model_type);
  if (!family.ok()) return family.status().WithContext((folder / "config.json").string());
  if ((*family)->moe_layers(config).empty()) {
    return InvalidArgument(
        fmt::format("{}: no layer has experts, so nothing can be spread over "
                    "ranks",
                    (folder / "config.json").string()));
  }
  STEELYARD_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Open(folder));
  STEELYARD_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(folder));
  return ModelFiles{folder, std::move(config), *family, std::move(tokenizer),
                    std::move(checkpoint)};
}

}  // namespace steelyard
