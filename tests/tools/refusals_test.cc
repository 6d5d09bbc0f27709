// What the command refuses, and how: exit code 1 or 2, the reason as one last line of standard
// error, nothing on standard output, nothing where --out points.
#include "command_runner.h"

namespace steelyard {
namespace {

struct Refusal {
  std::vector<std::string> args;
  int exit_code;
  std::vector<std::string> words;  // all must be in the message
};

class Refusals : public CommandTest {
 protected:
  void SetUp() override {
    WriteRequests("r.jsonl", 4, 2);
    Write("l.json", "[[1,2,3,4],[4,3,2,1]]");
    Write("negative.json", "[[1,2,3,4],[4,-3,2,1]]");
    Write("ragged.json", "[[1,2],[3]]");
    Write("broken.json", "[[1,2],[3");
    Write("temperature.jsonl", R"({"id":"a","prompt":"x","max_new_tokens":1,"temperature":1})");
    Write("top_p.jsonl", R"({"id":"a","prompt":"x","max_new_tokens":1,"top_p":0.5})");
    Write("empty.jsonl", "");
    Write("twice.jsonl",
          "{\"id\":\"a\",\"prompt\":\"x\",\"max_new_tokens\":1}\n"
          "{\"id\":\"a\",\"prompt\":\"x\",\"max_new_tokens\":1}\n");
    Write("ids.jsonl", R"({"id":"a","input_ids":[4096],"max_new_tokens":1})");
    Write("nothing.jsonl", R"({"id":"a","prompt":"","max_new_tokens":1})");
    Write("long.jsonl", R"({"id":"a","prompt":"x","max_new_tokens":100000000})");
    Write("long_id.jsonl",
          Json{{"id", std::string(252, 'i')}, {"input_ids", {1}}, {"max_new_tokens", 1}}.dump());
    WritePlacement("duplicate.json", 2, 4, {0, 0, 1, 2, 3, 1}, false);
    WritePlacement("uneven.json", 6, 32, {}, true);
    WritePlacement("other_experts.json", 2, 4, {0, 1, 2, 3, 0, 1}, false);
    WritePlacement("missing.json", 2, 4, {0, 1, 2, 0, 1, 2}, false);
    Write("option.toml", "[run]\nrankz = 2\n");
    Write("section.toml", "[frob]\nranks = 2\n");
  }

  // Two ranks that hold `row`; where `uneven`, both hold all experts, split 0.25 to 0.75.
  void WritePlacement(const std::string& name, int layers, int experts, std::vector<int> row,
                      bool uneven) const {
    for (int slot = 0; uneven && slot < 2 * experts; ++slot) {
      row.push_back(slot % experts);
    }
    OrderedJson json = {{"format", "steelyard.placement"},
                        {"version", 1},
                        {"num_layers", layers},
                        {"num_experts", experts},
                        {"num_ranks", 2},
                        {"slots_per_rank", row.size() / 2},
                        {"num_nodes", 1},
                        {"slot_to_expert", std::vector<std::vector<int>>(layers, row)},
                        {"shares", nullptr}};
    if (uneven) {
      std::vector<double> shares(row.size(), 0.25);
      std::fill(shares.begin() + experts, shares.end(), 0.75);
      json["shares"] = std::vector<std::vector<double>>(layers, shares);
    }
    Write(name, json.dump());
  }

  void Expect(const Refusal& refusal) const {
    std::vector<std::string> args = refusal.args;
    std::string shown;
    for (const std::string& arg : args) shown += arg + " ";
    SCOPED_TRACE(shown);
    const CommandResult result = Run(args);
    EXPECT_EQ(result.exit_code, refusal.exit_code) << result.err;
    EXPECT_EQ(result.out, "");
    for (const std::string& word : refusal.words) {
      EXPECT_NE(result.last_error_line().find(word), std::string::npos)
          << word << " is not in: " << result.err;
    }
    EXPECT_FALSE(std::filesystem::exists(Path("out")));
  }

  static std::vector<std::string> With(std::vector<std::string> args,
                                       const std::vector<std::string>& more) {
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

TEST_F(Refusals, CommandLineThatIsNone) {
  Expect({{}, 2, {"subcommand"}});
  Expect({{"frob"}, 2, {"frob: no such subcommand"}});
  Expect({{"--config", "option.toml", "frob"}, 2, {"frob: no such subcommand"}});
  Expect({{"--config", "section.toml"}, 2, {"section.toml", "[frob]"}});
  Expect({{"plan"}, 2, {"--loads"}});
  Expect({{"run", "--requests", "r.jsonl"}, 2, {"--model"}});
  Expect({{"plan", "--loads", "l.json", "--ranks", "2", "--config", "section.toml"},
          2,
          {"section.toml", "frob"}});
}

TEST_F(Refusals, OptionsOfRun) {
  const std::vector<std::string> run = {"run",     "--model", "{model}", "--requests",
                                        "r.jsonl", "--out",   "out"};
  const std::vector<std::string> two = With(run, {"--ranks", "2"});
  Expect({run, 2, {"--ranks"}});
  Expect({With(run, {"--ranks", "0"}), 2, {"--ranks", "0"}});
  Expect({With(run, {"--ranks", "65"}), 2, {"--ranks 65"}});
  Expect({With(run, {"--config", "option.toml"}), 2, {"option.toml", "rankz"}});
  Expect({With(two, {"--transport", "mpi"}), 1, {"--transport mpi"}});
  Expect({With(two, {"--record", "x.csv"}), 2, {"--record x.csv", ".h5, .npy or .npz"}});
  Expect({With(two, {"--max-moves", "-1"}), 2, {"--max-moves", "-1"}});
  Expect({With(two, {"--max-moves", "3", "--policy", "swift"}), 2, {"swift", "limits on moves"}});
  Expect({With(two, {"--policy", "nobody"}), 2, {"--policy", "nobody"}});
  Expect({With(two, {"--balance", "often"}), 2, {"--balance", "often"}});
  Expect({With(two, {"--compute", "f16"}), 2, {"--compute", "f16"}});
  Expect({With(two, {"--slots", "33"}), 1, {"--slots 33", "32 experts"}});
  Expect({With(two, {"--slots", "15"}), 1, {"--slots 15", "32 experts"}});
  Expect({With(two, {"--nodes", "3"}), 2, {"--nodes", "3 nodes"}});
  Expect({With(two, {"--window", "30"}), 2, {"--window 30", "--bins-per-window 4"}});
  Expect({With(two, {"--price", "-1"}), 2, {"--price", "-1"}});
}

// Told before the model is opened, which is not there.
TEST_F(Refusals, OutputsOfRun) {
  const std::string long_name(300, 'x');
  for (const std::string option : {"--out", "--record", "--save-placement"}) {
    const auto run = [&](const std::string& path) -> std::vector<std::string> {
      return {"run", "--model", "no", "--requests", "r.jsonl", "--ranks", "2", option, path};
    };
    const std::string end = option == "--record" ? ".npy" : "";
    Expect({run("nowhere/x" + end), 1, {option + " nowhere/x", "nowhere is not a folder"}});
    Expect({run("/proc/x" + end), 1, {option + " /proc/x", "cannot be written"}});
    Expect({run(long_name + end), 1, {option, "the name is longer than 255 bytes"}});
  }
  const auto logits = [](const std::string& path) -> std::vector<std::string> {
    return {"run", "--model", "no", "--requests", "r.jsonl", "--ranks", "2", "--logits-dir", path};
  };
  Expect({logits("/proc/lg"), 1, {"--logits-dir /proc/lg", "cannot be made"}});
  Expect({logits("/proc"), 1, {"--logits-dir /proc", "cannot be written"}});
  Expect({logits("r.jsonl"), 1, {"--logits-dir r.jsonl", "cannot be made"}});
  Expect({logits("new/" + long_name), 1, {"--logits-dir new/", "cannot be made"}});
  Expect({logits("new/lg"), 1, {"no:"}});
  EXPECT_FALSE(std::filesystem::exists(Path("new"))) << "only tried";
}

TEST_F(Refusals, FilesOfRun) {
  const auto requests = [](const std::string& file) -> std::vector<std::string> {
    return {"run", "--model", "{model}", "--ranks", "2", "--out", "out", "--requests", file};
  };
  Expect({{"run", "--model", "no", "--requests", "r.jsonl", "--ranks", "2"}, 1, {"no:"}});
  Expect({requests("none.jsonl"), 1, {"none.jsonl"}});
  Expect({requests("empty.jsonl"), 1, {"empty.jsonl"}});
  Expect({requests("temperature.jsonl"), 1, {"temperature.jsonl", "line 1", "\"temperature\""}});
  Expect({requests("top_p.jsonl"), 1, {"top_p.jsonl", "line 1", "\"top_p\""}});
  Expect({requests("twice.jsonl"), 1, {"twice.jsonl", "line 2"}});
  Expect({requests("ids.jsonl"), 1, {"ids.jsonl", "line 1", "4096"}});
  Expect({requests("nothing.jsonl"), 1, {"nothing.jsonl", "line 1"}});
  Expect({requests("long.jsonl"), 1, {"long.jsonl", "line 1"}});
  Expect({With(requests("long_id.jsonl"), {"--logits-dir", "lg"}),
          1,
          {"long_id.jsonl", "line 1: id: ", "252 bytes"}});
  const auto placement = [&](const std::string& file) {
    return With(requests("r.jsonl"), {"--placement", file});
  };
  Expect({placement("none.json"), 1, {"none.json"}});
  Expect({placement("duplicate.json"), 1, {"duplicate.json", "layer 0", "rank 0", "expert 0"}});
  Expect({placement("missing.json"), 1, {"missing.json", "expert 3"}});
  Expect({placement("uneven.json"), 1, {"uneven.json", "shares[0][0]", "uneven"}});
  Expect({placement("other_experts.json"), 1, {"other_experts.json", "4 experts", "32 experts"}});
  Expect({With(placement("uneven.json"), {"--balance", "off"}), 2, {"--placement", "off"}});
}

TEST_F(Refusals, OptionsOfPlan) {
  const std::vector<std::string> plan = {"plan",    "--json", "--out",   "out",
                                         "--loads", "l.json", "--ranks", "2"};
  Expect({With(plan, {"--nodes", "3"}), 2, {"--nodes", "3 nodes"}});
  Expect({With(plan, {"--slots", "3,3,3"}), 2, {"--slots 3,3,3", "3 numbers for 2 ranks"}});
  Expect({With(plan, {"--slots", "3,,3"}), 2, {"--slots", "3,,3"}});
  Expect({With(plan, {"--slots", "3,0"}), 2, {"--slots", "3,0"}});
  Expect({With(plan, {"--slots", "5,2"}), 1, {"--slots 5,2", "4 experts"}});
  Expect({With(plan, {"--slots", "1,2"}), 1, {"--slots 1,2", "4 experts"}});
  Expect({With(plan, {"--speeds", "1,nan"}), 2, {"--speeds", "nan"}});
  Expect({With(plan, {"--speeds", "1,0"}), 2, {"--speeds", "1,0"}});
  Expect({With(plan, {"--speeds", "1,2,3"}), 2, {"--speeds 1,2,3", "2 ranks"}});
  Expect({With(plan, {"--dead", "2"}), 2, {"--dead 2", "outside [0, 2)"}});
  Expect({With(plan, {"--dead", "0,1"}), 2, {"--dead 0,1", "all 2 ranks"}});
  Expect({With(plan, {"--dead", "1,1"}), 2, {"--dead 1,1", "twice"}});
  Expect({With(plan, {"--dead", "all"}), 2, {"--dead", "all"}});
  Expect({With(plan, {"--dead", "1", "--slots", "3"}), 1, {"--slots 3", "1 live", "4 experts"}});
  Expect({With(plan, {"--split", "odd"}), 2, {"--split odd"}});
  Expect({With(plan, {"--predictor", "oracle"}), 2, {"--predictor oracle", "pooled"}});
  Expect({With(plan, {"--rank-cost", "1,2"}), 2, {"--rank-cost 1,2"}});
  Expect({With(plan, {"--rank-cost", "1,0,1,0"}), 2, {"--rank-cost 1,0,1,0"}});
  Expect({With(plan, {"--max-bytes", "1"}), 2, {"--max-bytes", "--expert-bytes"}});
  Expect({With(plan, {"--max-moves-per-pair", "-1"}), 2, {"--max-moves-per-pair", "-1"}});
}

TEST_F(Refusals, PlanAndInspect) {
  const auto plan = [](const std::string& loads) -> std::vector<std::string> {
    return {"plan", "--json", "--out", "out", "--ranks", "2", "--loads", loads};
  };
  Expect({plan("none.npy"), 1, {"none.npy"}});
  Expect({plan("none"), 1, {"none: no such file"}});
  Expect({{"inspect", "none"}, 1, {"none: no such file"}});
  Expect({plan("negative.json"), 1, {"negative.json", "layer 1", "expert 1", "negative"}});
  Expect({plan("ragged.json"), 1, {"ragged.json", "loads[1]"}});
  Expect({plan("broken.json"), 1, {"broken.json", "line 1"}});
  Expect({plan("r.jsonl"), 1, {"r.jsonl"}});
  Expect({With(plan("l.json"), {"--slots", "5"}), 1, {"--slots 5", "4 experts"}});
  Expect({With(plan("l.json"), {"--slots", "1"}), 1, {"--slots 1", "4 experts"}});
  Expect(
      {With(plan("l.json"), {"--policy", "static", "--max-moves", "1"}), 2, {"static", "limits"}});
  Expect({With(plan("l.json"), {"--expert-bytes", "0"}), 2, {"--expert-bytes", "0"}});
  Expect({With(plan("l.json"), {"--seed", "-1"}), 2, {"--seed", "-1"}});
  Expect({With(plan("l.json"), {"--current", "uneven.json"}), 1, {"uneven.json", "l.json"}});
  Expect({With(plan("l.json"), {"--current", "duplicate.json", "--slots", "5"}),
          1,
          {"duplicate.json", "--slots 5", "4 experts"}});
  Expect({{"plan", "--loads", "l.json", "--current", "duplicate.json", "--dead", "0"},
          1,
          {"duplicate.json: 3 slots on a rank, as before: 1 live ranks have fewer slots than the 4 "
           "experts need"}});
  Expect({{"inspect", "missing.json"}, 1, {"missing.json", "expert 3"}});
  Expect({{"inspect", "negative.json"}, 1, {"negative.json", "layer 1"}});
  Expect({{"inspect", "duplicate.json", "--ranks", "2"}, 2, {"--ranks", "duplicate.json"}});
  Expect({{"inspect", "l.json", "--loads", "l.json"}, 2, {"--loads", "l.json"}});
  Expect({{"inspect", "l.json", "--slots", "4"}, 2, {"--ranks"}});
}

}  // namespace
}  // namespace steelyard
