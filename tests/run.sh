#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# run.sh [PRESET] [CTEST-ARGUMENT...]: installs what is missing, builds PRESET (default: ci, which is release with
# warnings as errors) and runs its tests. Without -L or -LE of the caller's, those labelled `large` (memory) or `campaign`
# (minutes to hours) are left out. Ends with ctest's summary and its exit code.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=ci
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
  preset=$1
  shift
fi
scripts/setup.sh --tests "$preset"

exclude=(--label-exclude '^(large|campaign)$')
for argument in "$@"; do
  case $argument in
    -L | -LE | --label-regex | --label-exclude) exclude=() ;;
  esac
done
exec ctest --preset "$preset" --parallel "$(nproc)" "${exclude[@]}" "$@"
