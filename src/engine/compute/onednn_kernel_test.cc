#include "engine/compute/onednn_kernel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "engine/compute/panel_kernel.h"
#include "engine/compute/test_data.h"

namespace steelyard {
namespace {

using testing::HasSubstr;

const std::vector<WeightShape> kShapes = {{.num_out = 64, .num_in = 128},
                                          {.num_out = 128, .num_in = 64}};

/// Null where oneDNN has no kernel of this type, as for bf16 without AVX-512.
std::unique_ptr<GemmKernel> AnyKernel(ComputeType type) {
  auto kernel = MakeOneDnnKernel(type, kShapes, OneDnnDemand::kAnything);
  if (!kernel.ok()) {
    EXPECT_EQ(kernel.status().code(), StatusCode::kUnimplemented) << kernel.status().ToString();
    return nullptr;
  }
  return std::move(*kernel);
}

std::vector<float> Multiply(GemmKernel& kernel, const WeightShape& shape, AlignedBytes& packed,
                            const std::vector<float>& x) {
  const auto num_rows = static_cast<int>(x.size() / shape.num_in);
  std::vector<float> y(static_cast<size_t>(num_rows) * shape.num_out);
  kernel.Multiply(shape, packed.span().data(), x.data(), num_rows, y.data());
  return y;
}

void ExpectAgreesWithReference(ComputeType type) {
  const auto kernel = AnyKernel(type);
  if (kernel == nullptr) {
    GTEST_SKIP() << "oneDNN has no " << ComputeTypeName(type) << " matmul on this CPU";
  }
  for (const WeightShape& shape : kShapes) {
    const auto weight = RandomFloats(static_cast<size_t>(shape.num_out) * shape.num_in, 1);
    AlignedBytes packed = PackWeight(*kernel, shape, weight);
    for (const int num_rows : {0, 1, 2, 3, 5, 16, 17, 256, 300}) {
      const auto x = RandomFloats(static_cast<size_t>(num_rows) * shape.num_in, num_rows);
      const auto y = Multiply(*kernel, shape, packed, x);
      const auto expected = ReferenceProduct(type, shape, weight, x, num_rows);
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], expected[i], 1e-6 * shape.num_in) << num_rows << " rows, output " << i;
      }
    }
  }
}

TEST(OneDnnKernel, AgreesWithADoubleReferenceInF32) {
  ExpectAgreesWithReference(ComputeType::kF32);
}

TEST(OneDnnKernel, AgreesWithADoubleReferenceInBf16) {
  ExpectAgreesWithReference(ComputeType::kBf16);
}

TEST(OneDnnKernel, RunsInTheCallingThreadsAlone) {
  const auto num_tasks = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  const auto before = num_tasks();
  const WeightShape shape{.num_out = 512, .num_in = 512};
  auto kernel = MakeOneDnnKernel(ComputeType::kF32, {&shape, 1}, OneDnnDemand::kAnything);
  ASSERT_TRUE(kernel.ok()) << kernel.status().ToString();
  AlignedBytes packed = PackWeight(**kernel, shape, RandomFloats(512 * 512, 1));
  Multiply(**kernel, shape, packed, RandomFloats(256 * 512, 2));
  EXPECT_EQ(num_tasks(), before);
}

TEST(OneDnnKernel, KernelsOfSeveralThreadsDoNotDisturbEachOther) {
  const WeightShape shape = kShapes[0];
  const auto weight = RandomFloats(static_cast<size_t>(shape.num_out) * shape.num_in, 1);
  const auto x = RandomFloats(static_cast<size_t>(33) * shape.num_in, 2);
  std::vector<std::vector<float>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      const auto kernel = AnyKernel(ComputeType::kF32);
      AlignedBytes packed = PackWeight(*kernel, shape, weight);
      for (int repeat = 0; repeat < 50; ++repeat) {
        result = Multiply(*kernel, shape, packed, x);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) {
    EXPECT_TRUE(SameBits(result, results[0]));
  }
}

TEST(OneDnnKernel, MayBeMadeInOneThreadAndUsedInAnother) {
  const WeightShape shape = kShapes[0];
  const auto weight = RandomFloats(static_cast<size_t>(shape.num_out) * shape.num_in, 1);
  const auto x = RandomFloats(static_cast<size_t>(7) * shape.num_in, 2);
  std::unique_ptr<GemmKernel> kernel;
  std::thread([&] { kernel = AnyKernel(ComputeType::kF32); }).join();
  AlignedBytes packed = PackWeight(*kernel, shape, weight);
  const auto y = Multiply(*kernel, shape, packed, x);
  EXPECT_NEAR(y[0], ReferenceProduct(ComputeType::kF32, shape, weight, x, 7)[0], 1e-4);
}

TEST(OneDnnKernel, HasALayoutOfItsOwn) {
  const auto kernel = AnyKernel(ComputeType::kF32);
  const auto own = MakePanelKernel(ComputeType::kF32, Isa::kPortable);
  EXPECT_NE(kernel->LayoutId(kShapes[0]), own->LayoutId(kShapes[0]));
  EXPECT_NE(kernel->LayoutId(kShapes[0]), kernel->LayoutId(kShapes[1]));
}

TEST(OneDnnKernel, RefusesWhatItCannotServe) {
  EXPECT_EQ(MakeOneDnnKernel(ComputeType::kF32, {}, OneDnnDemand::kAnything).status().message(),
            "a oneDNN kernel needs the shapes that it shall serve");
  const auto kernel = AnyKernel(ComputeType::kF32);
  EXPECT_EQ(kernel->Prepare({.num_out = 3, .num_in = 5}, 1).message(),
            "f32 weights 3x5: not a shape that this oneDNN kernel was made for");
}

TEST(OneDnnKernel, RefusesAnImplementationThatIsNotForFixedRows) {
  if (IsaSupported(Isa::kAvx512)) {
    GTEST_SKIP() << "this CPU has AVX-512, for which oneDNN has kernels for fixed rows";
  }
  const auto kernel = MakeOneDnnKernel(ComputeType::kF32, kShapes, OneDnnDemand::kFixedRowKernel);
  EXPECT_THAT(kernel.status().message(),
              HasSubstr("f32 weights 64x128, 1 rows: oneDNN has gemm:jit, not a kernel for fixed"));
}

}  // namespace
}  // namespace steelyard
