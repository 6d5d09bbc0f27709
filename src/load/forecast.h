// The fixed predictors: what the windows already seen say that a layer's loads will be.
//
// Pure functions of the history; a Forecaster is workspace, one per worker. After Prepare() nothing
// allocates for histories up to that size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "load/bin_screen.h"
#include "steelyard/base/span.h"
#include "steelyard/load/load_window.h"
#include "steelyard/load/predictor.h"

namespace steelyard {

class Forecaster {
 public:
  /// No forecast has more rows: where there are more bins, the oldest join those they resemble.
  static constexpr int kMaxRows = 16;
  /// Windows older than these say nothing.
  static constexpr int kMaxWindows = 16;

  /// Rows of the largest forecast from a history of this shape.
  static int MaxRows(const LoadShape& window_shape, int num_windows);

  void Prepare(const LoadShape& window_shape, int num_windows);

  /// Turns to a layer of `history`, of which `bins` are the ones to use, oldest first. Remembers
  /// both until the next call.
  ///
  /// Windows that do not resemble the last one weigh half where that is news: where their distance
  /// from it (total variation) is more than twice the usual one between neighbours, the two largest
  /// aside. So what was before a sudden switch counts for less, and in full again after a return,
  /// and loads that keep switching are pooled.
  void Read(std::span<const LoadWindow> history, std::span<const BinRef> bins, int layer_idx);

  /// Expected tokens as scenarios [rows, num_experts], oldest first, each times its weight; rows as
  /// the predictor asks for, at least one. Valid until the next call. `recency` is the factor
  /// between neighbouring bins of kRecency. Requires: Read() before, `predictor` not kAuto.
  Span2<const double> Forecast(Predictor predictor, double recency);
  /// Of the last Forecast(): how many bins, counted by their weight, each row sums, [rows].
  std::span<const double> row_weights() const {
    return std::span(row_weights_).subspan(PlaceOf(0));
  }

 private:
  struct Window {
    int first_bin;  // into bins_
    int num_bins;
    double tokens;
    double weight;  // for being like the last one
  };

  void SumWindows();
  void WeighWindows();
  double Distance(int a, int b) const;
  std::span<const double> SumOfWindow(int window_idx) const;
  void AddBin(int bin, double weight, std::span<double> row) const;
  void AddRow();
  size_t PlaceOf(int row) const { return static_cast<size_t>(kMaxRows - num_rows_) + row; }
  std::span<double> Row(int row);
  void AddScenario(int bin, double weight);
  int NearestRow(double tokens);
  void Recency(double recency);
  void Windows(int num_windows, double decay);
  void Phases();

  std::span<const LoadWindow> history_;
  std::span<const BinRef> bins_;
  int layer_idx_ = 0;
  int num_experts_ = 0;
  int num_rows_ = 0;
  std::vector<Window> windows_;      // that have bins to use, oldest first
  std::vector<double> sums_;         // [windows, num_experts]
  std::vector<double> distances_;    // of neighbours before the last window
  std::vector<double> rows_;         // [kMaxRows, num_experts], the last num_rows_ of them in use
  std::vector<double> row_tokens_;   // [kMaxRows]
  std::vector<double> row_weights_;  // [kMaxRows]
  std::vector<double> bin_;          // [num_experts]
};

}  // namespace steelyard
