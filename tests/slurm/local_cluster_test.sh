#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# local_cluster_test.sh CONCLAVE: the nodes of a local cluster have names, processes and shared memory of their own; one
# dies with all that runs on it and comes back; and nothing of a cluster remains after it was ended, interrupted or killed
# while it came up, or has failed.
source "$(dirname "$0")/cluster.sh"

# Processes that belong to the cluster in folder $1.
processes_of() { env -u SLURM_CONF grep -lsF "SLURM_CONF=$1/etc/slurm.conf" /proc/[0-9]*/environ || true; }
vanished() { [ ! -e "$1" ] && [ -z "$(processes_of "$1")" ] && ! grep -qF "$1" /proc/self/mounts; }

# shellcheck disable=SC2016  # the nodes' shells expand it
told=$(srun --nodes=2 bash -c 'touch /dev/shm/$(hostname); sleep 1; echo $(hostname) $$ $(ls /dev/shm)' | sort)
[[ $told =~ ^node1\ ([0-9]+)\ node1$'\n'node2\ ([0-9]+)\ node2$ ]] || fail "two nodes say: $told"
[ "${BASH_REMATCH[1]}" -lt 200 ] && [ "${BASH_REMATCH[2]}" -lt 200 ] || fail "a node sees others' processes: $told"

[ -n "$(processes_of "$work/cluster")" ] || fail "the test does not find a cluster's processes"
before=$(processes_of "$work/cluster" | wc -l)
cluster node-down node2
! cluster node-down node2 2>/dev/null || fail "a dead node dies"
[ "$(processes_of "$work/cluster" | wc -l)" -lt "$before" ] || fail "a dead node's processes live"
cluster node-up node2
[ "$(srun --nodelist=node2 hostname)" = node2 ] || fail "the node has not come back"

for seconds in 0.05 0.1 0.2 0.3 0.4 0.5; do
  for signal in INT TERM; do
    timeout --signal=$signal $seconds "$slurm/local-cluster" up --dir "$work/interrupted" >/dev/null 2>&1 || true
    [ ! -e "$work/interrupted/etc/slurm.conf" ] || "$slurm/local-cluster" down --dir "$work/interrupted"
    wait_until 5 vanished "$work/interrupted"
  done
done

mkdir failing
printf '#!/bin/sh\nexit 1\n' >failing/slurmctld
chmod +x failing/slurmctld
! PATH=$work/failing:$PATH "$slurm/local-cluster" up --dir "$work/failed" >/dev/null 2>failed.out ||
  fail "a cluster comes up without a controller"
grep -q "controller does not come up" failed.out || fail "the failure is not told"
wait_until 5 vanished "$work/failed"

cluster down
wait_until 5 vanished "$work/cluster"
