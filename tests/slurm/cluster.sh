# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# cluster.sh: what the tests of this folder share. To be sourced with the program's path as $1: brings up a SLURM of two
# nodes in a folder of its own, $work, and takes both away when the test ends, however it ends. Where this machine cannot
# have one the test ends with status 77, which ctest takes for skipped.
set -eu -o pipefail

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
slurm=$tests/../../slurm
export CONCLAVE=$1

# Ranks that share cores with others must yield while they wait, and there may be more of them than a node has.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}

# sbatch takes these as options.
unset "${!SBATCH_@}" "${!SLURM_@}"

fail() {
  echo "FAILED: $1" >&2
  scontrol show job >&2 || true
  tail -n 40 "$work"/*.out >&2 || true
  tail -n 30 "$work"/cluster/log/slurm* >&2 || true
  exit 1
}

work=$(mktemp -d "${TMPDIR:-/tmp}/conclave-slurm-test.XXXXXX")
chmod 755 "$work"  # munged wants everyone to reach its socket
cluster() { "$slurm/local-cluster" "$@" --dir "$work/cluster"; }
take_away() {
  [ ! -e "$work/cluster" ] || cluster down || true
  rm -rf "$work"
}
trap take_away EXIT
trap 'exit 130' INT TERM HUP
cluster_status=0
cluster up --nodes 2 --cpus 4 >"$work/exports" || cluster_status=$?
[ $cluster_status = 0 ] || exit $cluster_status
source "$work/exports"
cd "$work"

# wait_until SECONDS COMMAND...: fails the test if COMMAND does not succeed within SECONDS.
wait_until() {
  local tries=$(($1 * 10)) seconds=$1
  shift
  until "$@"; do
    [ $((--tries)) -gt 0 ] || fail "not within $seconds seconds: $*"
    sleep 0.1
  done
}

# submit OPTION... FILE [ARGUMENT...]: as sbatch; prints the job's number. The nodes share the machine's few cores.
submit() { sbatch --parsable --cpus-per-task=1 "$@"; }
field_of_job() { scontrol --oneliner show job "$1" | grep -o " $2=[^ ]*" | cut -d= -f2; }
# job_is JOB STATES: whether JOB's state matches the pattern.
job_is() { [[ $(field_of_job "$1" JobState) =~ ^($2)$ ]]; }
restarts_of() { field_of_job "$1" Restarts; }
has_checkpoint() { [ -n "$(find "$1" -name 'step-*.h5' -print -quit 2>/dev/null)" ]; }

# start_soon JOB: a job that was put back into the queue waits there for two minutes, while what its last start sent may
# still arrive. Two seconds do here; in the second of its end SLURM would refuse the job's new start.
start_soon() {
  wait_until 60 job_is "$1" PENDING
  wait_until 60 has_started_soon "$1"
}
has_started_soon() {
  job_is "$1" PENDING || return 0
  [ "$(date -d "$(field_of_job "$1" EligibleTime)" +%s)" -le $(($(date +%s) + 2)) ] ||
    scontrol update "job=$1" StartTime=now+2
  return 1
}

# Waits until JOB has done its work, and fails unless it has.
completed() {
  wait_until "$2" job_is "$1" 'COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY'
  job_is "$1" COMPLETED || fail "job $1 has not succeeded"
}

# A small run, whose steps are rather computing than messages: ranks that share cores take long to answer each other.
# shellcheck disable=SC2034  # used where this is sourced
small=(--layers 1 --width 64 --heads 2 --context 64 --experts 6 --expert-hidden 128 --sequences 16 --groups 4
  --exchange flat --eval-every 0 --eval-sequences 4)
# The digest of all that a run's newest checkpoint holds.
digest_of() {
  local digest
  digest=$("$CONCLAVE" inspect --digests --checkpoint "$1" | awk '$2 == "all" { print $1 }')
  [ ${#digest} = 16 ] || fail "$1 has no digest"
  echo "$digest"
}
# uninterrupted FOLDER OPTION...: the same run, outside of SLURM and on one rank.
uninterrupted() { "$CONCLAVE" train --threads 1 --out "$@" >"$work/$1.out" 2>&1 || fail "the uninterrupted run fails"; }
same_bits() { [ "$(digest_of "$1")" = "$(digest_of "$2")" ] || fail "$1 and $2 differ"; }
