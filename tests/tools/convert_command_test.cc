// `steelyard convert` and `steelyard inspect` over the placement files of other systems.
#include "command_runner.h"
#include "steelyard/placement/placement_formats.h"

namespace steelyard {
namespace {

using Args = std::vector<std::string>;

class ConvertCommand : public CommandTest {
 protected:
  void SetUp() override {
    std::filesystem::copy(STEELYARD_SOURCE_DIR "/tests/data/formats", folder_,
                          std::filesystem::copy_options::recursive);
  }

  void Expect(const Args& args, int exit_code, const std::vector<std::string>& words) const {
    std::string shown;
    for (const std::string& arg : args) shown += arg + " ";
    SCOPED_TRACE(shown);
    const CommandResult result = Run(args);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    for (const std::string& word : words) {
      EXPECT_NE(result.last_error_line().find(word), std::string::npos)
          << word << " is not in: " << result.err;
    }
    for (const char* out : {"out.json", "out.yaml", "out.npy", "out"}) {
      EXPECT_FALSE(std::filesystem::exists(Path(out))) << out;
    }
  }
};

TEST_F(ConvertCommand, AllExamplesAreTheSamePlacement) {
  const OrderedJson ascend =
      RunJson({"convert", "--json", "vllm_ascend_expert_map.json", "a.json"});
  EXPECT_EQ(KeysOf(ascend),
            (Args{"kind", "in", "out", "from", "to", "num_layers", "num_experts", "num_ranks",
                  "slots_per_rank", "layers", "duplicates", "digest"}));
  EXPECT_EQ(ascend["from"], "vllm-ascend");
  EXPECT_EQ(ascend["to"], "steelyard");
  const OrderedJson sglang = RunJson(
      {"convert", "--json", "sglang_physical_to_logical_map.json", "s.json", "--ranks", "4"});
  const OrderedJson trtllm =
      RunJson({"convert", "--json", "trtllm_static.yaml", "t.json", "--ranks", "4"});
  EXPECT_EQ(ascend["digest"], sglang["digest"]);
  EXPECT_EQ(ascend["digest"], trtllm["digest"]);
  EXPECT_EQ(trtllm["layers"], OrderedJson({3, 4}));
  EXPECT_EQ(Read("a.json"), Read("s.json"));
  EXPECT_EQ(Read("a.json"), Read("t.json"));
}

TEST_F(ConvertCommand, OutAndBackIsTheSameFile) {
  const CommandResult out =
      Run({"convert", "trtllm_online_with_start.yaml", "p.json", "--ranks", "4"});
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_EQ(out.err,
            "p.json has no place for layer_updates_per_iter: 1; --layer-updates 1 gives it back\n");
  RunJson({"convert", "--json", "p.json", "p.yaml", "--first-layer", "3", "--layer-updates", "1"});
  EXPECT_EQ(Read("p.yaml"), Read("trtllm_online_with_start.yaml"));
  for (const std::string format : {"vllm-ascend", "sglang"}) {
    RunJson({"convert", "--json", "p.json", "f.json", "--to", format});
    const Args back = format == "sglang" ? Args{"--ranks", "4"} : Args{};
    Args args = {"convert", "--json", "f.json", "q.json"};
    args.insert(args.end(), back.begin(), back.end());
    EXPECT_EQ(RunJson(args)["from"], format);
    EXPECT_EQ(Read("q.json"), Read("p.json")) << format;
  }
}

TEST_F(ConvertCommand, ModelLayersGoFromOneSystemToAnother) {
  const OrderedJson to_sglang = RunJson(
      {"convert", "--json", "trtllm_static.yaml", "s.json", "--to", "sglang", "--ranks", "4"});
  EXPECT_EQ(to_sglang["layers"], OrderedJson({3, 4}));
  EXPECT_EQ(ReadJsonFile(Path("s.json")).value()["physical_to_logical_map"].size(), 5U);
  RunJson({"convert", "--json", "s.json", "t.yaml", "--ranks", "4", "--moe-layers", "3,4"});
  EXPECT_EQ(Read("t.yaml"), Read("trtllm_static.yaml"));
}

TEST_F(ConvertCommand, TensorrtLlmsDefaultLayoutNeedsWhatTheFileDoesNotSay) {
  Expect({"convert", "trtllm_online.yaml", "out.json", "--ranks", "4"}, 1,
         {"trtllm_online.yaml", "how many experts"});
  RunJson({"convert", "--json", "trtllm_online.yaml", "p.json", "--ranks", "4", "--experts", "8",
           "--num-layers", "1"});
  EXPECT_EQ(ReadJsonFile(Path("p.json")).value()["slot_to_expert"][0],
            Json({0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 0}));
}

TEST_F(ConvertCommand, DuplicatesAreTakenAndReported) {
  Write("d.json", R"({"physical_to_logical_map":[[0,0,1,1]]})");
  EXPECT_EQ(RunJson({"convert", "--json", "d.json", "p.json", "--ranks", "2"})["duplicates"], 2);
  EXPECT_EQ(RunJson({"inspect", "--json", "d.json", "--ranks", "2"})["duplicates"], 2);
  Expect({"convert", "p.json", "out.json", "--to", "vllm-ascend"}, 1,
         {"out.json", "vllm-ascend", "holds an expert twice"});
}

TEST_F(ConvertCommand, InspectTakesEveryFormat) {
  EXPECT_EQ(RunJson({"inspect", "--json", "vllm_ascend_expert_map.json"})["format"], "vllm-ascend");
  const OrderedJson sglang = RunJson(
      {"inspect", "--json", "sglang_physical_to_logical_map.json", "--ranks", "4", "--nodes", "2"});
  EXPECT_EQ(sglang["format"], "sglang");
  EXPECT_EQ(sglang["num_nodes"], 2);
  EXPECT_EQ(RunJson({"inspect", "--json", "trtllm_static.yaml", "--ranks", "4"})["num_layers"], 2);
}

TEST_F(ConvertCommand, InspectShowsRanksThatDiffer) {
  Write("p.json", R"({"format":"steelyard.placement","version":1,"num_layers":1,"num_experts":3,
      "num_ranks":3,"slots_per_rank":2,"num_nodes":1,"slots_of_rank":[2,1,2],"dead_ranks":[2],
      "rank_speed":[1,0.5,1],"slot_to_expert":[[0,1,2,-1,-1,-1]],"shares":null})");
  const OrderedJson placement = RunJson({"inspect", "--json", "p.json"});
  EXPECT_EQ(placement["slots_of_rank"], OrderedJson({2, 1, 2}));
  EXPECT_EQ(placement["dead_ranks"], OrderedJson({2}));
  EXPECT_EQ(placement["rank_speed"], OrderedJson({1.0, 0.5, 1.0}));
  EXPECT_EQ(Run({"inspect", "p.json"}).exit_code, 0);
  Expect({"convert", "p.json", "out.json", "--to", "sglang"}, 1, {"out.json", "rank 2 is dead"});
  WriteRequests("r.jsonl", 1, 1);
  Expect({"run", "--model", "{model}", "--requests", "r.jsonl", "--placement", "p.json"}, 1,
         {"p.json", "1 dead"});
}

TEST_F(ConvertCommand, BadFilesAreRefusedByTheirRule) {
  const std::vector<std::pair<std::string, std::string>> files = {
      {"sglang_count_negative.json", "negative"},
      {"sglang_expert_missing.json", "expert 3 has no slot"},
      {"sglang_no_known_key.json", "no key of a placement"},
      {"sglang_ragged.json", "11 slots"},
      {"trtllm_expert_missing.yaml", "an expert is missing"},
      {"trtllm_length_differs_from_num_slots.yaml", "num_slots is 12"},
      {"trtllm_unknown_key.yaml", "layer_updates_per_itr"},
      {"vllm_ascend_duplicate_on_rank.json", "holds expert 1 in slots 0 and 1"},
      {"vllm_ascend_expert_out_of_range.json", "expert 9 is outside [0, 8)"},
      {"vllm_ascend_layer_count_wrong.json", "moe_layer_count"},
      {"vllm_ascend_no_device_expert.json", "device_expert"},
      {"vllm_ascend_ragged_slots.json", "2 slots"},
  };
  for (const auto& [name, word] : files) {
    const std::string file = "bad/" + name;
    Expect({"inspect", file, "--ranks", "4"}, 1, {file, word});
    Expect({"convert", file, "out.json", "--to", "steelyard", "--ranks", "4"}, 1, {file, word});
  }
}

TEST_F(ConvertCommand, OptionsThatMakeNoSenseAreBadUsage) {
  const std::string sglang = "sglang_physical_to_logical_map.json";
  const std::string ascend = "vllm_ascend_expert_map.json";
  Expect({"convert"}, 2, {"in"});
  Expect({"convert", sglang, "out.json"}, 2, {"--ranks", "sglang"});
  Expect({"inspect", sglang}, 2, {"--ranks", "sglang"});
  Expect({"convert", "none.json", "out.json"}, 1, {"none.json"});
  Expect({"inspect", "none.yaml"}, 1, {"none.yaml: no such file"});
  Expect({"inspect", "none.yaml", "--from", "tensorrt-llm"}, 1, {"none.yaml: no such file"});
  Expect({"convert", "bad", "out.json", "--from", "sglang"}, 1, {"bad: is a folder"});
  Expect({"convert", ascend, "out"}, 2, {"--to", "out"});
  Expect({"convert", ascend, "out.json", "--to", "vllm"}, 2, {"--to", "vllm", "vllm-ascend"});
  Expect({"convert", ascend, "out.json", "--from", "x"}, 2, {"--from", "tensorrt-llm"});
  Expect({"convert", ascend, "out.json", "--from", "sglang", "--ranks", "4"}, 1,
         {ascend, "physical_to_logical_map"});
  Expect({"convert", ascend, "out", "--to", "sglang"}, 1, {"out", ".json"});
  Expect({"convert", ascend, "out.json", "--ranks", "3"}, 1, {ascend, "4 ranks, not of 3"});
  Expect({"convert", ascend, "out.json", "--num-layers", "2"}, 2, {"--num-layers"});
  Expect({"convert", ascend, "out.json", "--first-layer", "3"}, 2, {"--first-layer"});
  Expect({"convert", ascend, "out.json", "--layer-updates", "3"}, 2, {"--layer-updates"});
  Expect({"convert", ascend, "out.json", "--bins", "0:1"}, 2, {"--bins", ascend});
  Expect({"convert", sglang, "out.json", "--ranks", "4", "--moe-layers", "1,1"}, 2,
         {"--moe-layers", "1,1"});
  Expect({"convert", sglang, "out.json", "--ranks", "4", "--moe-layers", "2"}, 1,
         {sglang, "no layer 2"});
  Expect({"convert", sglang, "out.json", "--ranks", "4", "--first-layer", "1", "--moe-layers", "1"},
         2, {"--first-layer", "--moe-layers"});
  RunJson({"convert", "--json", ascend, "p.json"});
  Expect({"convert", "p.json", "out.json"}, 2, {"--to", "out.json"});
  Expect({"convert", "p.json", "out.yaml", "--ranks", "4"}, 2, {"--ranks"});
  Expect({"convert", "p.json", "out.yaml", "--moe-layers", "3"}, 1, {"p.json", "2 layers"});
  Write("l.json", R"({"logical_count":[[1,2],[3,4]]})");
  Expect({"convert", "l.json", "out.json"}, 1, {"l.json", "loads", "steelyard plan --loads"});
  Expect({"convert", "l.json", "out.json", "--from", "sglang", "--ranks", "2"}, 1,
         {"l.json", "loads", "steelyard plan --loads"});
}

}  // namespace
}  // namespace steelyard
