#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# scaling.sh CONCLAVE: draws the README's scaling studies again, into this folder, and prints their tables.
set -euo pipefail
conclave=$1
cd "$(dirname "${BASH_SOURCE[0]}")/.."
"$conclave" simulate run --config configs/shakespeare.ini --cluster fat-tree-100g --machine configs/two-core-machine.json \
  --threads 1 --sequences 768 --groups 256 --ranks 1:256:x2 --picture docs/scaling-shakespeare.svg
"$conclave" simulate run --config configs/moe-100b.ini --cluster configs/two-socket-nodes.json --ranks 32:1024:x2 \
  --picture docs/scaling-100b.svg
