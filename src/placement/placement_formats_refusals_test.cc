// What readers and writers of other systems' files refuse, and in which words.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "placement/formats_for_test.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

class PlacementFormatRefusals : public FormatsTest {};

struct BadFile {
  PlacementFormat format;
  const char* name;
  const char* message;
};

TEST_F(PlacementFormatRefusals, NameTheRuleThatABadFileBreaks) {
  using enum PlacementFormat;
  const std::vector<BadFile> files = {
      {kSglang, "sglang_expert_missing.json", "layer 0: expert 3 has no slot"},
      {kSglang, "sglang_no_known_key.json",
       R"(neither key "physical_to_logical_map" nor "logical_count" is there)"},
      {kSglang, "sglang_ragged.json",
       "physical_to_logical_map[1]: 11 slots, but the layers before have 12: all must have equally "
       "many"},
      {kSglang, "sglang_count_negative.json",
       "logical_count is loads, not a placement: `steelyard plan --loads` plans one from it"},
      {kTensorrtLlm, "trtllm_expert_missing.yaml",
       "initial_global_assignments: ids go up to 6, and 7 experts are not the same number for each "
       "of 4 ranks: an expert is missing, unless the number of experts is given"},
      {kTensorrtLlm, "trtllm_length_differs_from_num_slots.yaml",
       "initial_global_assignments[3]: 8 slots, but num_slots is 12"},
      {kTensorrtLlm, "trtllm_unknown_key.yaml", R"(key "layer_updates_per_itr" is unknown)"},
      {kVllmAscend, "vllm_ascend_duplicate_on_rank.json",
       "layer 0: rank 0 holds expert 1 in slots 0 and 1"},
      {kVllmAscend, "vllm_ascend_expert_out_of_range.json",
       "layer 0, slot 3 (rank 1): expert 9 is outside [0, 8)"},
      {kVllmAscend, "vllm_ascend_layer_count_wrong.json",
       "moe_layer_count: 3, but layer_list has 2 layers"},
      {kVllmAscend, "vllm_ascend_no_device_expert.json",
       R"(layer_list[0].device_list[0]: key "device_expert" is missing)"},
      {kVllmAscend, "vllm_ascend_ragged_slots.json",
       "layer_list[1].device_list[2].device_expert: 2 slots, but the ranks before it have 3: all "
       "must have equally many"},
  };
  size_t num_files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(kExamples / "bad")) {
    num_files += entry.is_regular_file() ? 1 : 0;
  }
  EXPECT_EQ(files.size(), num_files);
  for (const BadFile& file : files) {
    const fs::path path = kExamples / "bad" / file.name;
    EXPECT_EQ(ImportPlacement(path, file.format, FourRanks()).status(),
              InvalidArgument(path.string() + ": " + file.message));
  }
  ImportOptions options = FourRanks();
  options.num_experts = 8;
  const fs::path path = kExamples / "bad/trtllm_expert_missing.yaml";
  EXPECT_EQ(ImportPlacement(path, PlacementFormat::kTensorrtLlm, options).status(),
            InvalidArgument(path.string() + ": layer 0: expert 7 has no slot"));
}

struct BadText {
  PlacementFormat format;
  const char* text;
  const char* message;
};

TEST_F(PlacementFormatRefusals, NameThePlaceOfWhatIsOutOfShape) {
  using enum PlacementFormat;
  const std::vector<BadText> texts = {
      {kVllmAscend, "[]", "it is not a JSON object"},
      {kVllmAscend, R"({"layer_list":[]})", R"(key "moe_layer_count" is missing)"},
      {kVllmAscend, R"({"layer_list":[{"layer_id":0,"layer_id":1}]})",
       R"(line 1, column 30: key "layer_id" is there twice in one object)"},
      {kSglang, R"({"physical_to_logical_map":[[0]],
"physical_to_logical_map":[[1]]})",
       R"(line 2, column 1: key "physical_to_logical_map" is there twice in one object)"},
      {kVllmAscend, R"({"moe_layer_count":1,"layer_list":{}})",
       "moe_layer_count: 1, but layer_list has 0 layers"},
      {kVllmAscend, R"({"moe_layer_count":1,"layer_list":[7]})",
       "layer_list[0]: it is not a JSON object"},
      {kVllmAscend,
       R"({"moe_layer_count":1,"layer_list":[{"layer_id":0,"device_count":2,"device_list":[]}]})",
       "layer_list[0].device_list: it is not an array of device_count = 2"},
      {kVllmAscend,
       R"({"moe_layer_count":1,"layer_list":[{"layer_id":0,"device_count":1,"device_list":[
          {"device_id":0,"device_expert":[0,-1]}]}]})",
       "layer_list[0].device_list[0].device_expert[1]: -1 is outside [0, 2147483647]"},
      {kVllmAscend,
       R"({"moe_layer_count":1,"layer_list":[{"layer_id":0,"device_count":1,"device_list":[
          {"device_id":0,"device_expert":[]}]}]})",
       "layer_list[0].device_list[0].device_expert: the rank has no slots"},
      {kVllmAscend,
       R"({"moe_layer_count":1,"layer_list":[{"layer_id":0,"device_count":1,"device_list":[
          {"device_id":0,"device_expert":[0]}]}]})",
       "it is of 1 ranks, not of 4"},
      {kSglang, R"({"physical_to_logical_map":[]})",
       "physical_to_logical_map: it is not an array of rows"},
      {kSglang, R"({"physical_to_logical_map":[[]]})",
       "physical_to_logical_map[0]: the layer has no slots"},
      {kSglang, R"({"physical_to_logical_map":[[0,1,2]]})",
       "3 slots cannot be dealt evenly to 4 ranks"},
      {kSglang, R"({"physical_to_logical_map":[[0,1,2,1.5]]})",
       "physical_to_logical_map[0][3]: number is not an integer"},
      {kSglang, R"({"physical_to_logical_map":[[0,1,2,3]],"logical_count":[[1,1,1,1]]})",
       R"(key "logical_count" is unknown)"},
      {kSglang, R"({"physical_to_logical_map":[[0,1,2,2147483647]]})",
       "4 slots are fewer than 2147483647 experts"},
      {kTensorrtLlm, "", "it is not a YAML map"},
      {kTensorrtLlm, "\"\\\001\"", "line 1, column 4: unknown escape character: ?"},
      {kTensorrtLlm, "- 1\n", "it is not a YAML map"},
      {kTensorrtLlm, "num_slots: 4\n---\nnum_slots: 4\n", "line 2: it must be one YAML document"},
      {kTensorrtLlm, ",num_slots: 4\n", "it is not a YAML map"},
      {kTensorrtLlm, "num_slots: [4\n", "line 2, column 1: end of sequence flow not found"},
      {kTensorrtLlm, "layer_updates_per_iter: 0\n", R"(key "num_slots" is missing)"},
      {kTensorrtLlm, "num_slots: 4\nnum_slots: 4\n", R"(key "num_slots" is there twice)"},
      {kTensorrtLlm, "num_slots: 4.0\n", R"(num_slots: "4.0" is not an integer)"},
      {kTensorrtLlm, "num_slots: '4'\n", "num_slots: it is not an integer"},
      {kTensorrtLlm, "num_slots: 0\n", "num_slots: 0 is outside [1, 2147483647]"},
      {kTensorrtLlm, "num_slots: 99999999999\n",
       "num_slots: 99999999999 is outside [1, 2147483647]"},
      {kTensorrtLlm, "num_slots: 6\n", "6 slots cannot be dealt evenly to 4 ranks"},
      {kTensorrtLlm, "num_slots: 4\nlayer_updates_per_iter: -1\n",
       "layer_updates_per_iter: -1 is outside [0, 2147483647]"},
      {kTensorrtLlm, "num_slots: 4\n",
       "without initial_global_assignments the file says neither how many experts nor how many "
       "layers there are"},
      {kTensorrtLlm, "num_slots: 4\ninitial_global_assignments: {}\n",
       "initial_global_assignments: it is not a map of layers"},
      {kTensorrtLlm, "num_slots: 4\ninitial_global_assignments: {a: [0, 1, 2, 3]}\n",
       R"(initial_global_assignments: "a" is not an integer)"},
      {kTensorrtLlm, "num_slots: 4\ninitial_global_assignments: {3: 7}\n",
       "initial_global_assignments[3]: it is not a list"},
      {kTensorrtLlm, "num_slots: 4\ninitial_global_assignments: {3: [0, 1, -2, 3]}\n",
       "initial_global_assignments[3][2]: -2 is outside [0, 2147483647]"},
      {kTensorrtLlm,
       "num_slots: 4\ninitial_global_assignments:\n  3: [0, 1, 2, 3]\n  3: [0, 1, 2, 3]\n",
       "initial_global_assignments[3]: the layer is there twice"},
      {kTensorrtLlm,
       "num_slots: 4\ninitial_global_assignments:\n  3: [0, 1, 2, 3]\n  4: [0, 1, 2, 4]\n",
       "layer 1, slot 3 (rank 3): expert 4 is outside [0, 4)"},
  };
  for (const BadText& bad : texts) {
    const fs::path path = PathOf(bad.format);
    std::ofstream(path) << bad.text;
    EXPECT_EQ(ImportPlacement(path, bad.format, FourRanks()).status().message(),
              path.string() + ": " + bad.message);
  }
}

TEST_F(PlacementFormatRefusals, NameOptionsThatTheFileContradicts) {
  const fs::path sglang = kExamples / "sglang_physical_to_logical_map.json";
  const fs::path trtllm = kExamples / "trtllm_static.yaml";
  const auto message = [](const fs::path& path, PlacementFormat format,
                          const ImportOptions& options) {
    const std::string text = ImportPlacement(path, format, options).status().message();
    return text.substr(std::min(text.size(), path.string().size() + 2));
  };
  using enum PlacementFormat;
  EXPECT_EQ(message(sglang, kSglang, {}), "the file does not say how many ranks there are");
  ImportOptions options = FourRanks();
  options.first_layer = 2;
  EXPECT_EQ(message(sglang, kSglang, options),
            "physical_to_logical_map: 2 rows, so that there is no layer 2");
  EXPECT_EQ(message(trtllm, kTensorrtLlm, options), "");
  options.first_layer = 4;
  EXPECT_EQ(message(trtllm, kTensorrtLlm, options),
            "initial_global_assignments[3]: it is not one of the layers that are MoE layers");
  options.layers = {4};
  EXPECT_EQ(message(trtllm, kTensorrtLlm, options),
            "either all numbers of layers are given or the first one");
  options.first_layer = 0;
  options.layers = {3, 5};
  EXPECT_EQ(message(trtllm, kTensorrtLlm, options),
            "initial_global_assignments: layer 5 is missing");
  options.layers = {4, 3};
  EXPECT_EQ(message(trtllm, kTensorrtLlm, options),
            "the numbers of layers do not ascend from 0 or more");
  options = FourRanks();
  options.num_nodes = 3;
  EXPECT_EQ(message(sglang, kSglang, options), "4 ranks cannot be dealt evenly to 3 nodes");
  options.num_nodes = 1;
  options.num_experts = 7;
  EXPECT_EQ(message(sglang, kSglang, options),
            "layer 0, slot 10 (rank 3): expert 7 is outside [0, 7)");
  options.num_layers = 2;
  const fs::path huge = Write("huge.yaml", "num_slots: 2147483644\n");
  EXPECT_EQ(message(huge, kTensorrtLlm, options),
            "num_slots: 536870911 slots on a rank are more than 7 experts");
}

TEST_F(PlacementFormatRefusals, NameWhatAFormatCannotSay) {
  const auto with = [](const TopologySpec& spec, std::vector<int32_t> slots,
                       std::vector<double> shares = {}) {
    return ForeignPlacement::Of(Placement::Create(Topology::Create(spec).value(), 2,
                                                  std::move(slots), DuplicateRule::kAllow,
                                                  std::move(shares))
                                    .value());
  };
  TopologySpec spec;
  spec.num_ranks = 2;
  spec.slots_per_rank = 2;
  const ForeignPlacement shares = with(spec, {0, 1, 0, 1}, {0.25, 1, 0.75, 0});
  const ForeignPlacement duplicate = with(spec, {0, 0, 1, 1});
  TopologySpec dead = spec;
  dead.dead_ranks = {1};
  TopologySpec uneven = spec;
  uneven.slots_of_rank = {2, 1};
  TopologySpec slow = spec;
  slow.rank_speed = {1, 2};
  for (const PlacementFormat format : kForeign) {
    const fs::path path = PathOf(format);
    const std::string name(PlacementFormatName(format));
    const auto message = [&](const ForeignPlacement& foreign) {
      return ExportPlacement(path, format, foreign).message();
    };
    const std::string begin = path.string() + ": " + name + " cannot say ";
    EXPECT_EQ(message(shares), begin + "shares: replicas split evenly there");
    EXPECT_EQ(message(with(dead, {0, 1, -1, -1})), begin + "that rank 1 is dead");
    EXPECT_EQ(message(with(uneven, {0, 1, 0, -1})),
              begin + "that ranks have unequal numbers of slots");
    EXPECT_EQ(message(with(slow, {0, 1, 0, 1})), begin + "that ranks differ in speed");
    EXPECT_FALSE(fs::exists(path));
    EXPECT_EQ(ExportPlacement(path, format, duplicate).ok(),
              format != PlacementFormat::kVllmAscend);
    fs::remove(path);
  }
  EXPECT_EQ(ExportPlacement("p.json", PlacementFormat::kVllmAscend, duplicate).message(),
            "p.json: vllm-ascend cannot have a rank that holds an expert twice");
  EXPECT_EQ(ExportPlacement("p.txt", PlacementFormat::kSglang, duplicate).message(),
            "p.txt: sglang reads only files whose name ends in .json");
  ForeignPlacement layers = duplicate;
  layers.layers = {0, 1};
  EXPECT_EQ(ExportPlacement("p.yaml", PlacementFormat::kTensorrtLlm, layers).message(),
            "p.yaml: 2 numbers of layers for 1 layers");
  layers.layers = {2000000000};
  EXPECT_EQ(ExportPlacement("p.json", PlacementFormat::kSglang, layers).message(),
            "p.json: physical_to_logical_map: layer 2000000000 needs a row for every layer before "
            "it, more than the 65536 that any model has");
}

}  // namespace
}  // namespace steelyard
