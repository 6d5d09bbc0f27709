#include "engine/compute/onednn_kernel.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <dnnl.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/compute/bf16.h"
#include "engine/compute/layout_hash.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

using dnnl::memory;

constexpr int kTopRung = 256;
constexpr std::string_view kFixedRowPrefix = "brg:avx512";

/// oneDNN of Debian runs on OpenMP, whose number of threads belongs to the calling thread. With one
/// it calls the kernel directly and never starts a team.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

memory::data_type DataType(ComputeType type) {
  return type == ComputeType::kF32 ? memory::data_type::f32 : memory::data_type::bf16;
}

std::string ShapeText(ComputeType type, const WeightShape& shape) {
  return fmt::format("{} weights {}x{}", ComputeTypeName(type), shape.num_out, shape.num_in);
}

/// One primitive with the memory objects that its arguments are put into.
struct Rung {
  dnnl::matmul primitive;
  memory src;
  memory weights;
  memory dst;
  memory scratchpad;
};

struct ShapeKernel {
  WeightShape shape;
  memory::desc packed;      // [num_in, num_out] in oneDNN's own order
  std::vector<Rung> rungs;  // rung i has 2^i rows
};

bool IsPadded(const memory::desc& desc) {
  const auto& data = desc.data;
  return !std::equal(data.dims, data.dims + data.ndims, data.padded_dims);
}

/// The block structure that makes the bytes what they are.
std::vector<int64_t> LayoutDetails(const memory::desc& desc) {
  const auto& blocking = desc.data.format_desc.blocking;
  std::vector<int64_t> details(blocking.strides, blocking.strides + desc.data.ndims);
  for (int i = 0; i < blocking.inner_nblks; ++i) {
    details.push_back(blocking.inner_idxs[i]);
    details.push_back(blocking.inner_blks[i]);
  }
  return details;
}

class OneDnnKernel final : public GemmKernel {
 public:
  explicit OneDnnKernel(ComputeType type)
      : name_(fmt::format("onednn-{}", ComputeTypeName(type))),
        type_(type),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_) {}

  /// Makes the primitives of one shape. Throws dnnl::error where oneDNN has none.
  Status AddShape(const WeightShape& shape, OneDnnDemand demand);

  std::string_view name() const override { return name_; }
  ComputeType type() const override { return type_; }
  uint64_t LayoutId(const WeightShape& shape) const override {
    return HashLayout("onednn", type_, shape, LayoutDetails(At(shape).packed));
  }
  size_t PackedBytes(const WeightShape& shape) const override {
    return At(shape).packed.get_size();
  }
  void Pack(const WeightShape& shape, std::span<const float> weight,
            std::span<std::byte> packed) const override;
  Status Prepare(const WeightShape& shape, int max_rows) override;
  void Multiply(const WeightShape& shape, const std::byte* packed, const float* x, int num_rows,
                float* y) override;

 private:
  const ShapeKernel* Find(const WeightShape& shape) const;
  const ShapeKernel& At(const WeightShape& shape) const;
  dnnl::matmul::primitive_desc Describe(const WeightShape& shape, int num_rows) const;
  void* RungInput(const WeightShape& shape, const float* x, int num_rows, int rung_rows);
  void MultiplyPiece(const ShapeKernel& kernel, const std::byte* packed, const float* x,
                     int num_rows, float* y);

  std::string name_;
  ComputeType type_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::vector<ShapeKernel> kernels_;
  std::vector<std::byte> input_;       // rows of one rung, rounded and filled up
  std::vector<float> output_;          // rows of one rung, those filled up included
  std::vector<std::byte> scratchpad_;  // what primitives ask for; the library's own is per thread
};

const ShapeKernel* OneDnnKernel::Find(const WeightShape& shape) const {
  const auto at = std::find_if(kernels_.begin(), kernels_.end(),
                               [&](const ShapeKernel& k) { return k.shape == shape; });
  return at == kernels_.end() ? nullptr : &*at;
}

const ShapeKernel& OneDnnKernel::At(const WeightShape& shape) const {
  const ShapeKernel* kernel = Find(shape);
  STEELYARD_CHECK(kernel != nullptr);
  return *kernel;
}

dnnl::matmul::primitive_desc OneDnnKernel::Describe(const WeightShape& shape, int num_rows) const {
  const memory::desc src({num_rows, shape.num_in}, DataType(type_), memory::format_tag::ab);
  const memory::desc weights({shape.num_in, shape.num_out}, DataType(type_),
                             memory::format_tag::any);
  const memory::desc dst({num_rows, shape.num_out}, memory::data_type::f32, memory::format_tag::ab);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return {dnnl::matmul::desc(src, weights, dst), attributes, engine_};
}

Status OneDnnKernel::AddShape(const WeightShape& shape, OneDnnDemand demand) {
  ShapeKernel kernel{.shape = shape, .packed = {}, .rungs = {}};
  for (int rows = 1; rows <= kTopRung; rows *= 2) {
    const auto description = Describe(shape, rows);
    const std::string_view implementation = description.impl_info_str();
    const std::string where = fmt::format("{}, {} rows", ShapeText(type_, shape), rows);
    if (demand == OneDnnDemand::kFixedRowKernel && !implementation.starts_with(kFixedRowPrefix)) {
      return Unimplemented(
          fmt::format("{}: oneDNN has {}, not a kernel for fixed rows", where, implementation));
    }
    const memory::desc packed = description.weights_desc();
    if (IsPadded(packed)) {
      return Unimplemented(fmt::format("{}: oneDNN pads the weights", where));
    }
    if (rows > 1 && packed != kernel.packed) {
      return Internal(fmt::format("{}: oneDNN packs weights otherwise than for 1 row", where));
    }
    kernel.packed = packed;
    const auto scratchpad = description.scratchpad_desc();
    scratchpad_.resize(std::max(scratchpad_.size(), scratchpad.get_size()));
    kernel.rungs.push_back({.primitive = dnnl::matmul(description),
                            .src = {description.src_desc(), engine_, nullptr},
                            .weights = {packed, engine_, nullptr},
                            .dst = {description.dst_desc(), engine_, nullptr},
                            .scratchpad = {scratchpad, engine_, nullptr}});
  }
  input_.resize(std::max(input_.size(), sizeof(float) * kTopRung * shape.num_in));
  output_.resize(std::max(output_.size(), static_cast<size_t>(kTopRung) * shape.num_out));
  kernels_.push_back(std::move(kernel));
  return Status::Ok();
}

void OneDnnKernel::Pack(const WeightShape& shape, std::span<const float> weight,
                        std::span<std::byte> packed) const {
  STEELYARD_CHECK_EQ(weight.size(), static_cast<size_t>(shape.num_out) * shape.num_in);
  STEELYARD_CHECK_EQ(packed.size(), PackedBytes(shape));
  const OneThread one_thread;
  // [num_out, num_in] row-major is [num_in, num_out] with the second dimension outermost.
  const memory::desc plain({shape.num_in, shape.num_out}, memory::data_type::f32,
                           memory::format_tag::ba);
  memory from(plain, engine_, const_cast<float*>(weight.data()));
  memory to(At(shape).packed, engine_, packed.data());
  dnnl::stream stream = stream_;
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
}

Status OneDnnKernel::Prepare(const WeightShape& shape, int) {
  if (Find(shape) == nullptr) {
    return FailedPrecondition(fmt::format("{}: not a shape that this oneDNN kernel was made for",
                                          ShapeText(type_, shape)));
  }
  return Status::Ok();
}

void* OneDnnKernel::RungInput(const WeightShape& shape, const float* x, int num_rows,
                              int rung_rows) {
  if (type_ == ComputeType::kF32 && num_rows == rung_rows) {
    return const_cast<float*>(x);
  }
  const size_t size = static_cast<size_t>(num_rows) * shape.num_in;
  const size_t element = type_ == ComputeType::kF32 ? sizeof(float) : sizeof(uint16_t);
  if (type_ == ComputeType::kF32) {
    std::memcpy(input_.data(), x, size * element);
  } else {
    auto* halves = reinterpret_cast<uint16_t*>(input_.data());
    for (size_t i = 0; i < size; ++i) {
      halves[i] = Bf16Bits(x[i]);
    }
  }
  std::memset(input_.data() + size * element, 0,
              static_cast<size_t>(rung_rows - num_rows) * shape.num_in * element);
  return input_.data();
}

void OneDnnKernel::MultiplyPiece(const ShapeKernel& kernel, const std::byte* packed, const float* x,
                                 int num_rows, float* y) {
  const auto rung_rows = static_cast<int>(std::bit_ceil(static_cast<unsigned>(num_rows)));
  const Rung& rung = kernel.rungs[std::countr_zero(static_cast<unsigned>(rung_rows))];
  const bool exact = num_rows == rung_rows;
  // The C interface: that of C++ makes a table on the heap for every call.
  const std::pair<const memory&, void*> handles[] = {
      {rung.src, RungInput(kernel.shape, x, num_rows, rung_rows)},
      {rung.weights, const_cast<std::byte*>(packed)},
      {rung.dst, exact ? y : output_.data()},
      {rung.scratchpad, scratchpad_.data()}};
  for (const auto& handle : handles) {
    STEELYARD_CHECK_EQ(dnnl_memory_set_data_handle(handle.first.get(), handle.second),
                       dnnl_success);
  }
  const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, rung.src.get()},
                                       {DNNL_ARG_WEIGHTS, rung.weights.get()},
                                       {DNNL_ARG_DST, rung.dst.get()},
                                       {DNNL_ARG_SCRATCHPAD, rung.scratchpad.get()}};
  STEELYARD_CHECK_EQ(dnnl_primitive_execute(rung.primitive.get(), stream_.get(),
                                            static_cast<int>(std::size(arguments)), arguments),
                     dnnl_success);
  STEELYARD_CHECK_EQ(dnnl_stream_wait(stream_.get()), dnnl_success);
  if (!exact) {
    std::copy_n(output_.data(), static_cast<size_t>(num_rows) * kernel.shape.num_out, y);
  }
}

void OneDnnKernel::Multiply(const WeightShape& shape, const std::byte* packed, const float* x,
                            int num_rows, float* y) {
  const ShapeKernel& kernel = At(shape);
  const OneThread one_thread;
  for (int row = 0; row < num_rows; row += kTopRung) {
    MultiplyPiece(kernel, packed, x + static_cast<size_t>(row) * shape.num_in,
                  std::min(kTopRung, num_rows - row), y + static_cast<size_t>(row) * shape.num_out);
  }
}

}  // namespace

Result<std::unique_ptr<GemmKernel>> MakeOneDnnKernel(ComputeType type,
                                                     std::span<const WeightShape> shapes,
                                                     OneDnnDemand demand) {
  if (shapes.empty()) {
    return InvalidArgument("a oneDNN kernel needs the shapes that it shall serve");
  }
  const OneThread one_thread;
  auto kernel = std::make_unique<OneDnnKernel>(type);
  for (const WeightShape& shape : shapes) {
    if (kernel->Prepare(shape, 0).ok()) continue;
    try {
      STEELYARD_RETURN_IF_ERROR(kernel->AddShape(shape, demand));
    } catch (const dnnl::error& error) {
      return Unimplemented(
          fmt::format("{}: oneDNN has no matmul here ({})", ShapeText(type, shape), error.what()));
    }
  }
  return std::unique_ptr<GemmKernel>(std::move(kernel));
}

}  // namespace steelyard
