#include "steelyard/placement/placement_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/test_scale.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;
using testing::Lt;

class PlacementFile : public testing::Test {
 protected:
  void SetUp() override {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("steelyard_file_") + info->name());
    fs::create_directories(folder_);
    path_ = folder_ / "p.json";
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
  fs::path path_;
};

// Without the fsync of WriteFileAtomically(), which many small files would pay for.
void Write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

constexpr const char* kExample = R"({"format":"steelyard.placement","version":1,
"num_layers":2,"num_experts":3,"num_ranks":2,"slots_per_rank":2,"num_nodes":1,
"slot_to_expert":[
[0,1,2,0],
[2,1,0,2]
],
"shares":[
[0.25,1,1,0.75],
[0.5,1,1,0.5]
]}
)";

Placement Example() {
  return Placement::Create(Topology::Create(2, 2).value(), 3, {0, 1, 2, 0, 2, 1, 0, 2},
                           DuplicateRule::kRefuse, {0.25, 1, 1, 0.75, 0.5, 1, 1, 0.5})
      .value();
}

TEST_F(PlacementFile, HasARowPerLayer) {
  ASSERT_TRUE(WritePlacementFile(path_, Example()).ok());
  EXPECT_EQ(ReadFile(path_).value(), kExample);
  EXPECT_EQ(ReadPlacementFile(path_, DuplicateRule::kRefuse).value(), Example());
}

TEST_F(PlacementFile, HasListsOnlyWhereRanksDiffer) {
  TopologySpec spec;
  spec.num_ranks = 3;
  spec.slots_per_rank = 2;
  spec.slots_of_rank = {2, 1, 2};
  spec.dead_ranks = {2};
  spec.rank_speed = {1, 0.5, 1};
  const Placement placement = Placement::Contiguous(Topology::Create(spec).value(), 1, 3).value();
  ASSERT_TRUE(WritePlacementFile(path_, placement).ok());
  EXPECT_EQ(ReadFile(path_).value(), R"({"format":"steelyard.placement","version":1,
"num_layers":1,"num_experts":3,"num_ranks":3,"slots_per_rank":2,"num_nodes":1,"slots_of_rank":[2,1,2],"dead_ranks":[2],"rank_speed":[1,0.5,1],
"slot_to_expert":[
[0,1,2,-1,-1,-1]
],
"shares":null}
)");
  EXPECT_EQ(ReadPlacementFile(path_, DuplicateRule::kRefuse).value(), placement);
}

TEST_F(PlacementFile, HasNullForAnEvenSplit) {
  const Placement even = Placement::Contiguous(Topology::Create(2, 2, 2).value(), 1, 3).value();
  ASSERT_TRUE(WritePlacementFile(path_, even).ok());
  EXPECT_TRUE(ReadJsonFile(path_).value()["shares"].is_null());
  EXPECT_EQ(ReadPlacementFile(path_, DuplicateRule::kRefuse).value(), even);
}

TEST_F(PlacementFile, LeavesNoTemporaryFileBehind) {
  ASSERT_TRUE(WritePlacementFile(path_, Example()).ok());
  ASSERT_TRUE(WritePlacementFile(path_, Example()).ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(PlacementFile, AcceptsListsThatSayNothing) {
  Json file = Json::parse(kExample);
  file["dead_ranks"] = Json::array();
  file["rank_speed"] = nullptr;
  Write(path_, file.dump());
  EXPECT_EQ(ReadPlacementFile(path_, DuplicateRule::kRefuse).value(), Example());
}

struct Refusal {
  const char* patch;  // merged into the example; null takes a key away
  const char* message;
};

TEST_F(PlacementFile, RefusesWithFilePlaceAndRule) {
  const std::vector<Refusal> refusals = {
      {R"({"format":"other"})", R"(format: it is not "steelyard.placement")"},
      {R"({"version":2})", "version: 2 is not 1, the only one known"},
      {R"({"version":"1"})", "version: string is not an integer"},
      {R"({"num_nodes":null})", R"(key "num_nodes" is missing)"},
      {R"({"slot_to_expert":null})", R"(key "slot_to_expert" is missing)"},
      {R"({"num_Layers":2})", R"(key "num_Layers" is unknown)"},
      {R"({"slots_of_rank":2})", "slots_of_rank: it is not an array"},
      {R"({"slots_of_rank":[2]})", "slots_of_rank has 1 entries for 2 ranks"},
      {R"({"slots_of_rank":[2,"1"]})", "slots_of_rank[1]: string is not an integer"},
      {R"({"slots_of_rank":[2,0]})", "slots_of_rank[1]: 0 is outside [1, 2147483647]"},
      {R"({"slots_of_rank":[2,3]})", "slots_of_rank[1] is 3, outside [1, slots_per_rank = 2]"},
      {R"({"slots_of_rank":[1,1]})", "slots_per_rank is 2, but no rank has as many slots"},
      {R"({"slots_of_rank":[2,1]})",
       "layer 0, slot 3 (rank 1): expert 0 where the rank has no live slot, only -1 fits"},
      {R"({"slots_of_rank":[1,2],"slot_to_expert":[[0,-1,1,2],[2,-2,1,0]]})",
       "slot_to_expert[1][1]: -2 is outside [-1, 2147483647]"},
      {R"({"slots_of_rank":[1,2],"slot_to_expert":[[0,-1,1,2],[2,-1,1,0]]})",
       "layer 0, slot 1 (rank 0): share 1 of an empty slot is not 0"},
      {R"({"dead_ranks":{}})", "dead_ranks: it is not an array"},
      {R"({"dead_ranks":[2]})", "dead rank 2 is outside [0, 2)"},
      {R"({"dead_ranks":[0,0]})", "dead rank 0 is named twice"},
      {R"({"dead_ranks":[0,1]})", "all 2 ranks are dead"},
      {R"({"dead_ranks":[0.5]})", "dead_ranks[0]: number is not an integer"},
      {R"({"dead_ranks":[1]})", "2 slots are fewer than 3 experts"},
      {R"({"rank_speed":[1,1,1]})", "rank_speed has 3 entries for 2 ranks"},
      {R"({"rank_speed":[1,null]})", "rank_speed[1]: null is not a number"},
      {R"({"rank_speed":[0,1]})", "rank_speed[0] is 0, but must be finite and above 0"},
      {R"({"num_ranks":2.0})", "num_ranks: number is not an integer"},
      {R"({"num_ranks":true})", "num_ranks: boolean is not an integer"},
      {R"({"num_ranks":0})", "num_ranks: 0 is outside [1, 2147483647]"},
      {R"({"num_experts":-9223372036854775808})",
       "num_experts: -9223372036854775808 is outside [1, 2147483647]"},
      {R"({"num_experts":18446744073709551615})",
       "num_experts: 18446744073709551615 is outside [1, 2147483647]"},
      {R"({"num_experts":2147483647})", "4 slots are fewer than 2147483647 experts"},
      {R"({"num_nodes":3})", "2 ranks cannot be dealt evenly to 3 nodes"},
      {R"({"num_ranks":2147483647})", "2147483647 ranks x 2 slots are too many to number"},
      {R"({"num_layers":2147483647})",
       "slot_to_expert: it is not an array of num_layers = 2147483647 rows"},
      {R"({"num_layers":1})", "slot_to_expert: it is not an array of num_layers = 1 rows"},
      {R"({"slot_to_expert":7})", "slot_to_expert: it is not an array of num_layers = 2 rows"},
      {R"({"slots_per_rank":1073741823})",
       "slot_to_expert[0]: 4 entries, but num_ranks x slots_per_rank is 2147483646"},
      {R"({"slot_to_expert":[[0,1,2,0],[2,1,0]]})",
       "slot_to_expert[1]: 3 entries, but num_ranks x slots_per_rank is 4"},
      {R"({"slot_to_expert":[[0,1,2,0],{}]})", "slot_to_expert[1]: it is not an array"},
      {R"({"slot_to_expert":[[0,1,2,0],[2,1,0.0,2]]})",
       "slot_to_expert[1][2]: number is not an integer"},
      {R"({"slot_to_expert":[[0,1,2,0],[2,1,-1,2]]})",
       "slot_to_expert[1][2]: -1 is outside [0, 2147483647]"},
      {R"({"slot_to_expert":[[0,1,2,3],[2,1,0,2]]})",
       "layer 0, slot 3 (rank 1): expert 3 is outside [0, 3)"},
      {R"({"slot_to_expert":[[0,1,2,0],[2,1,1,2]]})", "layer 1: expert 0 has no slot"},
      {R"({"slot_to_expert":[[0,1,2,2],[2,1,0,2]]})",
       "layer 0: rank 1 holds expert 2 in slots 2 and 3"},
      {R"({"shares":[[1,1,1,1]]})", "shares: it is not an array of num_layers = 2 rows"},
      {R"({"shares":[[1,1,1,0],[1,1,1]]})",
       "shares[1]: 3 entries, but num_ranks x slots_per_rank is 4"},
      {R"({"shares":[[1,1,"1",0],[1,1,1,0]]})", "shares[0][2]: string is not a number"},
      {R"({"shares":[[0.5,1,1,0.25],[1,1,1,0]]})",
       "layer 0: shares of expert 0 sum to 0.75, not to 1"},
      {R"({"shares":[[2,1,1,-1],[1,1,1,0]]})", "layer 0, slot 3 (rank 1): share -1 is negative"},
  };
  for (const Refusal& refusal : refusals) {
    Json file = Json::parse(kExample);
    file.merge_patch(Json::parse(refusal.patch));
    Write(path_, file.dump());
    EXPECT_EQ(ReadPlacementFile(path_, DuplicateRule::kRefuse).status().message(),
              path_.string() + ": " + refusal.message);
  }
}

TEST_F(PlacementFile, RefusesWhatIsNoJsonObject) {
  EXPECT_EQ(ReadPlacementFile(path_, DuplicateRule::kRefuse).status().code(),
            StatusCode::kNotFound);
  Write(path_, "[1]");
  EXPECT_EQ(ReadPlacementFile(path_, DuplicateRule::kRefuse).status(),
            InvalidArgument(path_.string() + ": it is not a JSON object"));
}

TEST_F(PlacementFile, RefusesAKeyThatIsThereTwice) {
  std::string twice = kExample;
  twice.insert(1, "\"num_nodes\":2,");
  Write(path_, twice);
  const std::string message = ReadPlacementFile(path_, DuplicateRule::kRefuse).status().message();
  EXPECT_THAT(message, testing::StartsWith(path_.string() + ": line "));
  EXPECT_THAT(message, testing::EndsWith("key \"num_nodes\" is there twice in one object"));
}

TEST_F(PlacementFile, ReadsDuplicatesWhereTheyAreAllowed) {
  const Placement placement =
      Placement::Create(Topology::Create(2, 2).value(), 2, {0, 0, 1, 1}, DuplicateRule::kAllow)
          .value();
  ASSERT_TRUE(WritePlacementFile(path_, placement).ok());
  EXPECT_EQ(ReadPlacementFile(path_, DuplicateRule::kAllow).value(), placement);
  EXPECT_EQ(ReadPlacementFile(path_, DuplicateRule::kRefuse).status().message(),
            path_.string() + ": layer 0: rank 0 holds expert 0 in slots 0 and 1");
}

// Ranks of different numbers of slots and speeds; some are dead.
Topology RandomTopology(std::mt19937& random) {
  TopologySpec spec;
  spec.num_ranks = 1 + static_cast<int>(random() % 5);
  spec.slots_per_rank = 1 + static_cast<int>(random() % 5);
  spec.num_nodes = spec.num_ranks;
  if (random() % 2 == 0) {
    for (int rank = 0; rank < spec.num_ranks; ++rank) {
      spec.slots_of_rank.push_back(1 + static_cast<int>(random() % spec.slots_per_rank));
      spec.rank_speed.push_back(std::uniform_real_distribution<double>(0.1, 1)(random));
      if (rank > 0 && random() % 4 == 0) spec.dead_ranks.push_back(rank);
    }
    spec.slots_of_rank[random() % spec.num_ranks] = spec.slots_per_rank;
  }
  return Topology::Create(spec).value();
}

Placement RandomPlacement(std::mt19937& random) {
  const Topology topology = RandomTopology(random);
  const int num_experts = 1 + static_cast<int>(random() % topology.num_live_slots());
  std::vector<int32_t> live(topology.num_live_slots());
  for (size_t i = 0; i < live.size(); ++i) {
    live[i] =
        static_cast<int32_t>(i < static_cast<size_t>(num_experts) ? i : random() % num_experts);
  }
  std::shuffle(live.begin(), live.end(), random);
  std::vector<int32_t> row;
  for (int slot = 0; slot < topology.num_slots(); ++slot) {
    row.push_back(kNoExpert);
    if (topology.is_live_slot(slot)) {
      row.back() = live.back();
      live.pop_back();
    }
  }
  std::vector<double> shares;
  if (random() % 2 == 0) {
    std::vector<double> total(num_experts);
    for (const int32_t expert : row) {
      const double share = std::uniform_real_distribution<double>(0.1, 1)(random);
      shares.push_back(expert == kNoExpert ? 0 : share);
      if (expert != kNoExpert) total[expert] += share;
    }
    for (size_t slot = 0; slot < row.size(); ++slot) {
      if (row[slot] != kNoExpert) shares[slot] /= total[row[slot]];
    }
  }
  return Placement::Create(topology, num_experts, row, DuplicateRule::kAllow, shares).value();
}

TEST_F(PlacementFile, GivesBackEveryBitOfWhatWasWritten) {
  for (int seed = 0; seed < Scaled(60); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const Placement placement = RandomPlacement(random);
    ASSERT_TRUE(WritePlacementFile(path_, placement).ok());
    const Result<Placement> read = ReadPlacementFile(path_, DuplicateRule::kAllow);
    ASSERT_TRUE(read.ok()) << read.status().ToString();
    EXPECT_EQ(*read, placement);
    EXPECT_EQ(read->Digest(), placement.Digest());
  }
}

TEST_F(PlacementFile, ADamagedFileIsRefusedOrStillAPlacement) {
  int num_refused = 0;
  const int num_seeds = Scaled(1000);
  for (int seed = 0; seed < num_seeds; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::string text = kExample;
    if (seed % 4 == 0) {
      text.resize(random() % text.size());
    } else {
      for (int i = 0; i <= seed % 3; ++i) {
        // Bytes that JSON uses make damage that the parser lets pass more likely.
        const std::string bytes = "0123456789-.eE[]{},:\"\n \xff";
        text[random() % text.size()] = bytes[random() % bytes.size()];
      }
    }
    Write(path_, text);
    const Result<Placement> read = ReadPlacementFile(path_, DuplicateRule::kAllow);
    if (read.ok()) {
      EXPECT_EQ(read->num_layers() * read->num_slots(),
                static_cast<int>(read->slot_to_expert().size()));
    } else {
      ++num_refused;
      EXPECT_EQ(read.status().message().rfind(path_.string() + ": ", 0), 0u);
      EXPECT_EQ(read.status().message().find('\n'), std::string::npos);
    }
  }
  EXPECT_GT(num_refused, num_seeds / 2);
  EXPECT_THAT(num_refused, Lt(num_seeds));
}

}  // namespace
}  // namespace steelyard
