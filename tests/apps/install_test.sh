#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# install_test.sh CMAKE BUILD: an installed program finds the job files that were installed with it, and they find it.
set -eu -o pipefail
folder=$(realpath "$(mktemp -d)")
trap 'rm -rf "$folder"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}  # as in tests/support/mpirun.sh
fail() {
  echo "FAILED: $1" >&2
  exit 1
}

"$1" --install "$2" --prefix "$folder/prefix" >/dev/null
timeout -k 5 100 "$folder/prefix/bin/conclave" slurm bench measured >"$folder/job"
job_files=$folder/prefix/share/conclave/slurm
grep -qxF "slurm_folder=$job_files" "$folder/job" || fail "the program takes other job files"
grep -qxF "CONCLAVE=$folder/prefix/bin/conclave" "$folder/job" || fail "the job takes another program"
[ -x "$job_files/local-cluster" ] || fail "local-cluster was not installed to be run"
# What a job file would take that nobody has filled in.
found=$(unset CONCLAVE && SLURM_JOB_NUM_NODES=1 SLURM_CPUS_ON_NODE=1 slurm_folder=$job_files bash -eu -c \
  'source "$slurm_folder/environment.sh" && realpath "$conclave"')
[ "$found" = "$folder/prefix/bin/conclave" ] || fail "environment.sh takes $found"
