#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# save_on_signal_test.sh CONCLAVE: a run without regular checkpoints loses no step when SLURM takes its nodes away, since
# it saves at the signal; and a job that the user cancels saves too, and is not put back into the queue.
source "$(dirname "$0")/cluster.sh"

run=("${small[@]}" --steps 300 --checkpoint-every 0)
has_steps() { grep -qs '"kind":"step"' "$1/metrics.jsonl"; }
uninterrupted whole "${run[@]}"
job=$(submit --nodes=2 --ntasks-per-node=2 --output=run.out "$slurm/train.sbatch" run "${run[@]}")
wait_until 60 has_steps run
scontrol requeue "$job"
start_soon "$job"
completed "$job" 120
grep -q "resumed from run/step-" run.out || fail "the job has lost its steps"
same_bits run whole

job=$(submit --nodes=2 --ntasks-per-node=2 --output=cancelled.out "$slurm/train.sbatch" cancelled "${run[@]}")
wait_until 60 has_steps cancelled
scancel "$job"
wait_until 60 job_is "$job" CANCELLED
wait_until 30 has_checkpoint cancelled
[ "$(restarts_of "$job")" = 0 ] || fail "the cancelled job was started again"
grep -q "goes back into the queue" cancelled.out && fail "the cancelled job has asked for another turn"
exit 0
