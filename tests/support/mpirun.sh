#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# mpirun.sh RANKS SECONDS PROGRAM [ARGUMENT...]: runs a program on RANKS ranks of this machine, whatever its number of
# cores, and kills it shortly before SECONDS have passed: a caller with the same limit leaves no ranks behind.
set -eu
ranks=$1 seconds=$2
shift 2
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_io=romio321 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# For sanitizer builds: Open MPI keeps memory until the process ends, in libraries that are unloaded by then, so that
# its leaks cannot be told from others.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
export TSAN_OPTIONS=${TSAN_OPTIONS:-suppressions=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/threads.supp}
exec timeout -k 5 "$((seconds * 9 / 10 + 1))" mpirun --oversubscribe --bind-to none -n "$ranks" "$@" </dev/null
