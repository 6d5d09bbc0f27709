// Turns tensors of a checkpoint into float32 and refuses weights that are not finite.
#pragma once

#include <cstdint>
#include <span>

#include "engine/checkpoint/safetensors.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// Ok when CopyToF32 can read the dtype: F32, F16, BF16. Fails with kUnimplemented, naming file,
/// tensor and dtype.
Status CheckConvertible(const Tensor& tensor);

/// Copies all elements, exactly, in row-major order. Fails with kInvalidArgument, naming file,
/// tensor and the index of the first NaN or infinity; then `out` holds rubbish. Requires:
/// out.size() == tensor.num_elements().
Status CopyToF32(const Tensor& tensor, std::span<float> out);

/// The same for rows [first_row, first_row + num_rows) of the leading dimension; touches no other
/// part of the file. Requires: at least one dimension, rows inside it, out.size() == num_rows x
/// elements in a row.
Status CopyRowsToF32(const Tensor& tensor, int64_t first_row, int64_t num_rows,
                     std::span<float> out);

}  // namespace steelyard
