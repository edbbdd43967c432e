#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# validation_campaign.sh CONCLAVE FOLDER [ROUNDS [short]]: trains some dozens of small models of other shapes, skews,
# exchanges and waves than calibrations are fitted to, on 1 and 2 ranks of this machine, and holds the simulator's
# predictions against what their steps took, in ROUNDS rounds (6). `short`: a few of the models and quick calibrations,
# to see that it works.
set -euo pipefail
conclave=$(readlink -f "$1") folder=$2 rounds=${3:-6} length=${4:-whole}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"
# shellcheck source=tests/sim/take_turns.sh
source "$here/take_turns.sh"

launch() { # RANKS ARGUMENT...
  "$here/../support/mpirun.sh" "$1" 300 "$conclave" "${@:2}" < /dev/null
}

small="--layers 2 --width 96 --heads 4 --context 48 --expert-hidden 288 --sequences 16"
middle="--layers 2 --width 224 --heads 7 --context 80 --expert-hidden 640 --sequences 16"
wide="--layers 1 --width 448 --heads 7 --expert-hidden 1344"
deep="--layers 6 --width 160 --heads 5 --context 64 --expert-hidden 320 --sequences 12"

# NAME RANKS STEPS OPTIONS
cases() {
  cat << END
small-1 1 150 $small --groups 8 --experts 8
small-2 2 150 $small --groups 8 --experts 8 --exchange flat
middle-2 2 60 $middle --groups 8 --experts 12 --exchange flat
wide-1 1 30 $wide --sequences 8 --context 112 --groups 4 --experts 6
END
  [ "$length" = whole ] || return 0
  cat << END
small-shared 2 150 $small --groups 8 --experts 8 --exchange shared
middle-1 1 40 $middle --groups 8 --experts 12
middle-top1 2 60 $middle --groups 8 --experts 12 --top-k 1 --exchange flat
wide-2 2 40 $wide --sequences 8 --context 112 --groups 4 --experts 6 --exchange pairwise
small-pairwise 2 150 $small --groups 8 --experts 8 --exchange pairwise
small-bruck 2 150 $small --groups 8 --experts 8 --exchange bruck
small-hierarchical 2 150 $small --groups 8 --experts 8 --exchange hierarchical
small-auto 2 150 $small --groups 8 --experts 8
small-waves2 2 150 $small --groups 8 --experts 8 --exchange flat --waves 2
small-waves4 2 150 $small --groups 8 --experts 8 --exchange flat --waves 4
small-fine 2 100 $small --groups 16 --experts 48 --top-k 4 --exchange flat
small-bf16 2 150 $small --groups 8 --experts 8 --exchange flat --wire bf16
middle-shared 2 60 $middle --groups 8 --experts 12 --exchange shared
middle-waves3 2 60 $middle --groups 8 --experts 12 --exchange flat --waves 3
middle-drop 2 60 $middle --groups 8 --experts 12 --exchange flat --capacity-factor 1
middle-drop-half 1 60 $middle --groups 8 --experts 12 --capacity-factor 0.5
middle-reroute 2 60 $middle --groups 8 --experts 12 --exchange flat --capacity-factor 1 --overflow reroute
middle-swiglu 1 30 $middle --groups 8 --experts 12 --expert-kind swiglu
middle-relu 2 60 $middle --groups 8 --experts 12 --expert-kind relu --exchange flat
middle-hash 2 60 $middle --groups 8 --experts 12 --router hash --exchange flat
middle-random 1 40 $middle --groups 8 --experts 12 --router random
middle-choice 2 60 $middle --groups 8 --experts 12 --router expert_choice --exchange flat
middle-passes 2 40 $middle --groups 8 --experts 12 --passes 4 --exchange flat
middle-few-groups 2 60 $middle --groups 2 --experts 12 --exchange flat
middle-one-idle 2 40 $middle --groups 1 --experts 12 --exchange flat
middle-uneven 2 60 $middle --groups 8 --experts 5 --exchange flat
middle-dense 2 60 $middle --groups 8 --moe-every 0 --dense-hidden 640
middle-every2 2 60 $middle --groups 8 --experts 12 --moe-every 2 --exchange flat
middle-many 1 20 $middle --groups 8 --experts 40
middle-many-2 2 30 $middle --groups 8 --experts 40 --exchange shared
middle-sgd 2 60 $middle --groups 8 --experts 12 --optimizer sgd --exchange flat
wide-top1 1 30 $wide --sequences 8 --context 112 --groups 4 --experts 6 --top-k 1
wide-shared-expert 2 40 $wide --sequences 8 --context 112 --groups 4 --experts 6 --shared-experts 1 --exchange flat
wide-long 2 20 $wide --groups 2 --sequences 4 --context 384 --experts 6 --exchange flat
deep-1 1 40 $deep --groups 6 --experts 10
deep-2 2 60 $deep --groups 6 --experts 10 --exchange shared
deep-flat 2 60 $deep --groups 6 --experts 10 --exchange flat
deep-drop 2 60 $deep --groups 6 --experts 10 --exchange flat --capacity-factor 1.25
deep-waves2 2 60 $deep --groups 6 --experts 10 --exchange flat --waves 2
END
}

if [ "$length" = whole ]; then calibration=(--rounds 2); else calibration=(--quick --rounds 1); fi
take_turns "$rounds" 2 "${calibration[@]}"
