#!/usr/bin/env bash
# Runs every benchmark that was built, one after the other: they would disturb each other.
#
#   scripts/bench.sh [BUILD_DIR]   (default build/release)
set -euo pipefail
cd "$(dirname "$0")/.."
programs=("${1:-build/release}"/benchmarks/*)
if [[ ! -x "${programs[0]}" ]]; then
  echo "bench: there is no benchmark in ${1:-build/release}" >&2
  exit 1
fi
for program in "${programs[@]}"; do
  echo "== $(basename "$program")"
  "$program" </dev/null
done
