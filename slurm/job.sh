# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154  # what environment.sh has set
# job.sh: what the sbatch files of this folder do alike, whatever the site. They source it within their job, behind
# environment.sh.

# fail TEXT: ends the job because it was wrongly used.
fail() {
  echo "$SLURM_JOB_NAME: $1" >&2
  exit 2
}

# Whichever signal comes, the ranks are asked to stop. What SLURM sends to the whole job reaches them twice, which does no
# harm.
step='' signals=0
ask_to_stop() {
  signals=$((signals + 1))
  [ -z "$step" ] || kill -USR1 "$step" 2>/dev/null || true
}
trap ask_to_stop USR1 TERM

begin_job() {
  echo "job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)), on $SLURM_JOB_NODELIST"
  # A crashed node keeps the socket of the step that ran there, which a step of the same number cannot use: give the ranks a
  # number that no earlier start of the job has used.
  local i
  for ((i = 0; i < ${SLURM_RESTART_COUNT:-0}; ++i)); do
    srun --nodes=1 --ntasks=1 --mpi=none true || true
  done
}

# run_ranks WORD...: has all ranks run the program with these words, and sets `status` to how that ended; to 75, as a run
# that was told to stop, where a signal has come before.
run_ranks() {
  status=75
  [ $signals = 0 ] || return 0
  "${launch[@]}" "$conclave" "$@" &
  step=$!
  local seen
  while :; do
    seen=$signals status=0
    wait "$step" || status=$?
    # A signal ends the wait, not the step.
    [ $signals != $seen ] && [ $status -gt 128 ] || break
  done
  step=''
}

# Has the job start again. One that is not running now has been cancelled, or SLURM itself has put it back into the queue.
requeue_job() {
  [ "$(squeue --noheader --job="$SLURM_JOB_ID" --format=%T)" = RUNNING ] || return 0
  echo "job $SLURM_JOB_ID ended with status $status and goes back into the queue"
  scontrol requeue "$SLURM_JOB_ID"
}
