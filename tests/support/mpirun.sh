#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# mpirun.sh RANKS SECONDS PROGRAM [ARGUMENT...]: runs a program on RANKS ranks of this machine, whatever its number of
# cores, and kills it after SECONDS.
set -eu
ranks=$1 seconds=$2
shift 2
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_io=romio321 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec timeout -k 5 "$seconds" mpirun --oversubscribe --bind-to none -n "$ranks" "$@"
