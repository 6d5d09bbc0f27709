#include "engine/models/tensor_reader.h"

#include "engine/checkpoint/convert.h"

namespace steelyard {

Status TensorReader::Read(const std::string& name, std::vector<int64_t> shape,
                          std::vector<float>* out) const {
  STEELYARD_ASSIGN_OR_RETURN(const Tensor tensor, checkpoint_->Get(name, shape));
  if (pass_ == Pass::kCheck) return Status::Ok();
  out->resize(tensor.num_elements());
  return CopyToF32(tensor, *out);
}

Status TensorReader::ReadInto(const std::string& name, std::vector<int64_t> shape,
                              std::span<float> out) const {
  STEELYARD_ASSIGN_OR_RETURN(const Tensor tensor, checkpoint_->Get(name, shape));
  if (pass_ == Pass::kCheck) return Status::Ok();
  return CopyToF32(tensor, out);
}

Status TensorReader::ReadLinear(const std::vector<LinearPart>& parts, int64_t num_in,
                                const GemmKernel* kernel, PackedLinear* out) const {
  int64_t num_out = 0;
  for (const LinearPart& part : parts) {
    STEELYARD_RETURN_IF_ERROR(
        checkpoint_->Get(part.name, std::vector<int64_t>{part.num_out, num_in}).status());
    num_out += part.num_out;
  }
  if (pass_ == Pass::kCheck) return Status::Ok();
  std::vector<float> weight(static_cast<size_t>(num_out) * num_in);
  size_t first = 0;
  for (const LinearPart& part : parts) {
    const size_t size = static_cast<size_t>(part.num_out) * num_in;
    STEELYARD_RETURN_IF_ERROR(
        ReadInto(part.name, {part.num_out, num_in}, std::span(weight).subspan(first, size)));
    first += size;
  }
  *out = PackLinear({static_cast<int>(num_out), static_cast<int>(num_in)}, weight, *kernel);
  return Status::Ok();
}

PackedLinear PackLinear(const WeightShape& shape, std::span<const float> weight,
                        const GemmKernel& kernel) {
  PackedLinear linear;
  linear.shape = shape;
  linear.packed = AlignedArray<std::byte>(kernel.PackedBytes(shape));
  kernel.Pack(shape, weight, linear.packed.span());
  return linear;
}

}  // namespace steelyard
