// What the rounds of a migration touch and cost, kept for when each is committed.
#pragma once

#include <cstdint>
#include <vector>

#include "migrate/migration.h"
#include "steelyard/migrate/expert_store.h"

namespace steelyard {

struct RoundCost {
  int64_t moves = 0;
  int64_t bytes = 0;  // that cross a link, over all ranks
  std::vector<int> layers;
};

std::vector<RoundCost> CostOfRounds(const Migration& migration, ExpertStore& store);

/// Bytes of an expert of the layers whose experts are largest.
int64_t LargestBundle(ExpertStore& store);

}  // namespace steelyard
