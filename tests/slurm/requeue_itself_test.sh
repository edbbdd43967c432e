#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# requeue_itself_test.sh CONCLAVE: a job script that knows nothing of restarts. A signal that reaches the ranks makes the run
# save and ask SLURM for another start by itself (--requeue), in which it goes on with the bits of a run that was not
# interrupted.
source "$(dirname "$0")/cluster.sh"

run=("${small[@]}" --steps 400 --checkpoint-every 0)
uninterrupted whole "${run[@]}"
cat >job.sh <<JOB
#!/usr/bin/env bash
source "$slurm/environment.sh"
exec "\${launch[@]}" "$CONCLAVE" train --out run --resume auto --requeue ${run[*]}
JOB
job=$(submit --requeue --nodes=2 --ntasks-per-node=1 --output=run.out --open-mode=append job.sh)
wait_until 60 test -e run/config.ini
scancel --signal=USR1 "$job"
start_soon "$job"
grep -q "stopped by SIGUSR1 at rank [01] after step .*; go on with --resume run" run.out || fail "the run has not saved"
grep -q "job $job goes back into the queue" run.out || fail "the run has not asked for another start"
completed "$job" 120
[ "$(restarts_of "$job")" = 1 ] || fail "the job was not started twice"
grep -q "resumed from run/step-" run.out || fail "the job has lost its steps"
same_bits run whole
