#include "convert_traces.h"

#include <fmt/format.h>

#include "base/json.h"
#include "command.h"
#include "number_text.h"
#include "trace/edit_trace.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

void ParseRange(const std::string& option, const std::string& text, int* first, int* end) {
  if (text.empty()) {
    return;
  }
  const size_t colon = text.find(':');
  const auto parse = [](const std::string& number, int* value) {
    return number.empty() || (ParseNumber(number, value) && *value >= 0);
  };
  if (colon == std::string::npos || !parse(text.substr(0, colon), first) ||
      !parse(text.substr(colon + 1), end)) {
    throw UsageError{fmt::format("{} {}: not FIRST:END", option, text)};
  }
}

}  // namespace

bool IsTraceFile(const std::filesystem::path& path) {
  if (HasTraceExtension(path) || path.extension() == ".pt") {
    return true;
  }
  if (path.extension() != ".json") {
    return false;
  }
  const Result<Json> json = ReadJsonFile(path);
  return json.ok() && (json->is_array() || (json->is_object() && json->contains("logical_count")));
}

Result<std::string> ConvertTrace(const ConvertTraceOptions& options) {
  TraceEdit edit;
  edit.merge_bins = options.merge_bins;
  ParseRange("--bins", options.bins, &edit.first_bin, &edit.end_bin);
  ParseRange("--layers", options.layers, &edit.first_layer, &edit.end_layer);
  STEELYARD_ASSIGN_OR_RETURN(const LoadTrace whole, ReadLoadTrace(options.in));
  const Result<LoadTrace> trace = EditTrace(whole, edit);
  if (!trace.ok()) {
    return trace.status().WithContext(options.in);
  }
  STEELYARD_RETURN_IF_ERROR(WriteLoadTrace(options.out, *trace));
  LoadShape shape = trace->loads.shape();
  if (KeepsPhases(options.out) || shape.num_phases == 1) {
    return fmt::format("{}: {}", options.out, trace->loads.ToString());
  }
  shape.num_phases = 1;
  STEELYARD_ASSIGN_OR_RETURN(const LoadWindow written,
                             LoadWindow::Create(shape, SumPhases(trace->loads)));
  return fmt::format("{}: {}, phases summed", options.out, written.ToString());
}

}  // namespace steelyard
