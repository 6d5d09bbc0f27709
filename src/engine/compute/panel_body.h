// The panel product for one instruction set; included once by each panel_ISA.cc.
//
// `Isa` says how 16 outputs are held in registers:
//   kNumVectors      vectors of kLanes outputs that make 16
//   kAccumulators    vectors that stay in registers beside weights and inputs
//   kMaxRows         rows of the largest block
// Rows are cut into blocks of nearly equal size. Every output of a block is one accumulator that
// runs over the inputs in order, so the block's size does not touch its bits. A single small block
// takes several panels at once: the multiply-adds of one chain wait for each other, those of
// different chains do not.
#pragma once

#include <utility>

#include "engine/compute/panel.h"
#include "engine/compute/simd.h"

namespace steelyard::STEELYARD_SIMD {

constexpr int AtMost(int value, int limit) { return value < limit ? value : limit; }

template <typename Isa>
constexpr int PanelsAtOnce(int num_rows) {
  const int fit = Isa::kAccumulators / (num_rows * Isa::kNumVectors);
  return fit < 1 ? 1 : AtMost(fit, 8 / Isa::kNumVectors);
}

/// Rows [kRows] of a block times `kPanels` adjacent panels; the last may have fewer outputs.
struct Block {
  const std::byte* panels;
  const float* x;  // [kRows, num_in]
  float* y;        // [kRows, num_out], at the first output of the panels
  int num_in;
  int num_out;
  int num_valid;  // outputs of the last panel
};

/// Calls operation(row, panel, vector) for each; unrolled, so that sums live in registers.
template <int kRows, int kPanels, int kNumVectors, typename Operation>
STEELYARD_INLINE void ForEachSum(Operation operation) {
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 2
      for (int v = 0; v < kNumVectors; ++v) {
        operation(r, p, v);
      }
    }
  }
}

template <typename Isa, typename Element, int kRows, int kPanels>
void MultiplyBlock(const Block& block) {
  using F32 = typename Isa::F32;
  const int64_t panel_elements = static_cast<int64_t>(block.num_in) * kPanelOutputs;
  const auto* weights = reinterpret_cast<const Element*>(block.panels);
  F32 sums[kRows][kPanels][Isa::kNumVectors];
  ForEachSum<kRows, kPanels, Isa::kNumVectors>([&](int r, int p, int v) { sums[r][p][v] = F32{}; });
  for (int i = 0; i < block.num_in; ++i) {
    F32 w[kPanels][Isa::kNumVectors];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) {
      Isa::LoadWeights(weights + p * panel_elements + int64_t{i} * kPanelOutputs, w[p]);
    }
    ForEachSum<kRows, kPanels, Isa::kNumVectors>([&](int r, int p, int v) {
      const F32 input = Broadcast<F32>(block.x[int64_t{r} * block.num_in + i]);
      sums[r][p][v] = Fma(input, w[p][v], sums[r][p][v]);
    });
  }
  ForEachSum<kRows, kPanels, Isa::kNumVectors>([&](int r, int p, int v) {
    constexpr int kLanes = kPanelOutputs / Isa::kNumVectors;
    float* y = block.y + int64_t{r} * block.num_out + p * kPanelOutputs + v * kLanes;
    if (p < kPanels - 1 || block.num_valid == kPanelOutputs) {
      Store(y, sums[r][p][v]);
    } else if (const int count = AtMost(block.num_valid - v * kLanes, kLanes); count > 0) {
      __builtin_memcpy(y, &sums[r][p][v], sizeof(float) * count);
    }
  });
}

using BlockFunction = void (*)(const Block&);

/// Tables over the number of rows, 1..kMaxRows.
template <typename Isa, typename Element, typename Rows>
struct BlockTable;
template <typename Isa, typename Element, int... kRowsMinusOne>
struct BlockTable<Isa, Element, std::integer_sequence<int, kRowsMinusOne...>> {
  static constexpr BlockFunction kOnePanel[] = {
      MultiplyBlock<Isa, Element, kRowsMinusOne + 1, 1>...};
  static constexpr BlockFunction kManyPanels[] = {
      MultiplyBlock<Isa, Element, kRowsMinusOne + 1, PanelsAtOnce<Isa>(kRowsMinusOne + 1)>...};
};

/// All rows times the `num_panels` panels from `first_panel` on.
template <typename Isa, typename Element>
void MultiplyPanels(const PanelProduct& product, int first_panel, int num_panels,
                    const BlockFunction* table) {
  const int64_t panel_bytes = int64_t{product.num_in} * kPanelOutputs * sizeof(Element);
  const int first_output = first_panel * kPanelOutputs;
  const int last_output = first_output + (num_panels - 1) * kPanelOutputs;
  const int num_blocks = (product.num_rows + Isa::kMaxRows - 1) / Isa::kMaxRows;
  Block block{.panels = product.packed + first_panel * panel_bytes,
              .x = product.x,
              .y = product.y + first_output,
              .num_in = product.num_in,
              .num_out = product.num_out,
              .num_valid = AtMost(product.num_out - last_output, kPanelOutputs)};
  for (int b = 0; b < num_blocks; ++b) {
    const int rows = product.num_rows / num_blocks + (b < product.num_rows % num_blocks ? 1 : 0);
    table[rows - 1](block);
    block.x += int64_t{rows} * product.num_in;
    block.y += int64_t{rows} * product.num_out;
  }
}

template <typename Isa, typename Element>
void Multiply(const PanelProduct& product) {
  using Table = BlockTable<Isa, Element, std::make_integer_sequence<int, Isa::kMaxRows>>;
  if (product.num_rows == 0) {
    return;
  }
  const int num_panels = (product.num_out + kPanelOutputs - 1) / kPanelOutputs;
  int panel = 0;
  if (product.num_rows <= Isa::kMaxRows) {
    const int at_once = PanelsAtOnce<Isa>(product.num_rows);
    for (; panel + at_once <= num_panels; panel += at_once) {
      MultiplyPanels<Isa, Element>(product, panel, at_once, Table::kManyPanels);
    }
  }
  for (; panel < num_panels; ++panel) {
    MultiplyPanels<Isa, Element>(product, panel, 1, Table::kOnePanel);
  }
}

/// The 16 outputs of one input of a bf16 panel, in order.
STEELYARD_INLINE void UnpackPairs(const uint16_t* from, F32x8 (&outputs)[2]) {
  using U32x8 = VectorOf<8>::U32;
  const U32x8 pairs = Load<U32x8>(from);
  outputs[0] = (F32x8)(pairs << 16);
  outputs[1] = (F32x8)(pairs & 0xFFFF0000U);
}

/// 16 outputs in two vectors of eight, by plain vector operations.
struct TwoVectors {
  using F32 = F32x8;
  static constexpr int kNumVectors = 2;

  STEELYARD_INLINE static void LoadWeights(const float* from, F32 (&w)[2]) {
    w[0] = Load<F32>(from);
    w[1] = Load<F32>(from + 8);
  }
  STEELYARD_INLINE static void LoadWeights(const uint16_t* from, F32 (&w)[2]) {
    UnpackPairs(from, w);
  }
};

}  // namespace steelyard::STEELYARD_SIMD
