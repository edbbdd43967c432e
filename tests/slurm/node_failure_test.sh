#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# node_failure_test.sh CONCLAVE: a job that `conclave slurm train` has printed, with any characters in its words, and
# submitted from anywhere. The second of its two nodes loses its power in the middle of the run, and boots again. SLURM
# starts the job again, which goes on by itself, and the result has the bits of a run that was not interrupted.
source "$(dirname "$0")/cluster.sh"

steps=(--steps 100 --checkpoint-every 2)
mkdir -p 'where $(touch it-ran)'
cd 'where $(touch it-ran)'
out="it's a \"run\" \`touch it-ran\`
#1"
uninterrupted whole "${small[@]}" "${steps[@]}"
printf 'experts = 6\nexpert_hidden = 128\n' >"of all; runs.ini"
"$CONCLAVE" slurm train --nodes 2 --ntasks-per-node 2 --no-exclusive --time 10m --job-name 'a "name" #1' \
  --output "$work/run.out" --write job.sbatch "$out" -- --config "of all; runs.ini" \
  --layers 1 --width 64 --heads 2 --context 64 --sequences 16 --groups 4 --exchange flat --eval-every 0 \
  --eval-sequences 4 "${steps[@]}"
job=$(cd / && sbatch --parsable "$OLDPWD/job.sbatch")
[ "$(squeue --noheader --job="$job" --format=%j)" = 'a "name" #1' ] || fail "the job has another name"
wait_until 60 has_checkpoint "$out"
cluster node-down node2
# SLURM notices that the node does not answer.
wait_until 90 job_is "$job" PENDING
cluster node-up node2
start_soon "$job"
completed "$job" 120
[ "$(restarts_of "$job")" = 1 ] || fail "the job was not interrupted"
grep -q "resumed from" "$work/run.out" || fail "the job has not gone on"
same_bits "$out" whole
[ -z "$(find "$work" -name it-ran)" ] || fail "a word was run as a command"
