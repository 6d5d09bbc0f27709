#include "trace/edit_trace.h"

#include <fmt/format.h>

#include <string_view>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

struct Range {
  int first = 0;
  int end = 0;
};

Result<Range> RangeWithin(std::string_view what, int first, int end, int size) {
  const Range range{first, end < 0 ? size : end};
  if (first < 0 || range.first >= range.end || range.end > size) {
    return InvalidArgument(fmt::format("{} {}:{} are not some of the {} that are there", what,
                                       range.first, range.end, size));
  }
  return range;
}

}  // namespace

Result<LoadTrace> EditTrace(const LoadTrace& trace, const TraceEdit& edit) {
  STEELYARD_CHECK_GE(edit.merge_bins, 1);
  LoadShape shape = trace.loads.shape();
  STEELYARD_ASSIGN_OR_RETURN(const Range bins,
                             RangeWithin("bins", edit.first_bin, edit.end_bin, shape.num_bins));
  STEELYARD_ASSIGN_OR_RETURN(const Range layers, RangeWithin("layers", edit.first_layer,
                                                             edit.end_layer, shape.num_layers));
  shape.num_bins = (bins.end - bins.first) / edit.merge_bins;
  shape.num_layers = layers.end - layers.first;
  if (shape.num_bins == 0) {
    return InvalidArgument(fmt::format("{} bins do not fill one merged of {}",
                                       bins.end - bins.first, edit.merge_bins));
  }
  LoadTrace edited{LoadWindow(shape), {}, trace.origin};
  if (!trace.steps.empty()) {
    edited.steps.resize(shape.num_bins);
  }
  for (int bin = 0; bin < shape.num_bins * edit.merge_bins; ++bin) {
    const int from = bins.first + bin;
    const int to = bin / edit.merge_bins;
    for (int phase = 0; phase < shape.num_phases; ++phase) {
      for (int layer = 0; layer < shape.num_layers; ++layer) {
        const std::span<const double> counts =
            trace.loads.experts(from, phase, layers.first + layer);
        const std::span<double> sums = edited.loads.experts(to, phase, layer);
        for (size_t expert = 0; expert < sums.size(); ++expert) {
          sums[expert] += counts[expert];
        }
      }
    }
    if (!trace.steps.empty()) {
      edited.steps[to] += trace.steps[from];
    }
  }
  return edited;
}

}  // namespace steelyard
