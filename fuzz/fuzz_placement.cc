#include <string>

#include "fuzz/scratch_folder.h"
#include "fuzz/targets.h"
#include "steelyard/base/check.h"
#include "steelyard/placement/placement_file.h"
#include "steelyard/placement/placement_formats.h"

namespace steelyard {
namespace {

constexpr PlacementFormat kAllFormats[] = {PlacementFormat::kSteelyard,
                                           PlacementFormat::kVllmAscend, PlacementFormat::kSglang,
                                           PlacementFormat::kTensorrtLlm};

const char* NameOf(PlacementFormat format, bool is_input) {
  if (format == PlacementFormat::kTensorrtLlm) return is_input ? "in.yaml" : "out.yaml";
  return is_input ? "in.json" : "out.json";
}

// What a file does not say: nothing known, what the examples need, or all of it.
constexpr int kNumOptions = 3;
ImportOptions OptionsOf(int kind) {
  ImportOptions options;
  if (kind == 0) return options;
  options.num_ranks = kind == 1 ? 4 : 2;
  if (kind == 1) return options;
  options.num_experts = 8;
  options.num_layers = 2;
  options.first_layer = 1;
  return options;
}

void CheckRefusal(const Status& status) {
  STEELYARD_CHECK_EQ(static_cast<int>(status.code()),
                     static_cast<int>(StatusCode::kInvalidArgument));
  STEELYARD_CHECK(!status.message().empty());
  STEELYARD_CHECK_EQ(status.message().find('\n'), std::string::npos);
}

void CheckPlacement(const Placement& placement) {
  const std::span<const int32_t> slots = placement.slot_to_expert();
  std::vector<double> shares;
  for (int layer = 0; placement.has_shares() && layer < placement.num_layers(); ++layer) {
    shares.insert(shares.end(), placement.shares(layer).begin(), placement.shares(layer).end());
  }
  const Result<Placement> again =
      Placement::Create(placement.topology(), placement.num_experts(), {slots.begin(), slots.end()},
                        DuplicateRule::kAllow, std::move(shares));
  STEELYARD_CHECK(again.ok() && *again == placement);
}

// Written in `format` and read again, it is the same as far as the format says it.
void CheckRoundTrip(const ScratchFolder& folder, PlacementFormat format,
                    const ForeignPlacement& foreign) {
  const std::filesystem::path path = folder.PathOf(NameOf(format, false));
  const Status written = ExportPlacement(path, format, foreign);
  if (!written.ok()) return CheckRefusal(written);
  const Placement& placement = foreign.placement;
  ImportOptions options;
  options.num_ranks = placement.topology().num_ranks();
  options.num_nodes = placement.topology().num_nodes();
  options.num_experts = placement.num_experts();
  options.layers = foreign.layers;
  const Result<ForeignPlacement> read = ImportPlacement(path, format, options);
  STEELYARD_CHECK_EQ(read.status().message(), "");
  STEELYARD_CHECK(read->placement == placement);
  STEELYARD_CHECK(read->layers == foreign.layers);
}

}  // namespace

void FuzzPlacement(std::string_view bytes) {
  static const ScratchFolder folder;
  for (const char* name : {"in.json", "in.yaml"}) {
    (void)DetectPlacementFormat(folder.Write(name, bytes));
  }
  for (const PlacementFormat format : kAllFormats) {
    const std::filesystem::path path = folder.PathOf(NameOf(format, true));
    for (int kind = 0; kind < kNumOptions; ++kind) {
      const Result<ForeignPlacement> foreign = ImportPlacement(path, format, OptionsOf(kind));
      if (!foreign.ok()) {
        CheckRefusal(foreign.status());
        continue;
      }
      CheckPlacement(foreign->placement);
      for (const PlacementFormat other : kAllFormats) CheckRoundTrip(folder, other, *foreign);
    }
  }
}

}  // namespace steelyard
