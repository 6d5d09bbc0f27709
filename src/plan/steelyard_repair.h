// Replica repair: more copies for experts that have become too heavy for the copies they have.
#pragma once

#include "plan/steelyard_layer_state.h"

namespace steelyard {

/// Another copy of the expert with the heaviest copies, over a redundant slot: the one whose
/// exchange leaves the coolest of the ranks that get hotter. None where no copy is heavier than
/// `heaviest_copy`, or no expert can spare one without becoming as heavy itself.
Step FindRepair(const LayerState& state, double heaviest_copy);

}  // namespace steelyard
