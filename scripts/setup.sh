#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# setup.sh [--tests] [PRESET]: makes what the build needs available, configures PRESET (default: release) into
# build/PRESET and builds the program; with --tests, the tests too. Asks for no package, and for no rights, where
# everything is present already, be it from packages or modules. Fit for scripts: it never asks a question.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for_tests=no
if [ "${1:-}" = --tests ]; then
  for_tests=yes
  shift
fi
preset=${1:-release}
commands=(cmake ninja c++ mpirun)
[ $for_tests = no ] || commands+=(clang-format)
mkdir -p build
log=build/configure-$preset.log

missing_commands() {
  local command
  for command in "${commands[@]}"; do
    command -v "$command" >/dev/null || printf '%s ' "$command"
  done
}

# What the build needs is known best by its configuration: everything is present if that succeeds.
is_ready() {
  missing=$(missing_commands)
  [ -z "$missing" ] && cmake --preset "$preset" >"$log" 2>&1
}

packages() {
  if [ $for_tests = yes ]; then
    sed 's/#.*//' packages.txt
  else
    grep -v '# tests:' packages.txt | sed 's/#.*//'
  fi | tr -s ' \n' ' '
}

explain() {
  echo "setup: $1" >&2
  if [ -n "$missing" ]; then
    echo "setup: these commands are missing: $missing" >&2
  else
    echo "setup: 'cmake --preset $preset' fails (all of it: $log):" >&2
    grep -A 12 -m 1 'CMake Error' "$log" >&2 || tail -n 20 "$log" >&2
  fi
  echo "setup: packages.txt names all that the build needs; on a cluster, load the modules of the same names" >&2
  exit 1
}

install_packages() {
  local as_root=()
  command -v apt-get >/dev/null || explain "something is missing, and there is no apt-get to install it with"
  if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      explain "something is missing, and installing it takes root: run 'apt-get install $(packages)'"
    fi
    as_root=(sudo -n)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
  echo "setup: installing packages"
  # shellcheck disable=SC2046  # one word a package
  if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends $(packages); } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "setup: apt-get failed (all of it: $log)" >&2
    return 1
  fi
}

# The tests that need a SLURM need root too, and are skipped where they cannot have both.
lacks_slurm() {
  [ $for_tests = yes ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null &&
    ! type munged slurmctld slurmd sbatch >/dev/null 2>&1
}

if ! is_ready; then
  # A build folder that was configured without the packages remembers what it did not find.
  install_packages || exit 1
  rm -f "build/$preset/CMakeCache.txt"
  is_ready || explain "something is still missing after installing the packages"
elif lacks_slurm; then
  install_packages || echo "setup: going on without SLURM, whose tests will be skipped" >&2
fi
targets=()
[ $for_tests = yes ] || targets=(--target conclave)
cmake --build --preset "$preset" --parallel "$(nproc)" "${targets[@]}"
