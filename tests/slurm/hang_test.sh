#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# hang_test.sh CONCLAVE: a rank on the second node stands still. The node that it shares with another rank names it, though
# those of the first node have waited as long.
source "$(dirname "$0")/cluster.sh"

# The process that is rank $1 of the run in folder $2, as this machine numbers it.
rank_process() {
  local environment
  for environment in $(grep -lsz "^SLURM_PROCID=$1\$" /proc/[0-9]*/environ); do
    [ "$(readlink "${environment%environ}exe")" != "$(realpath "$CONCLAVE")" ] ||
      ! grep -qz "^$2\$" "${environment%environ}cmdline" || basename "${environment%/environ}"
  done
}
has_steps() { grep -qs '"kind":"step"' hanging/metrics.jsonl; }

job=$(submit --nodes=2 --ntasks-per-node=2 --output=run.out "$slurm/train.sbatch" hanging "${small[@]}" --steps 1000000 \
  --hang-timeout 3)
wait_until 60 has_steps
kill -STOP "$(rank_process 2 hanging)"
wait_until 60 job_is "$job" 'FAILED|PENDING|COMPLETING'
grep -q "no progress for .* for rank 2\$" run.out || fail "the rank is not named"
grep -q "rank 2 keeps it waiting: .* is stopped" run.out || fail "the rank's state is not told"
[ "$(grep -c "no progress for" run.out)" = 1 ] || fail "more than one node has spoken"
scancel "$job"

# A rank that is alone on its node can be named by the others only.
job=$(submit --nodes=2 --ntasks-per-node=1 --output=alone.out "$slurm/train.sbatch" alone "${small[@]}" --steps 1000000 \
  --hang-timeout 3)
has_steps() { grep -qs '"kind":"step"' alone/metrics.jsonl; }
wait_until 60 has_steps
kill -STOP "$(rank_process 1 alone)"
wait_until 60 job_is "$job" 'FAILED|PENDING|COMPLETING'
grep -q "rank 0 waits in .* for rank 1\$" alone.out || fail "the rank that is alone is not named"
grep -q "rank 1 did not tell where" alone.out || fail "nothing is said of the rank that is alone"
