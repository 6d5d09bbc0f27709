#!/usr/bin/env bash
# Fuzzes every target for some seconds, two at a time, from what is stored in fuzz/corpus.
#
#   scripts/fuzz.sh BUILD_DIR SECONDS   BUILD_DIR (build/fuzz) holds the programs
#
# Inputs that reach new code go to BUILD_DIR/new/TARGET and are the start of the next run; an input
# that breaks something goes to BUILD_DIR/broken/TARGET-*, and ends the run with its report.
# Nothing in fuzz/corpus changes: fuzz/README.md says how an input gets there.
set -euo pipefail
if [[ $# != 2 ]]; then
  echo "usage: scripts/fuzz.sh BUILD_DIR SECONDS" >&2
  exit 2
fi
cd "$(dirname "$0")/.."
build_dir=$1
seconds=$2

# Readers take paths; memory is the cheapest place for a file.
if [[ -d /dev/shm && -w /dev/shm ]]; then
  export TMPDIR=/dev/shm
fi
export UBSAN_OPTIONS=print_stacktrace=1

fuzz() {
  local target=$1 leaks=1
  # HDF5 itself leaks when it gives up on a broken file.
  if [[ "$target" == h5 ]]; then
    leaks=0
  fi
  mkdir -p "$build_dir/new/$target" "$build_dir/broken"
  if ! ASAN_OPTIONS=detect_leaks=$leaks "$build_dir/fuzz_$target" -max_total_time="$seconds" \
    -len_control=0 -timeout=120 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$build_dir/broken/$target-" \
    "$build_dir/new/$target" "fuzz/corpus/$target" >"$build_dir/$target.log" 2>&1; then
    tail -n 60 "$build_dir/$target.log"
    echo "fuzz_$target: failed; the input is in $build_dir/broken, all output in" \
      "$build_dir/$target.log" >&2
    return 1
  fi
  echo "fuzz_$target: clean, $(sed -n 's/^stat::number_of_executed_units: *//p' \
    "$build_dir/$target.log") inputs in $seconds s"
}

failed=0
for pair in "placement loads" "h5 plan" "toml"; do
  running=()
  for target in $pair; do
    fuzz "$target" &
    running+=($!)
  done
  for job in "${running[@]}"; do
    wait "$job" || failed=1
  done
done
exit "$failed"
