// Files of other systems: their examples read as they mean, and nothing is lost on the way there
// and back.
#include "steelyard/placement/placement_formats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/test_scale.h"
#include "placement/formats_for_test.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::ElementsAreArray;

class PlacementFormats : public FormatsTest {};

// The placement that all examples say.
std::vector<int32_t> ExampleSlots() {
  return {0, 1, 4, 2, 3, 0, 4, 5, 6, 6, 7, 2, 7, 0, 5, 1, 2, 3, 3, 4, 7, 5, 6, 1};
}

TEST_F(PlacementFormats, HaveNamesThatAreReadBack) {
  EXPECT_EQ(PlacementFormatName(PlacementFormat::kTensorrtLlm), "tensorrt-llm");
  for (const PlacementFormat format : kForeign) {
    EXPECT_EQ(ParsePlacementFormat(PlacementFormatName(format)).value(), format);
  }
  EXPECT_EQ(
      ParsePlacementFormat("vllm").status(),
      InvalidArgument("format vllm is not one of steelyard, vllm-ascend, sglang, tensorrt-llm"));
}

TEST_F(PlacementFormats, AreToldByKeysOrExtension) {
  const auto detect = [](const fs::path& path) { return DetectPlacementFormat(path).value(); };
  EXPECT_EQ(detect(kExamples / "vllm_ascend_expert_map.json"), PlacementFormat::kVllmAscend);
  EXPECT_EQ(detect(kExamples / "sglang_physical_to_logical_map.json"), PlacementFormat::kSglang);
  EXPECT_EQ(detect(kExamples / "trtllm_static.yaml"), PlacementFormat::kTensorrtLlm);
  EXPECT_EQ(detect(Write("s.json", R"({"format":"steelyard.placement"})")),
            PlacementFormat::kSteelyard);
  EXPECT_EQ(detect(Write("l.json", R"({"logical_count":[[1]]})")), std::nullopt);
  EXPECT_EQ(detect(Write("a.json", "[[1]]")), std::nullopt);
  EXPECT_EQ(detect(folder_ / "counts.npy"), std::nullopt);
  EXPECT_EQ(DetectPlacementFormat(folder_ / "none.json").status().code(), StatusCode::kNotFound);
}

TEST_F(PlacementFormats, ReadsVllmAscendsExampleByPosition) {
  const ForeignPlacement read =
      ImportPlacement(kExamples / "vllm_ascend_expert_map.json", PlacementFormat::kVllmAscend, {})
          .value();
  EXPECT_EQ(read.placement.topology(), Topology::Create(4, 3).value());
  EXPECT_EQ(read.placement.num_experts(), 8);
  EXPECT_THAT(read.placement.slot_to_expert(), ElementsAreArray(ExampleSlots()));
  EXPECT_THAT(read.layers, ElementsAre(0, 1));

  // Ids that are not the position change nothing, as for its own reader.
  Json file = ReadJsonFile(kExamples / "vllm_ascend_expert_map.json").value();
  file["layer_list"][0]["layer_id"] = 7;
  file["layer_list"][1]["device_list"][0]["device_id"] = 3;
  EXPECT_EQ(
      ImportPlacement(Write("ids.json", file.dump()), PlacementFormat::kVllmAscend, {})->placement,
      read.placement);
}

TEST_F(PlacementFormats, ReadsSglangsExample) {
  const Json expected = ReadJsonFile(kExamples / "sglang_expected.json").value();
  const ForeignPlacement read = ImportPlacement(kExamples / "sglang_physical_to_logical_map.json",
                                                PlacementFormat::kSglang, FourRanks())
                                    .value();
  EXPECT_EQ(read.placement.num_experts(), expected["num_experts"]);
  EXPECT_EQ(read.placement.topology().slots_per_rank(), expected["slots_per_rank"]);
  for (int layer = 0; layer < 2; ++layer) {
    const std::vector<std::vector<int32_t>> slots = LogicalToPhysical(read.placement, layer);
    for (int expert = 0; expert < 8; ++expert) {
      std::vector<int32_t> padded = slots[expert];
      padded.resize(2, -1);
      EXPECT_EQ(Json(padded), expected["logical_to_all_physical"][layer][expert]);
    }
  }
  const Placement trivial =
      Placement::Contiguous(read.placement.topology(), 1, read.placement.num_experts()).value();
  EXPECT_EQ(
      Json(std::vector<int32_t>(trivial.slot_to_expert().begin(), trivial.slot_to_expert().end())),
      expected["trivial"]);
}

TEST_F(PlacementFormats, ReadsWhatSglangsOwnPlannerMadeWithItsDuplicates) {
  const Json expected = ReadJsonFile(kExamples / "sglang_expected.json").value();
  for (const char* nodes : {"nodes1", "nodes2"}) {
    const Json& map = expected["init_by_eplb_groups4"][nodes]["physical_to_logical_map"];
    const fs::path path = Write("m.json", Json({{"physical_to_logical_map", map}}).dump());
    const ForeignPlacement read =
        ImportPlacement(path, PlacementFormat::kSglang, FourRanks()).value();
    const std::span<const int32_t> slots = read.placement.slot_to_expert(1);
    EXPECT_EQ(Json(std::vector<int32_t>(slots.begin(), slots.end())), map[1]);
    EXPECT_GT(read.placement.CountDuplicates(), 0);
  }
}

TEST_F(PlacementFormats, KeepsSglangsRowsOfDenseLayers) {
  const std::string text =
      "{\"physical_to_logical_map\":[\n[5,5,5,5],\n[0,1,2,1],\n[3,3,3,3],\n"
      "[2,1,0,0],\n[9,9,9,9]\n]}\n";
  const fs::path path = Write("m.json", text);
  ImportOptions options;
  options.num_ranks = 2;
  options.layers = {1, 3};
  const ForeignPlacement read = ImportPlacement(path, PlacementFormat::kSglang, options).value();
  EXPECT_EQ(read.placement.num_experts(), 3);
  EXPECT_THAT(read.placement.slot_to_expert(), ElementsAre(0, 1, 2, 1, 2, 1, 0, 0));
  EXPECT_THAT(read.unused_rows, ElementsAre(5, 5, 5, 5, 3, 3, 3, 3, 9, 9, 9, 9));
  ASSERT_TRUE(ExportPlacement(path, PlacementFormat::kSglang, read).ok());
  EXPECT_EQ(ReadFile(path).value(), text);
  // Rows that nobody gave are SGLang's trivial layout.
  ASSERT_TRUE(ExportPlacement(path, PlacementFormat::kSglang,
                              {.placement = read.placement, .layers = {2, 3}})
                  .ok());
  EXPECT_EQ(ReadFile(path).value(),
            "{\"physical_to_logical_map\":[\n[0,1,2,0],\n[0,1,2,0],\n[0,1,2,1],\n[2,1,0,0]\n]}\n");
  options.layers = {};
  options.first_layer = 2;
  EXPECT_THAT(ImportPlacement(path, PlacementFormat::kSglang, options)->layers, ElementsAre(2, 3));
}

TEST_F(PlacementFormats, ReadsAndWritesTensorrtLlmsExamplesToTheLetter) {
  const Json expected = ReadJsonFile(kExamples / "trtllm_expected.json").value();
  for (const char* name : {"trtllm_static.yaml", "trtllm_online_with_start.yaml"}) {
    const ForeignPlacement read =
        ImportPlacement(kExamples / name, PlacementFormat::kTensorrtLlm, FourRanks()).value();
    EXPECT_EQ(Json(read.layers), expected["layers"]);
    EXPECT_EQ(read.placement.num_experts(), expected["num_experts"]);
    EXPECT_THAT(read.placement.slot_to_expert(), ElementsAreArray(ExampleSlots()));
    EXPECT_EQ(read.layer_updates_per_iter, std::string(name) == "trtllm_static.yaml" ? 0 : 1);
    const fs::path path = folder_ / "p.yaml";
    ASSERT_TRUE(ExportPlacement(path, PlacementFormat::kTensorrtLlm, read).ok());
    EXPECT_EQ(ReadFile(path).value(), ReadFile(kExamples / name).value());
  }
}

TEST_F(PlacementFormats, TensorrtLlmWithoutAssignmentsIsItsDefaultLayout) {
  const Json expected = ReadJsonFile(kExamples / "trtllm_expected.json").value();
  ImportOptions options = FourRanks();
  options.num_experts = 8;
  options.num_layers = 2;
  options.first_layer = 3;
  const ForeignPlacement read =
      ImportPlacement(kExamples / "trtllm_online.yaml", PlacementFormat::kTensorrtLlm, options)
          .value();
  for (int layer = 0; layer < 2; ++layer) {
    const std::span<const int32_t> slots = read.placement.slot_to_expert(layer);
    EXPECT_EQ(Json(std::vector<int32_t>(slots.begin(), slots.end())),
              expected["default_without_assignments"]);
  }
  EXPECT_THAT(read.layers, ElementsAre(3, 4));
  EXPECT_FALSE(read.is_assigned);
  const fs::path path = folder_ / "p.yaml";
  ASSERT_TRUE(ExportPlacement(path, PlacementFormat::kTensorrtLlm, read).ok());
  EXPECT_EQ(ReadFile(path).value(), ReadFile(kExamples / "trtllm_online.yaml").value());

  ForeignPlacement other = read;
  other.placement = Placement::Contiguous(read.placement.topology(), 2, 8).value();
  EXPECT_EQ(ExportPlacement(path, PlacementFormat::kTensorrtLlm, other).message(),
            path.string() + ": a placement that is not the default layout must be assigned");
}

// Ranks x slots of random experts in random layers of the model.
ForeignPlacement RandomForeign(std::mt19937& random, bool with_duplicates) {
  const int num_ranks = 1 + static_cast<int>(random() % 5);
  const int slots_per_rank = 1 + static_cast<int>(random() % 5);
  const Topology topology = Topology::Create(num_ranks, slots_per_rank).value();
  const int num_slots = topology.num_slots();
  const int num_experts =
      slots_per_rank + static_cast<int>(random() % (num_slots - slots_per_rank + 1));
  const int num_layers = 1 + static_cast<int>(random() % 3);
  std::vector<int32_t> slots;
  std::vector<int> layers;
  for (int layer = 0; layer < num_layers; ++layer) {
    std::vector<int32_t> row(num_slots);
    for (int slot = 0; slot < num_slots; ++slot) {
      // Contiguous runs have no duplicates as long as a rank has no more slots than experts.
      row[slot] = slot % num_experts;
    }
    if (with_duplicates) std::shuffle(row.begin(), row.end(), random);
    slots.insert(slots.end(), row.begin(), row.end());
    layers.push_back((layers.empty() ? -1 : layers.back()) + 1 + static_cast<int>(random() % 3));
  }
  ForeignPlacement foreign = ForeignPlacement::Of(
      Placement::Create(topology, num_experts, slots, DuplicateRule::kAllow).value());
  foreign.layers = layers;
  return foreign;
}

TEST_F(PlacementFormats, LoseNothingThereAndBack) {
  for (int seed = 0; seed < Scaled(40); ++seed) {
    for (const PlacementFormat format : kForeign) {
      SCOPED_TRACE(testing::Message() << seed << " " << PlacementFormatName(format));
      std::mt19937 random(seed);
      ForeignPlacement foreign = RandomForeign(random, format != PlacementFormat::kVllmAscend);
      if (format == PlacementFormat::kTensorrtLlm) {
        foreign.layer_updates_per_iter = static_cast<int>(random() % 3);
      }
      const fs::path path = PathOf(format);
      const Status written = ExportPlacement(path, format, foreign);
      ASSERT_TRUE(written.ok()) << written.ToString();
      ImportOptions options;
      options.num_ranks = foreign.placement.topology().num_ranks();
      options.num_experts = foreign.placement.num_experts();
      options.layers = foreign.layers;
      const Result<ForeignPlacement> read = ImportPlacement(path, format, options);
      ASSERT_TRUE(read.ok()) << read.status().ToString();
      EXPECT_EQ(read->placement, foreign.placement);
      EXPECT_EQ(read->layers, foreign.layers);
      EXPECT_EQ(read->layer_updates_per_iter, foreign.layer_updates_per_iter);
      const std::string text = ReadFile(path).value();
      ASSERT_TRUE(ExportPlacement(path, format, *read).ok());
      EXPECT_EQ(ReadFile(path).value(), text);
    }
  }
}

TEST_F(PlacementFormats, DamagedYamlIsRefusedOrStillAPlacement) {
  const std::string good = ReadFile(kExamples / "trtllm_static.yaml").value();
  const std::string bytes = "0123456789-:[]{}, \n'\"&*!|>%@`#?\xff";
  int num_refused = 0;
  const int num_seeds = Scaled(500);
  for (int seed = 0; seed < num_seeds; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::string text = good;
    for (int i = 0; i <= seed % 3; ++i) {
      text[random() % text.size()] = bytes[random() % bytes.size()];
    }
    const fs::path path = Write("p.yaml", text);
    const Result<ForeignPlacement> read =
        ImportPlacement(path, PlacementFormat::kTensorrtLlm, FourRanks());
    if (!read.ok()) {
      ++num_refused;
      EXPECT_EQ(read.status().message().rfind(path.string() + ": ", 0), 0u);
      EXPECT_EQ(read.status().message().find('\n'), std::string::npos);
    }
  }
  EXPECT_GT(num_refused, num_seeds / 2);
}

}  // namespace
}  // namespace steelyard
