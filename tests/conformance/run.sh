#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# run.sh CONCLAVE SECONDS: checks every reference case of this folder on 1, 2, 3, 4 and 6 ranks, in float and in double,
# with one and two threads. Every case must pass, and its digest must be the same on all of them.
set -eu
conclave=$1 seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() { # PRECISION RANKS THREADS: prints "case digest" lines
  if ! "$here/../support/mpirun.sh" "$2" "$seconds" "$conclave" check --precision "$1" --threads "$3" "$here"/*.h5 \
    >"$work/out" 2>"$work/err"; then
    cat "$work/out" "$work/err" >&2
    echo "FAILED: $1, $2 ranks, $3 threads" >&2
    exit 1
  fi
  awk '$NF == "passed" && $1 !~ /^[0-9]+$/ { print $1, $(NF - 1) }' "$work/out"
}

cases=$(find "$here" -name '*.h5' | wc -l)
for precision in float double; do
  check $precision 1 1 >"$work/one"
  [ "$(wc -l <"$work/one")" = "$cases" ] || { echo "FAILED: $(wc -l <"$work/one") of $cases cases were checked" >&2; exit 1; }
  for ranks in 1 2 3 4 6; do
    check $precision "$ranks" $((1 + ranks % 2)) >"$work/many"
    if ! diff "$work/one" "$work/many" >&2; then
      echo "FAILED: digests on $ranks ranks differ from those on one ($precision)" >&2
      exit 1
    fi
  done
done
echo "$cases cases pass on 1, 2, 3, 4 and 6 ranks with the same digests, in float and double"
