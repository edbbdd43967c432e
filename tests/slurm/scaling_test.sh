#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# scaling_test.sh CONCLAVE: a printed study of scaling, one of whose points fails. The others are measured all the same, the
# table names the one that is missing, and the study submitted again measures that one alone.
source "$(dirname "$0")/cluster.sh"

# As the program, but that it dies while it measures strong scaling on two ranks, for as long as there is a file `broken`.
cat >fragile <<PROGRAM
#!/usr/bin/env bash
"$CONCLAVE" "\$@" &
program=\$!
points() { all=(); [ ! -e study/points.jsonl ] || mapfile -t all <study/points.jsonl; }
points
before=\${#all[@]}
while kill -0 \$program 2>/dev/null; do
  points
  if [ -e broken ] && [ \${#all[@]} -gt \$before ] && [[ \${all[-1]} == '{"begins":{"kind":"strong","ranks":2}}' ]]; then
    kill -KILL \$program
  fi
  sleep 0.05
done
wait \$program
PROGRAM
chmod +x fragile

"$CONCLAVE" slurm scaling --nodes 2 --ntasks-per-node 2 --no-exclusive --time 10m --write study.sbatch study -- \
  --ranks 1,2,4 --tokens 512 --width 128 --hidden 256 --experts 4 --groups 4 --repeats 30 --exchange flat
sed "s|^CONCLAVE=.*|CONCLAVE=$work/fragile|" study.sbatch >fragile.sbatch
grep -q fragile fragile.sbatch || fail "the job's program was not replaced"
study() { cut -d, -f1,2 study/scaling.csv | tail -n +2 | tr '\n' ' '; }

touch broken
job=$(sbatch --parsable --output=broken.out fragile.sbatch)
wait_until 100 job_is "$job" 'FAILED|COMPLETED'
job_is "$job" FAILED || fail "a study that lacks a point succeeds"
[ "$(study)" = "strong,1 strong,4 weak,1 weak,2 weak,4 " ] || fail "the study has measured $(study)"
grep -q "missing: strong, 2 ranks" study/scaling.txt || fail "the table does not name what is missing"

rm broken
begun=$(grep -c begins study/points.jsonl)
job=$(sbatch --parsable --output=mended.out fragile.sbatch)
completed "$job" 60
[ "$(study)" = "strong,1 strong,2 strong,4 weak,1 weak,2 weak,4 " ] || fail "the study has measured $(study)"
[ "$(grep -c begins study/points.jsonl)" = $((begun + 1)) ] || fail "points were measured again"
grep -q missing study/scaling.txt && fail "the table lacks something still"
[ "$(grep -c '<svg ' study/scaling.svg)" = 1 ] || fail "there is no picture"
