#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# time_limit_test.sh CONCLAVE: a run that is longer than its job's time limit. It saves before the limit, at a step of no
# regular checkpoint, gets another turn, and goes on from there with the bits of a run that was not interrupted.
source "$(dirname "$0")/cluster.sh"

# SLURM looks at limits every half minute: the warning comes some 10 to 50 seconds after the start. Six ranks on two cores
# are slow, so that the uninterrupted run has little to do.
run=("${small[@]}" --steps 1000000 --checkpoint-every 0)
job=$(submit --nodes=2 --ntasks-per-node=3 --time=1 --signal=B:USR1@40 --output=run.out \
  "$slurm/train.sbatch" run "${run[@]}")
wait_until 120 has_checkpoint run
wait_until 30 job_is "$job" PENDING
grep -q "ended with status 75 and goes back into the queue" run.out || fail "the run has not saved because of the limit"
saved=$(basename run/step-*.h5 .h5)
step=$((10#${saved#step-}))

# The next turn needs no more than a few steps to show that the bits are right.
scancel "$job"
wait_until 30 job_is "$job" CANCELLED
last=$((step + 5))
job=$(submit --nodes=2 --ntasks-per-node=1 --output=next.out "$slurm/train.sbatch" run "${run[@]}" --stop-after $last)
completed "$job" 60
grep -q "after step $step\$" next.out || fail "the run has not gone on from step $step"
uninterrupted whole "${run[@]}" --stop-after $last
same_bits run whole
