#include "record_synthetic.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "command.h"
#include "trace/loads.h"

namespace steelyard {

void SyntheticOptions::AddTo(CLI::App* command) {
  command->add_option("--synthetic", drift,
                      fmt::format("Make loads up instead of serving, with this drift: {}",
                                  fmt::join(SyntheticDriftNames(), ", ")));
  const auto add = [command](const char* name, int* value, int most, const char* description) {
    command->add_option(name, *value, description)
        ->check(WholeNumber(1, most))
        ->capture_default_str();
  };
  add("--layers", &spec.num_layers, 1 << 12, "Synthetic: MoE layers");
  add("--experts", &spec.num_experts, 1 << 16, "Synthetic: experts of a layer");
  add("--bins", &spec.num_bins, 1 << 20, "Synthetic: bins");
  add("--period", &spec.period, 1 << 20, "Synthetic: bins that a domain lasts (alternating)");
  command
      ->add_option("--tokens", spec.pairs_per_bin,
                   "Synthetic: tokens of a layer and bin, counted once for each expert they go to")
      ->check(WholeNumber(1, std::numeric_limits<uint32_t>::max()))
      ->capture_default_str();
  command
      ->add_option("--sigma", spec.sigma,
                   "Synthetic: standard deviation of the logarithm of an expert's popularity")
      ->check(NotNegative())
      ->capture_default_str();
  command->add_option("--seed", spec.seed, "Synthetic: of the random numbers")
      ->check(WholeNumber(0, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
}

Status SyntheticOptions::WriteTo(const std::string& path) const {
  SyntheticSpec made = spec;
  const Result<SyntheticDrift> parsed = ParseSyntheticDrift(drift);
  if (!parsed.ok()) throw UsageError{"--synthetic " + parsed.status().message()};
  made.drift = *parsed;
  STEELYARD_RETURN_IF_ERROR(made.Validate().WithContext("--synthetic"));
  LoadTrace trace;
  STEELYARD_ASSIGN_OR_RETURN(trace.loads, MakeSyntheticTrace(made));
  trace.origin.model = fmt::format("synthetic {} of seed {}", drift, spec.seed);
  return WriteLoadTrace(path, trace);
}

}  // namespace steelyard
