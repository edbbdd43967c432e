#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# hosts_campaign.sh CONCLAVE FOLDER [HOSTS RANKS-PER-HOST RATE [ROUNDS [short]]]: as validation_campaign.sh, between
# hosts: namespaces on this machine, joined by links of RATE (2 hosts of 1 rank, 1gbit). Rows and gradients are on their
# way for most of these runs' steps. Exits with 77 where this machine cannot have hosts.
set -euo pipefail
conclave=$(readlink -f "$1") folder=$2 hosts=${3:-2} per_host=${4:-1} rate=${5:-1gbit} rounds=${6:-3} length=${7:-whole}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/../support/hosts.sh" possible || { echo "hosts_campaign.sh: this machine cannot have hosts: it takes root" >&2; exit 77; }
all_ranks=$((hosts * per_host))
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"
# shellcheck source=tests/sim/take_turns.sh
source "$here/take_turns.sh"
trap '"$here/../support/hosts.sh" down "$PWD/hosts"' EXIT
"$here/../support/hosts.sh" up hosts "$hosts" "$rate"

launch() { # RANKS ARGUMENT...: RANKS are those of all hosts
  "$here/../support/hosts.sh" run hosts "$per_host" 600 "$conclave" "${@:2}"
}

middle="--layers 2 --width 224 --heads 7 --context 80 --expert-hidden 640 --sequences 16 --groups 8 --experts 12"
narrow="--layers 3 --width 160 --heads 5 --context 64 --expert-hidden 96 --sequences 16 --groups 8 --experts 10"
wide="--layers 1 --width 448 --heads 7 --expert-hidden 224 --sequences 8 --context 112 --groups 8 --experts 6"

# NAME RANKS STEPS OPTIONS
cases() {
  cat << END
middle-flat $all_ranks 36 $middle --exchange flat --waves 1
middle-dense $all_ranks 36 ${middle% --experts*} --moe-every 0 --dense-hidden 640
END
  [ "$length" = whole ] || return 0
  cat << END
middle-waves2 $all_ranks 36 $middle --exchange flat --waves 2
middle-waves4 $all_ranks 36 $middle --exchange flat --waves 4
middle-pairwise $all_ranks 36 $middle --exchange pairwise --waves 1
middle-hierarchical $all_ranks 36 $middle --exchange hierarchical
middle-bruck $all_ranks 36 $middle --exchange bruck --waves 1
middle-top1 $all_ranks 36 $middle --exchange flat --top-k 1 --waves 1
middle-bf16 $all_ranks 36 $middle --exchange flat --wire bf16 --waves 1
middle-drop $all_ranks 36 $middle --exchange flat --capacity-factor 1 --waves 1
middle-few-groups $all_ranks 36 ${middle/--groups 8/--groups 2} --exchange flat --waves 1
narrow-flat $all_ranks 36 $narrow --exchange flat --waves 1
narrow-pairwise $all_ranks 36 $narrow --exchange pairwise --waves 2
narrow-top4 $all_ranks 36 $narrow --exchange hierarchical --top-k 4
narrow-every2 $all_ranks 36 ${narrow/--layers 3/--layers 4} --exchange flat --moe-every 2 --waves 1
wide-flat $all_ranks 36 $wide --exchange flat --waves 1
wide-hierarchical $all_ranks 36 $wide --exchange hierarchical
wide-waves3 $all_ranks 36 $wide --exchange pairwise --waves 3
wide-passes $all_ranks 36 $wide --exchange flat --passes 2 --waves 1
END
}

if [ "$length" = whole ]; then calibration=(--rounds 1); else calibration=(--quick --rounds 1); fi
take_turns "$rounds" "$all_ranks" "${calibration[@]}"
