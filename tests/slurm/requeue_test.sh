#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# requeue_test.sh CONCLAVE: SLURM puts a job back into the queue in the middle of its run, as it does with a preempted
# one. The job goes on by itself, and the result has the bits of a run that was not interrupted.
source "$(dirname "$0")/cluster.sh"

run=("${small[@]}" --steps 100 --checkpoint-every 2)
uninterrupted whole "${run[@]}"
job=$(submit --nodes=2 --ntasks-per-node=1 --output=run.out "$slurm/train.sbatch" run "${run[@]}")
wait_until 60 has_checkpoint run
scontrol requeue "$job"
start_soon "$job"
completed "$job" 120
[ "$(restarts_of "$job")" = 1 ] || fail "the job was not interrupted"
grep -q "resumed from run/step-" run.out || fail "the job has not gone on"
same_bits run whole
