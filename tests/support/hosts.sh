#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# hosts.sh possible | up FOLDER HOSTS RATE | down FOLDER | run FOLDER RANKS-PER-HOST SECONDS PROGRAM [ARGUMENT...]
# Hosts of a cluster on this machine, for MPI programs to run on: each is a set of namespaces (network, hostname, IPC,
# mounts, processes), joined by a switch through links of RATE each way (1gbit). `run` starts a program on all of them,
# from a further one without ranks, and kills it after SECONDS. What is kept of them is in FOLDER. `possible` tells
# whether this machine can have them: it takes root, namespaces and a shaped link.
set -euo pipefail
command=$1 folder=$(readlink -f "${2:-/nonexistent}") || true
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

inside() { # HOST COMMAND...
  local process
  process=$(cat "$folder/$1.process")
  shift
  nsenter --target "$process" --net --uts --ipc --mount --pid -- "$@"
}

# The launcher's host has to see the others' processes to get inside.
own_processes() { # HOST
  [ "$1" = host0 ] || echo --pid --fork --kill-child --mount-proc
}

# As a network card: bytes leave at RATE, one packet after another, and wait rather than get lost.
shape() { # DEVICE RATE
  tc qdisc add dev "$1" root handle 1: htb default 1
  tc class add dev "$1" parent 1: classid 1:1 htb rate "$2" burst 15k cburst 15k quantum 60000
}

possible() {
  # shellcheck disable=SC2016  # expanded by the shell inside
  unshare --net --uts --ipc --mount --pid --fork --mount-proc bash -c "$(declare -f shape)"'
    mount -t tmpfs tmpfs /mnt && ip link add one type veth peer name two && shape one 1gbit' > /dev/null 2>&1
}

start() { # HOST ADDRESS
  local host=$1 address=$2 holder process
  # shellcheck disable=SC2016,SC2046  # expanded by the shell inside; words
  setsid unshare --net --uts --ipc --mount --propagation private $(own_processes "$host") bash -c '
    hostname "$0"; mount -t tmpfs -o mode=1777 tmpfs /dev/shm; mount --bind "$1/names" /etc/hosts
    ip link set lo up; touch "$1/$0.ready"; exec sleep infinity' "$host" "$folder" < /dev/null > /dev/null 2>&1 &
  holder=$!
  echo "$holder" > "$folder/$host.holder"
  for ((i = 0; i < 200; ++i)); do [ ! -e "$folder/$host.ready" ] || break; sleep 0.05; done
  [ -e "$folder/$host.ready" ] || { echo "hosts.sh: $host does not start: is this root?" >&2; exit 1; }
  process=$holder
  [ "$host" = host0 ] || process=$(pgrep -P "$holder")
  echo "$process" > "$folder/$host.process"
  [ "$host" = switch ] && return
  ip link add "cv-$host" type veth peer name eth0 netns "$process"
  ip link set "cv-$host" netns "$(cat "$folder/switch.process")"
  inside switch ip link set "cv-$host" master bridge up
  # Connections that neither probe for what a link can do nor forget it while they are idle.
  inside "$host" sysctl -qw net.ipv4.tcp_congestion_control=reno net.ipv4.tcp_slow_start_after_idle=0
  inside "$host" ip addr add "$address/24" dev eth0
  inside "$host" ip link set eth0 up
}

up() {
  local hosts=$1 rate=$2
  mkdir -p "$folder"
  {
    echo "127.0.0.1 localhost"
    for ((h = 0; h <= hosts; ++h)); do echo "10.77.1.$((h + 1)) host$h"; done
  } > "$folder/names"
  start switch ""
  inside switch ip link add bridge type bridge
  inside switch ip link set bridge up
  for ((h = 0; h <= hosts; ++h)); do
    start "host$h" "10.77.1.$((h + 1))"
    [ "$h" -gt 0 ] || continue  # the launcher's
    inside "host$h" bash -c "$(declare -f shape); shape eth0 $rate"
    inside switch bash -c "$(declare -f shape); shape cv-host$h $rate"
  done
  echo "$hosts" > "$folder/number"
}

down() {
  local holder
  for holder in "$folder"/*.holder; do
    kill -9 "$(cat "$holder")" 2> /dev/null || true
  done
  rm -rf "$folder"
}

run() { # RANKS-PER-HOST SECONDS PROGRAM...
  local ranks=$1 seconds=$2 hosts h
  shift 2
  hosts=$(cat "$folder/number")
  for ((h = 1; h <= hosts; ++h)); do echo "host$h slots=$ranks"; done > "$folder/hostfile"
  # What a remote shell does: `agent HOST COMMAND...`.
  printf '#!/bin/sh\nhost=$1; shift\nexec "%s" inside "%s" "$host" /bin/sh -c "$*"\n' "$here/hosts.sh" "$folder" \
    > "$folder/agent"
  chmod +x "$folder/agent"
  inside host0 env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1 \
    timeout -k 5 "$seconds" mpirun --wdir "$PWD" --hostfile "$folder/hostfile" -n $((hosts * ranks)) --map-by slot \
    --mca plm_rsh_agent "$folder/agent" --mca plm_rsh_no_tree_spawn 1 --mca oob_tcp_if_include eth0 \
    --mca btl_tcp_if_include eth0 --mca hwloc_base_binding_policy none --oversubscribe \
    -x OMPI_MCA_mpi_yield_when_idle "$@" < /dev/null
}

case $command in
  possible) possible ;;
  up) up "$3" "$4" ;;
  down) down ;;
  run) run "${@:3}" ;;
  inside) inside "$3" "${@:4}" ;;
  *) echo "hosts.sh: '$command' is none of possible, up, down, run" >&2; exit 2 ;;
esac
