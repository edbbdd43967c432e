# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2034  # what is set here is used where it is sourced
# environment.sh: how Conclave runs on this cluster, the one file to adapt to a site. The sbatch files of this folder source
# it within their job; it gives them `conclave`, the program, and `launch`, the words in front of it that start the ranks.
# An account, a partition or a type of node belong into sbatch's own variables, e.g. SBATCH_ACCOUNT and SBATCH_PARTITION
# in your ~/.bashrc, or into its command line.

# --- Modules: those that the program was built with

# module purge
# module load gcc openmpi openblas hdf5-parallel boost

# --- The program

# Installed, this folder is PREFIX/share/conclave/slurm; else it lies beside the build's.
conclave=$slurm_folder/../../../bin/conclave
[ -x "$conclave" ] || conclave=$slurm_folder/../build/release/apps/conclave
conclave=${CONCLAVE:-$conclave}

# --- Ranks, threads and memory. The jobs ask SLURM for whole nodes, of all their memory. A rank for each NUMA domain keeps
# what a rank touches near its cores. sbatch's --ntasks-per-node, --ntasks and --cpus-per-task go before.

count_of() { lscpu --parse="$1" | grep -v '^#' | sort -u | wc -l; }
ranks_per_node=${SLURM_NTASKS_PER_NODE:-$(count_of NODE)}
ranks=${SLURM_NTASKS:-$((ranks_per_node * SLURM_JOB_NUM_NODES))}
ranks_per_node=$(((ranks + SLURM_JOB_NUM_NODES - 1) / SLURM_JOB_NUM_NODES))
# The hardware threads of a core share its multipliers: one thread of the program for each core.
cores=$(count_of CORE)
[ "$cores" -le "$SLURM_CPUS_ON_NODE" ] || cores=$SLURM_CPUS_ON_NODE
threads=${SLURM_CPUS_PER_TASK:-$((cores > ranks_per_node ? cores / ranks_per_node : 1))}
export OMP_NUM_THREADS=$threads

# --- How ranks are started and bound: neighbours in number on one node, each on cores of its own.
# --wait: a rank that dies may leave the others waiting for it. Killing all at the first exit status that is not 0 would
# also hit ranks that have just saved and are about to end with 75 themselves.

launch=(srun --mpi=pmix --ntasks="$ranks" --ntasks-per-node="$ranks_per_node" --cpus-per-task="$threads"
  --threads-per-core=1 --mem=0 --distribution=block:block --cpu-bind=cores --kill-on-bad-exit=0 --wait=30)
# Where `srun --mpi=list` does not name pmix:
# launch=(mpirun -n "$ranks" --map-by "ppr:$ranks_per_node:node:pe=$threads" --bind-to core)

# --- Open MPI and OpenBLAS. The program itself sets what it cannot do without (`conclave doctor` tells); these are
# matters of a site.

# export OMPI_MCA_btl_tcp_if_include=ib0 # the network to use, where Open MPI picks another
# export OPENBLAS_CORETYPE=Haswell       # on nodes of several kinds: the oldest one's kernels, for the same bits on all
