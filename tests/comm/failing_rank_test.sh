#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# failing_rank_test.sh PROGRAM: the program's last rank fails and aborts. The others must end with it, at once, with
# its exit code and its message.
set -eu
here=$(dirname "$0")
code=0
output=$("$here/../support/mpirun.sh" 3 60 "$1" 2>&1) || code=$?
printf '%s\n' "$output"
if [ "$code" -ne 3 ]; then
  echo "exit code $code, not 3"
  exit 1
fi
grep -q "error: the last rank fails" <<<"$output"
