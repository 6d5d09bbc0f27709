#!/usr/bin/env bash
# Installs the Debian packages that are missing, after saying which; does nothing when none is.
#
#   scripts/setup.sh build   what the build, the demo and the tests need
#   scripts/setup.sh lint    what formatting, linting, fuzzing and the clang build need besides
#
# docs/dependencies.md gives the reason for each library.
set -euo pipefail

tools="build-essential cmake ninja-build pkg-config git ccache python3"
# Debian's oneDNN looks for OpenCL when CMake looks for oneDNN, and only recommends it.
libraries="libfmt-dev libspdlog-dev nlohmann-json3-dev libcli11-dev libtomlplusplus-dev libpcre2-dev
  libutf8proc-dev libxxhash-dev libyaml-cpp-dev libzip-dev libhdf5-dev libdnnl-dev ocl-icd-opencl-dev
  libgtest-dev libgmock-dev libbenchmark-dev"

case "${1:-}" in
  build) wanted="$tools $libraries" ;;
  lint) wanted="clang clang-format clang-tidy" ;;
  *)
    echo "usage: scripts/setup.sh build|lint" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
  echo "scripts/setup.sh installs with apt only; please install these yourself:" $wanted >&2
  exit 1
fi

# dpkg-query fails when it does not know one of the packages, and still lists the others.
# shellcheck disable=SC2086
installed=$(dpkg-query -W -f='${Package} ${Status}\n' $wanted 2>/dev/null |
  sed -n 's/ install ok installed$//p' || true)
missing=""
for package in $wanted; do
  grep -qxF "$package" <<<"$installed" || missing+=" $package"
done
if [[ -z "$missing" ]]; then
  exit 0
fi

as_root=()
if [[ "$(id -u)" != 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "scripts/setup.sh: not root and no sudo; please install:$missing" >&2
    exit 1
  fi
  as_root=(sudo)
fi

apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
echo "Installing with apt:$missing"
"${apt[@]}" update </dev/null
# shellcheck disable=SC2086
"${apt[@]}" install -y --no-install-recommends $missing </dev/null
echo "Installed:$missing"
