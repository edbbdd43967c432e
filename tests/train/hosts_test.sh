#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# hosts_test.sh CONCLAVE: between hosts, over TCP, every exchange has the bits of a run on one rank. Exits with 77 where
# this machine cannot have hosts.
set -euo pipefail
conclave=$(readlink -f "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hosts=$here/../support/hosts.sh
"$hosts" possible || exit 77
folder=$(mktemp -d)
trap '"$hosts" down "$folder/hosts"; rm -rf "$folder"' EXIT
cd "$folder"

digest() { "$conclave" inspect --digests --checkpoint "$1" | awk '$2 == "all" { print $1 }'; }
train=("$conclave" train --layers 2 --width 64 --heads 2 --context 32 --experts 5 --expert-hidden 96 --sequences 8
  --groups 8 --steps 6 --eval-every 0 --threads 1)

OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "${train[@]}" --out one > said 2>&1 || { cat said; exit 1; }
expected=$(digest one)
[ -n "$expected" ]
"$hosts" up hosts 3 1gbit
[ "$("$hosts" run hosts 2 60 hostname | sort | uniq -c | awk '{ printf "%s %s,", $1, $2 }')" = "2 host1,2 host2,2 host3," ]
for exchange in flat pairwise bruck shared hierarchical auto; do
  for waves in 1 3; do
    "$hosts" run hosts 2 100 "${train[@]}" --out "$exchange-$waves" --exchange "$exchange" --waves "$waves" > said 2>&1 ||
      { cat said; exit 1; }
    [ "$(digest "$exchange-$waves")" = "$expected" ] || { echo "hosts_test: $exchange in $waves waves: other bits"; exit 1; }
  done
done
echo "hosts_test: 6 ranks on 3 hosts have the bits of one, with every exchange"
