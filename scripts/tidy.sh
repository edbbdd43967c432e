#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# tidy.sh [--changed | PATTERN...]: runs clang-tidy with .clang-tidy's checks over all sources, those that differ from
# the last commit, or those whose path matches a regular expression. Takes minutes, so it is no part of the tests.
# Needs clang-tidy and a configured build (BUILD=build/release by default).
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${BUILD:-build/release}
command -v clang-tidy >/dev/null || { echo "tidy: clang-tidy is missing (Debian: clang-tidy)" >&2; exit 1; }
[ -f "$build/compile_commands.json" ] || { echo "tidy: no $build/compile_commands.json: configure first, or set BUILD" >&2; exit 1; }

if [ "${1:-}" = --changed ]; then
  mapfile -t sources < <({ git diff --name-only HEAD; git ls-files --others --exclude-standard; } | grep '\.cpp$' | sort -u)
else
  mapfile -t sources < <(find runtime comm gating experts apps tests -name '*.cpp' | sort)
  if [ $# -gt 0 ]; then
    pattern=$(IFS='|'; echo "$*")
    mapfile -t sources < <(printf '%s\n' "${sources[@]}" | grep -E "$pattern")
  fi
fi
[ ${#sources[@]} -gt 0 ] || { echo "tidy: no sources to look at"; exit 0; }
# The warnings of GCC's that clang does not know are not its business.
printf '%s\n' "${sources[@]}" |
  xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option \
    --extra-arg=-Wno-ignored-optimization-argument
