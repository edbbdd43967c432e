#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# tidy.sh [--changed | PATTERN...]: runs clang-tidy with .clang-tidy's checks over all sources, those that differ from
# the last commit, or those whose path matches a regular expression. Takes minutes, so it is no part of the tests.
# Needs clang-tidy 15 or newer (older ones cannot read <source_location>) and a configured build (BUILD=build/release by
# default).
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${BUILD:-build/release}
fail() {
  echo "tidy: $1" >&2
  exit 1
}

# Debian's plain clang-tidy is 14; newer ones carry their number.
tidy=
for candidate in clang-tidy-{20,19,18,17,16,15} clang-tidy; do
  version=$("$candidate" --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p')
  if [ "${version:-0}" -ge 15 ]; then
    tidy=$candidate
    break
  fi
done
[ -n "$tidy" ] || fail "no clang-tidy 15 or newer (Debian: clang-tidy-16)"
[ -f "$build/compile_commands.json" ] || fail "no $build/compile_commands.json: configure first, or set BUILD"

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
# The build's flags are GCC's; what clang does not know of them is no finding.
printf '%s\n' "${sources[@]}" |
  xargs -P "$(nproc)" -n 1 "$tidy" --quiet -p "$build" --extra-arg=-Wno-unknown-warning-option \
    --extra-arg=-Wno-ignored-optimization-argument
