#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# submit_test.sh CONCLAVE: a job on two nodes does the whole run; submitted again it finds nothing to do; and ranks that
# srun has started without MPI's knowledge are refused.
source "$(dirname "$0")/cluster.sh"

run=("${small[@]}" --steps 30 --seed 4)
uninterrupted whole "${run[@]}"
job=$(submit --nodes=2 --ntasks-per-node=2 --output=run.out "$slurm/train.sbatch" run "${run[@]}")
completed "$job" 60
grep -q "4 ranks, 1 threads a rank" run.out || fail "the job has not run on 4 ranks"
same_bits run whole

job=$(submit --nodes=1 --output=again.out "$slurm/train.sbatch" run "${run[@]}")
completed "$job" 60
grep -q "nothing to do: 30 of 30 steps are done" again.out || fail "the job has not looked at what is done"

! sbatch --wait --nodes=1 --output=wrong.out "$slurm/train.sbatch" wrong --steps none || fail "a wrong option succeeds"
grep -q -- "--steps" wrong.out || fail "the job does not tell its wrong option"

# As srun does at times when it cannot start the ranks.
! CONCLAVE=/bin/true sbatch --wait --nodes=1 --output=nothing.out "$slurm/train.sbatch" nothing "${run[@]}" ||
  fail "a job that does nothing succeeds"
grep -q "the ranks were not started" nothing.out || fail "the job does not tell that it has done nothing"

# As an MPI library starts that has no common language with srun.
! srun --ntasks=2 --mpi=none env -u SLURM_JOBID -u SLURM_NODELIST "$CONCLAVE" doctor >alone.out 2>&1 ||
  fail "two worlds of one rank are let run"
grep -q "srun started 2 tasks, but each sees an MPI world of 1 rank" alone.out || fail "the refusal does not say why"
