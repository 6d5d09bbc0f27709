#include "record_synthetic.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "command.h"
#include "trace/loads.h"

namespace steelyard {

void SyntheticOptions::AddTo(CLI::App* command) {
  CLI::Option* synthetic =
      command
          ->add_option("--synthetic", drift,
                       fmt::format("Make loads up instead of serving, with this drift: {}",
                                   fmt::join(SyntheticDriftNames(), ", ")))
          ->check(CLI::Validator(
              [](std::string& text) {
                const Result<SyntheticDrift> parsed = ParseSyntheticDrift(text);
                return parsed.ok() ? std::string() : parsed.status().message();
              },
              ""));
  const auto add = [command, synthetic](const char* name, int* value, int most,
                                        const char* description) {
    command->add_option(name, *value, description)
        ->check(WholeNumber(1, most))
        ->capture_default_str()
        ->needs(synthetic);
  };
  add("--layers", &spec.num_layers, 1 << 12, "Synthetic: MoE layers");
  add("--experts", &spec.num_experts, 1 << 16, "Synthetic: experts of a layer");
  add("--bins", &spec.num_bins, 1 << 20, "Synthetic: bins");
  add("--period", &spec.period, 1 << 20, "Synthetic: bins that a domain lasts (alternating)");
  command
      ->add_option("--tokens", spec.pairs_per_bin,
                   "Synthetic: tokens of a layer and bin, counted once for each expert they go to")
      ->check(WholeNumber(1, std::numeric_limits<uint32_t>::max()))
      ->capture_default_str()
      ->needs(synthetic);
  command
      ->add_option("--sigma", spec.sigma,
                   "Synthetic: standard deviation of the logarithm of an expert's popularity")
      ->check(NumberWithin(0, 20))
      ->capture_default_str()
      ->needs(synthetic);
  command->add_option("--seed", spec.seed, "Synthetic: of the random numbers")
      ->check(WholeNumber(0, std::numeric_limits<int64_t>::max()))
      ->capture_default_str()
      ->needs(synthetic);
}

Status SyntheticOptions::WriteTo(const std::string& path) const {
  SyntheticSpec made = spec;
  STEELYARD_ASSIGN_OR_RETURN(made.drift, ParseSyntheticDrift(drift));
  const Status valid = made.Validate();
  if (!valid.ok()) throw UsageError{"--layers, --experts, --bins: " + valid.message()};
  LoadTrace trace;
  STEELYARD_ASSIGN_OR_RETURN(trace.loads, MakeSyntheticTrace(made));
  trace.origin.model = fmt::format("synthetic {} of seed {}", drift, spec.seed);
  return WriteLoadTrace(path, trace);
}

}  // namespace steelyard
