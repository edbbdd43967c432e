#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# array_test.sh CONCLAVE: an array trains one run a task, each in a folder and with a seed of its own, of which one is
# interrupted; each result has the bits of the same run outside of the array. An array whose tasks would share a folder is
# refused.
source "$(dirname "$0")/cluster.sh"

run=("${small[@]}" --steps 100 --checkpoint-every 2)
for task in 1 2 3; do uninterrupted "whole-$task" "${run[@]}" --seed $task; done
array=$(submit --array=1-3 --nodes=1 --ntasks-per-node=2 --output=run-%a.out \
  "$slurm/train.sbatch" "run-%a" "${run[@]}" --seed %a)
wait_until 60 has_checkpoint run-2
scontrol requeue "${array}_2"
start_soon "${array}_2"
for task in 1 2 3; do
  completed "${array}_$task" 120
  same_bits "run-$task" "whole-$task"
done
[ "$(restarts_of "${array}_2")" = 1 ] || fail "the array's second task was not interrupted"
[ "$(digest_of run-1)" != "$(digest_of run-2)" ] || fail "the tasks have done the same run"

! sbatch --wait --array=1-2 --output=shared-%a.out "$slurm/train.sbatch" shared "${run[@]}" || fail "tasks share a folder"
grep -q "put %a into it" shared-1.out || fail "the refusal does not say why"
