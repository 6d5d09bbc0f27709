#!/usr/bin/env bash
# Runs clang-tidy over the sources that changed since the merge base with origin/main; where there is
# none, or it is HEAD itself, over those of the last commit; in a repository of one commit, over all.
# Changes not yet committed count.
#
#   scripts/lint.sh [BUILD_DIR]   BUILD_DIR (default build/release) holds compile_commands.json
set -euo pipefail
cd "$(dirname "$0")/.."
build_dir=${1:-build/release}

head=$(git rev-parse HEAD)
base=$(git merge-base HEAD origin/main 2>/dev/null || true)
if [[ -z "$base" || "$base" == "$head" ]]; then
  base=$(git rev-parse --verify -q HEAD~1 || true)
fi
if [[ -n "$base" ]]; then
  mapfile -t changed < <(git diff --name-only --diff-filter=d "$base" -- '*.cc')
else
  mapfile -t changed < <(git ls-files -- '*.cc')
fi

files=()
for file in "${changed[@]}"; do
  # A source that no target builds has no command to check it with.
  if grep -qF "\"$PWD/$file\"" "$build_dir/compile_commands.json"; then
    files+=("$file")
  fi
done
if [[ ${#files[@]} == 0 ]]; then
  echo "lint: no source changed since ${base:-the beginning}"
  exit 0
fi

echo "lint: ${#files[@]} sources changed since ${base:-the beginning}"
# The commands are g++'s, and clang knows not all of its warnings.
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy -p "$build_dir" --quiet \
    --extra-arg=-Wno-unknown-warning-option 2> >(grep -v ' warnings\? generated\.$' >&2)
echo "lint: clean"
