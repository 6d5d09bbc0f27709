#!/usr/bin/env bash
# Formats every tracked C++ file; with --check only says which are not formatted, and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  "") mode=(-i) ;;
  --check) mode=(--dry-run -Werror) ;;
  *)
    echo "usage: scripts/format.sh [--check]" >&2
    exit 2
    ;;
esac
git ls-files -z -- '*.cc' '*.h' | xargs -0 -r clang-format "${mode[@]}"
