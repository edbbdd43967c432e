#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# node_failure_test.sh CONCLAVE: the second of a job's two nodes loses its power in the middle of the run, and boots again.
# SLURM starts the job again, which goes on by itself, and the result has the bits of a run that was not interrupted.
source "$(dirname "$0")/cluster.sh"

run=("${small[@]}" --steps 100 --checkpoint-every 2)
uninterrupted whole "${run[@]}"
job=$(submit --nodes=2 --ntasks-per-node=2 --output=run.out "$slurm/train.sbatch" run "${run[@]}")
wait_until 60 has_checkpoint run
cluster node-down node2
# SLURM notices that the node does not answer.
wait_until 90 job_is "$job" PENDING
cluster node-up node2
start_soon "$job"
completed "$job" 120
[ "$(restarts_of "$job")" = 1 ] || fail "the job was not interrupted"
grep -q "resumed from run/step-" run.out || fail "the job has not gone on"
same_bits run whole
