#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# hang_test.sh CONCLAVE STOP_AT_END: a rank that is stopped, or dies, ends the job in bounded time with a word about who
# and where, also when its work is done (STOP_AT_END: the library that stops it there).
set -euo pipefail
conclave=$1 stop_at_end=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "hang_test: $*" >&2
  cat "$folder/said" >&2
  exit 1
}

# The process of a rank of the run in a folder.
process_of() { # RUN RANK
  local process
  for process in $(pgrep -f -- "train --out $1 " || true); do
    if tr '\0' '\n' 2>/dev/null < "/proc/$process/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$2"; then
      echo "$process"
      return
    fi
  done
}

# Starts a run on three ranks that would take hours, waits for its first checkpoint and sends a signal to rank 1; the
# job's exit status is in $status, what it said in $folder/said.
run_and_signal() { # RUN SIGNAL
  "$here/../support/mpirun.sh" 3 100 "$conclave" train --out "$1" --layers 2 --width 64 --heads 2 --context 64 \
    --experts 6 --expert-hidden 64 --sequences 6 --groups 6 --steps 10000000 --checkpoint-every 5 --eval-every 0 --hang-timeout 3 \
    > "$folder/said" 2>&1 &
  local job=$! i
  for ((i = 0; i < 600; ++i)); do
    compgen -G "$1/step-*.h5" > /dev/null && break
    sleep 0.1
  done
  local process
  process=$(process_of "$1" 1)
  [[ -n $process ]] || fail "rank 1 was not found"
  kill "-$2" "$process"
  SECONDS=0
  status=0
  wait "$job" || status=$?
  ((SECONDS < 30)) || fail "the job needed $SECONDS s to end after $2"
  ((status != 0)) || fail "exit status 0 after $2"
}

says() { grep -Eq -- "$1" "$folder/said" || fail "nothing like '$1' was said"; }

run_and_signal "$folder/stopped" STOP
((status == 76)) || fail "exit status $status instead of 76"
says '^conclave train: no progress for [0-9]+ s: rank [02] waits in [a-z]+.* for rank.* 1'
says '^  rank 1 keeps it waiting: last seen in .*process [0-9]+ is stopped'
says '^  saved last: .*/step-[0-9]+\.h5'
(($(grep -c 'no progress for' "$folder/said") == 1)) || fail "said more than once"
grep -q '^rank 1 .* places passed' "$folder"/stopped/hang-*.txt || fail "no state was written"

run_and_signal "$folder/killed" KILL
says '^conclave train: rank 1 died in .*: its process [0-9]+ has gone'
says '^  saved last: .*/step-[0-9]+\.h5'

# What remains can be gone on with.
"$here/../support/mpirun.sh" 2 100 "$conclave" train --resume "$folder/killed" --steps 10 --stop-after 10 \
  > "$folder/said" 2>&1 || true
says 'resumed from|nothing to do'

# Rank 2 of three stands still when all steps are done: a training's windows are freed under its watchdog or after it.
run_and_stop_in() { # RUN FUNCTION
  local train=("$conclave" train --out "$1" --layers 1 --width 16 --heads 2 --context 16 --experts 3 --expert-hidden 16
    --sequences 3 --groups 3 --steps 3 --eval-every 0 --hang-timeout 3)
  SECONDS=0
  status=0
  "$here/../support/mpirun.sh" 2 100 "${train[@]}" : -n 1 env LD_PRELOAD="$stop_at_end" STOP_IN="$2" "${train[@]}" \
    > "$folder/said" 2>&1 || status=$?
  ((SECONDS < 30)) || fail "the job needed $SECONDS s to end when a rank stood still in $2"
  ((status == 76)) || fail "exit status $status instead of 76 when a rank stood still in $2"
  [[ -s $1/step-00000003.h5 ]] || fail "no checkpoint of the last step when a rank stood still in $2"
}

run_and_stop_in "$folder/in-finalize" MPI_Finalize
says '^conclave: rank [01] of 3.* has been in MPI_Finalize, its work done, for [0-9]+ s'
run_and_stop_in "$folder/in-windows" MPI_Win_free
says 'no progress for|has been in MPI_Win_free, its work done, for'
echo "hang_test: passed"
