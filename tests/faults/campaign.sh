#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# campaign.sh CONCLAVE [ROUNDS [SEED]]: interrupts training in every way it knows, at random moments, and resumes it on a
# random other number of ranks, until all steps are done; the parameters must then be those of an uninterrupted run, bit
# for bit. A round is one training; what happens in it depends on SEED alone, but for the moment's chance. Prints the
# figures, and fails if bits were wrong or a job did not end.
set -uo pipefail
conclave=$1 rounds=${2:-100} seed=${3:-1}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
RANDOM=$seed
scratch=$(mktemp -d)
steps=400
options=(--layers 2 --width 40 --heads 2 --context 16 --experts 5 --expert-hidden 48 --sequences 10 --groups 5
  --noise --steps $steps --checkpoint-every 20 --eval-every 0 --threads 1)

# A disk of its own, so that it can be full: needs root. Without one, disks are not filled.
disk=$scratch/disk
mkdir "$disk"
can_fill=no
mount -t tmpfs -o size=24m tmpfs "$disk" 2>/dev/null && can_fill=yes
# shellcheck disable=SC2317  # called by the trap
clean_up() {
  pkill -9 -f -- "train --out $disk/" 2>/dev/null
  [ $can_fill = no ] || umount -l "$disk"
  rm -rf "$scratch"
}
trap clean_up EXIT

launch() { # RANKS ARGUMENT...
  "$here/../support/mpirun.sh" "$1" 100 "$conclave" "${@:2}" > "$scratch/said" 2>&1 < /dev/null
}
digest() { "$conclave" inspect --digests --checkpoint "$1" | awk '$2 == "all" { print $1 }'; }
ranks_of_job() { pgrep -f -- "conclave train --out $disk/run " | while read -r p; do
  [ "$(readlink "/proc/$p/exe")" = "$(readlink -f "$conclave")" ] && echo "$p"; done; }
# Ranks notice within a second that their launcher was killed, on a busy machine later.
ranks_end() {
  local tries
  for ((tries = 0; tries < 100; ++tries)); do
    [ -n "$(ranks_of_job)" ] || return 0
    sleep 0.1
  done
  return 1
}
# Draws are taken by this shell, not by one below it, which would draw the same again and again.
choose() { # WORD...
  chosen=
  [ $# = 0 ] || chosen=${*:RANDOM % $# + 1:1}
}
wait_a_while() { # SECONDS AT MOST
  local draw=$RANDOM
  sleep "$(awk -v draw=$draw -v most="$1" 'BEGIN { print most * draw / 32768 }')"
}
signal_one_rank() {
  choose $(ranks_of_job)
  [ -z "$chosen" ] || kill "$1" "$chosen" 2>/dev/null
}

kill_rank() { signal_one_rank -9; }
kill_all_ranks() { kill -9 $(ranks_of_job) 2>/dev/null; }
kill_launcher() { kill -9 $(pgrep -f -- "^mpirun .*--out $disk/run ") 2>/dev/null; }
# A rank that is alone and stopped cannot tell anybody; and until the program runs, MPI waits for ever. Then it speaks.
# In MPI_Finalize a rank takes leave of its launcher, some 40 ms, after all have met for the last time: the others end,
# their work done, and one that is stopped there is alone until somebody ends it.
alone_at_end=0
stop_rank() {
  until [ -s "$scratch/said" ] || ! kill -0 "$job" 2>/dev/null; do sleep 0.05; done
  [ "$ranks" != 1 ] || return
  signal_one_rank -STOP
  local seconds_alone=0
  while [ -n "$chosen" ] && kill -0 "$chosen" 2>/dev/null; do
    sleep 1
    if [ "$(ranks_of_job)" = "$chosen" ]; then ((++seconds_alone)); else seconds_alone=0; fi
    if ((seconds_alone == 15)) && [ -s "$disk/run/step-00000$steps.h5" ]; then
      ((++alone_at_end))
      kill -9 "$chosen"
    fi
    ((SECONDS < 60)) || break
  done
}
end_launcher() { kill -TERM $(pgrep -f -- "^mpirun .*--out $disk/run ") 2>/dev/null; }
fill_disk() {
  head -c 30m /dev/zero > "$disk/filled" 2>/dev/null
  wait_a_while 2
  rm -f "$disk/filled"
}
kinds=(kill_rank kill_all_ranks kill_launcher stop_rank end_launcher)
[ $can_fill = no ] || kinds+=(fill_disk)
declare -A done_of
for kind in "${kinds[@]}"; do done_of[$kind]=0; done

launch 1 train --out "$scratch/reference" "${options[@]}" || { cat "$scratch/said"; exit 1; }
reference=$(digest "$scratch/reference")
[ -n "$reference" ] || { echo "campaign.sh: the reference run left no digest" >&2; exit 1; }

wrong=0 hung=0 jobs=0 interruptions=0
for ((round = 1; round <= rounds; ++round)); do
  rm -rf "$disk/run"
  for ((attempt = 0; ; ++attempt)); do
    ranks=$((RANDOM % 4 + 1))
    launch "$ranks" train --out "$disk/run" --resume auto "${options[@]}" --hang-timeout 8 &
    job=$!
    ((++jobs))
    kind=none SECONDS=0
    if ((attempt < 4)); then
      choose "${kinds[@]}"
      kind=$chosen
      wait_a_while 3
      if kill -0 $job 2>/dev/null; then
        $kind
        ((++interruptions, ++done_of[$kind]))
      fi
    fi
    status=0
    wait $job || status=$?
    if ((SECONDS >= 90 && status != 0)); then  # ended by the limit of the launch
      ((++hung))
      echo "round $round: $ranks ranks hung after $kind:"
      tail -5 "$scratch/said"
    fi
    if ! ranks_end; then
      ((++hung))
      echo "round $round: ranks of $ranks were left 10 s after the job's end by $kind (status $status):"
      ps -o pid,stat,wchan:20,etime,args -p "$(ranks_of_job | paste -sd,)"
      tail -5 "$scratch/said"
      kill_all_ranks
    fi
    [ $status != 0 ] || break
    ((attempt < 20)) || { echo "round $round: no end after $attempt attempts:"; tail -5 "$scratch/said"; ((++hung)); break; }
  done
  if [ "$(digest "$disk/run")" != "$reference" ]; then
    ((++wrong))
    echo "round $round: wrong bits after $kind on $ranks ranks (status $status)"
    tail -5 "$scratch/said"
  fi
done

echo "$rounds rounds, $jobs jobs, $interruptions interruptions, seed $seed; wrong bits: $wrong, hangs: $hung"
for kind in "${kinds[@]}"; do printf '  %-15s %d\n' "$kind" "${done_of[$kind]}"; done
((alone_at_end == 0)) || echo "  of the stopped ranks, alone at the end of their work: $alone_at_end"
((wrong == 0 && hung == 0))
