#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# preempt_test.sh CONCLAVE: a job of a higher priority takes a run's nodes away. The run, which saves at no regular steps,
# saves then, waits in the queue until the other job has ended, and has the bits of a run that was not interrupted.
source "$(dirname "$0")/cluster.sh"

run=("${small[@]}" --steps 400 --checkpoint-every 0)
uninterrupted whole "${run[@]}"
job=$(submit --nodes=2 --ntasks-per-node=1 --output=run.out "$slurm/train.sbatch" run "${run[@]}")
wait_until 60 test -e run/config.ini
urgent=$(sbatch --parsable --partition=urgent --nodes=2 --exclusive --output=urgent.out --wrap 'touch urgent-ran; sleep 1')
completed "$urgent" 60
[ -e urgent-ran ] || fail "the urgent job has not run"
! job_is "$job" COMPLETED || fail "the run was done before it could be preempted"
start_soon "$job"
completed "$job" 120
[ "$(restarts_of "$job")" = 1 ] || fail "the job was not interrupted"
grep -q "resumed from run/step-" run.out || fail "the job has lost its steps"
same_bits run whole
