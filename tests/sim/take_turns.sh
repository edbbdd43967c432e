# SPDX-License-Identifier: BSD-3-Clause
# To be sourced. Machines drift, so calibrations and pieces of all runs take turns.
# take_turns ROUNDS RANKS CALIBRATION-OPTION...: ROUNDS times calibrates on RANKS ranks and takes all runs on by a piece;
# then holds what was predicted against what they took. Calls `launch RANKS ARGUMENT...`, which starts the program; reads
# the runs, NAME RANKS STEPS OPTIONS a line, from `cases`; $conclave is the program. All files are left where it is.
take_turns() {
  local rounds=$1 calibrated=$2 names=() machines=() start round name ranks steps options
  shift 2
  for ((round = 1; round <= rounds; ++round)); do
    launch "$calibrated" bench calibrate --out "machine-$round.json" --threads 1 --accept-noise "$@" \
      > "calibration-$round.log" 2>&1 || { cat "calibration-$round.log" >&2; return 1; }
    machines+=("machine-$round.json")
    while read -r name ranks steps options; do
      start=()
      if [ "$round" = 1 ]; then names+=("$name"); else start=(--resume "$name"); fi
      # shellcheck disable=SC2086  # words
      launch "$ranks" train --out "$name" --threads 1 --steps "$steps" --stop-after $((steps * round / rounds)) \
        --eval-every 0 $options "${start[@]}" > "$name.log" 2>&1 || { cat "$name.log" >&2; return 1; }
    done < <(cases)
  done
  "$conclave" simulate validate --machine "$(IFS=,; echo "${machines[*]}")" "${names[@]}" \
    --csv validation.csv --picture validation.svg
}
