#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# measure_test.sh CONCLAVE: one command each submits a scaling study over three numbers of ranks on two nodes, and
# measurements; their files have what they should.
source "$(dirname "$0")/cluster.sh"

layer=(--tokens 64 --width 16 --hidden 16 --experts 4 --groups 2 --repeats 2)
study=$(submit --ntasks-per-node=2 --output=scaling.out "$slurm/scaling.sbatch" scaling "${layer[@]}")
completed "$study" 120
for kind in strong weak; do
  [ "$(awk -F, -v kind=$kind '$1 == kind { print $2 }' scaling/scaling.csv | tr '\n' ' ')" = "1 2 4 " ] ||
    fail "scaling.csv does not have $kind scaling on 1, 2 and 4 ranks"
done
for file in scaling.txt scaling.json scaling.svg; do
  [ -s "scaling/$file" ] || fail "the study has not written $file"
done

bench=$(submit --ntasks-per-node=1 --output=bench.out "$slurm/bench.sbatch" bench checkpoint)
completed "$bench" 120
grep -q "2 ranks on 2 nodes" bench/doctor.txt || fail "the doctor has not looked at both nodes"
for file in checkpoint.txt checkpoint.json; do
  [ -s "bench/$file" ] || fail "bench.sbatch has not written $file"
done
[ -z "$(find bench -name 'step-*')" ] || fail "the measurement's checkpoints have stayed"

simulated=$(submit --output=simulated.out "$slurm/simulate.sbatch" predicted step --cluster laptop --waves 2 -- \
  exchange --cluster laptop)
completed "$simulated" 60
grep -q '"simulation": "step"' predicted/1.json || fail "simulate.sbatch has not written the first point"
grep -q '"simulation": "exchange"' predicted/2.json || fail "simulate.sbatch has not written the second point"
grep -qx "'--waves'" predicted/1.words || fail "the first point's words are not beside it"

! sbatch --wait --output=wrong.out "$slurm/simulate.sbatch" partly step --cluster none -- step --cluster laptop ||
  fail "a point that is none succeeds"
[ ! -e partly/1.json ] && [ -s partly/2.json ] || fail "a point that fails has kept another from being simulated"

! sbatch --wait --output=wrong.out "$slurm/bench.sbatch" bench nothing || fail "a measurement that is none succeeds"
