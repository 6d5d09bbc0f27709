// Matrix kernels of oneDNN: one primitive per shape and number of rows, all made before the first
// token.
#pragma once

#include <memory>
#include <span>

#include "engine/compute/gemm.h"

namespace steelyard {

/// What a oneDNN kernel may be built on. Its kernels for AVX-512 ("brg:avx512...") are generated
/// for a fixed number of rows and give a row the same bits in every batch; of others ("gemm:jit")
/// that is not known.
enum class OneDnnDemand { kFixedRowKernel, kAnything };

/// A kernel for `shapes` and no others: Prepare() of another shape fails with kFailedPrecondition.
/// Rows are filled up with zeros to a rung of the ladder 1, 2, 4, .. 256; more go in pieces.
/// Everything runs in the calling thread, and kernels of several threads share nothing.
///
/// Fails with kInvalidArgument when there is no shape; with kUnimplemented when oneDNN has no
/// matmul of this type here, not the implementation that `demand` asks for, or pads the weights,
/// for it would write the padding at every call; with kInternal when the packed layouts of two
/// rungs differ. The message names shape, rung and what was found.
Result<std::unique_ptr<GemmKernel>> MakeOneDnnKernel(ComputeType type,
                                                     std::span<const WeightShape> shapes,
                                                     OneDnnDemand demand);

}  // namespace steelyard
