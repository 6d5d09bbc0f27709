#!/usr/bin/env bash
# Runs every benchmark that was built, one after the other: they would disturb each other. Ends with
# the figures that are over their budget; they fail nothing, because a busy machine moves them.
#
#   scripts/bench.sh [BUILD_DIR [PROGRAM ..]]   (default build/release, all)
set -euo pipefail
cd "$(dirname "$0")/.."
folder="${1:-build/release}/benchmarks"
programs=("${@:2}")
if ((${#programs[@]} == 0)); then
  programs=("$folder"/*)
fi
output="$(mktemp)"
trap 'rm -f "$output"' EXIT
for program in "${programs[@]##*/}"; do
  if [[ ! -x "$folder/$program" ]]; then
    echo "bench: there is no benchmark $folder/$program" >&2
    exit 1
  fi
  echo "== $program"
  "$folder/$program" --benchmark_counters_tabular=true </dev/null | tee -a "$output"
done
if grep -q MISSED "$output"; then
  echo "== over budget"
  grep MISSED "$output"
fi
