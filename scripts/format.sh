#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# format.sh [--check]: lays out all C++ sources as .clang-format says; with --check, changes nothing and fails naming
# the places that differ. Needs clang-format 14 or newer.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v clang-format >/dev/null; then
  echo "format: clang-format is missing; packages.txt names its package" >&2
  exit 1
fi
mapfile -d '' sources < <(find runtime comm gating experts apps tests \( -name '*.cpp' -o -name '*.hpp' \) -print0 | sort -z)
[ ${#sources[@]} -gt 0 ] || { echo "format: no sources found" >&2; exit 1; }
if [ "${1:-}" = --check ]; then
  clang-format --dry-run -Werror "${sources[@]}" || {
    echo "format: scripts/format.sh mends this" >&2
    exit 1
  }
else
  clang-format -i "${sources[@]}"
fi
