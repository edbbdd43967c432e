#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# demo.sh: installs what is missing, builds, and shows the main job in about three minutes: trains on 4 ranks on the
# embedded corpus, stops half way and resumes on 2 ranks, shows that the bits are those of the run that was never cut,
# and lets the model write a few lines.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."

steps=${DEMO_STEPS:-4000}
scripts/setup.sh release
conclave=$PWD/build/release/apps/conclave
work=$(mktemp -d "${TMPDIR:-/tmp}/conclave-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT

# More ranks than cores is fine for a demonstration; the launcher has to be told.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
on_ranks() {
  local ranks=$1
  shift
  timeout -k 10 1800 mpirun --oversubscribe --bind-to none -n "$ranks" "$conclave" "$@" </dev/null
}
say() { printf '\n== %s\n' "$*"; }

run=(train --steps "$steps" --layers 2 --width 64 --heads 4 --expert-hidden 128 --learning-rate 0.003
  --checkpoint-every $((steps / 2)) --eval-every 0 --threads 1)

say "Training $steps steps on 4 ranks; the experts are sharded over them"
on_ranks 4 "${run[@]}" --out "$work/four"

say "The same run, cut after step $((steps / 2)) and resumed on 2 ranks"
mkdir "$work/two"
half=$(printf 'step-%08d.h5' $((steps / 2)))
last=$(printf 'step-%08d.h5' "$steps")
cp "$work/four/$half" "$work/two/"
on_ranks 2 train --resume "$work/two" --threads 1 >"$work/two.log" 2>&1 || { cat "$work/two.log" >&2; exit 1; }
grep -E 'resumed|held-out' "$work/two.log"

say "Are the bits the same?"
tensors() { on_ranks 1 inspect --checkpoint "$1" --digests; }
tensors "$work/four/$last" | grep -v '^file' >"$work/four.digests"
tensors "$work/two/$last" | grep -v '^file' >"$work/two.digests"
tail -n 1 "$work/four.digests"
if ! diff -q "$work/four.digests" "$work/two.digests" >/dev/null; then
  echo "NO: the checkpoints differ:" >&2
  diff "$work/four.digests" "$work/two.digests" >&2 || true
  exit 1
fi
echo "yes: all parameters and optimizer states after step $steps are bitwise equal, trained on 4 ranks or on 4 and then 2"

say "What the model writes (the corpus has four made-up languages; this prompt leaves the choice to the model)"
on_ranks 2 generate --checkpoint "$work/two" --prompt "the " --tokens 300 --threads 1
