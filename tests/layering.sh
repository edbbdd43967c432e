#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# layering.sh [ROOT]: whether the sources keep to the house rules: which target may include which, where MPI, BLAS, the
# environment and other libraries may be touched, and the licence line of every file. Names every breach; fails on any.
# layering.sh --self-test: whether it would notice: breaks each rule in a small tree of its own.
set -eu

# The C++ sources and build files of a tree.
sources() { find runtime comm gating experts apps tests \( -name '*.cpp' -o -name '*.hpp' \) 2>/dev/null | sort; }
texts() {
  find . -path ./build -prune -o -path ./.git -prune -o -type f \
    \( -name '*.cpp' -o -name '*.hpp' -o -name '*.sh' -o -name '*.cmake' -o -name CMakeLists.txt -o -name '*.sbatch' \
    -o -name packages.txt -o -path './.ci/*' -o -path './slurm/*' \) -print | sort
}

check_sources() {
  # shellcheck disable=SC2046  # no source's name has a space
  awk '
    BEGIN {
      # Which of the project'"'"'s targets a target may use. The table of CMakeLists.txt and of the design.
      may["core"] = "core"
      may["plan"] = "plan core"
      may["gating"] = "gating core"
      may["experts"] = "experts core"
      may["comm"] = "comm core plan"
      may["sim"] = "sim core plan gating experts"
      may["model"] = "model core plan gating experts comm"
      may["train"] = "train core plan gating experts comm model"
      may["infer"] = "infer core plan gating experts comm model"
      may["apps"] = "apps core plan gating experts comm sim model infer train"
      may["tests"] = "tests apps core plan gating experts comm sim model infer train"
      # Which targets may include a library, by the beginning of its headers'"'"' names. Standard headers have no dot.
      library["fmt/"] = "core plan gating experts comm sim model infer train apps tests"
      library["boost/"] = "apps"
      library["hdf5"] = "train sim apps tests"
      library["H5"] = "train sim apps tests"
      library["nlohmann/"] = "train sim apps tests"
      library["Random123/"] = "core"
      library["xsimd/"] = "core"
      library["xxhash.h"] = "core"
      library["omp.h"] = "core"
      library["cblas.h"] = "core"
      library["dnnl.h"] = "core"
      library["mpi.h"] = "comm"
      library["simgrid/"] = "tests"
      library["gtest/"] = "tests"
      library["gmock/"] = "tests"
      # Of the operating system and the compiler.
      split("sys/ sanitizer/ unistd.h sched.h signal.h spawn.h fcntl.h dirent.h netdb.h poll.h pthread.h cpuid.h execinfo.h immintrin.h", os, " ")
      for (i in os) library[os[i]] = "core comm sim train apps tests"
    }
    function target_of(path) {
      if (path ~ /^runtime\/(core|sim|model|infer|train)\//) { split(path, part, "/"); return part[2] }
      if (path ~ /^comm\/plan\//) return "plan"
      if (path ~ /^comm\/mpi\//) return "comm"
      if (path ~ /^(gating|experts|apps|tests)\//) { split(path, part, "/"); return part[1] }
      return ""
    }
    function allowed(target, targets) { return index(" " targets " ", " " target " ") > 0 }
    function breach(rule, text) { printf "%s:%d: [%s] %s\n", FILENAME, FNR, rule, text; breaches = 1 }
    function check_own(target, header,   used) {
      used = target_of(header)
      if (used == "") breach("root", "\"" header "\" is no path from the root to a target")
      else if (!allowed(used, may[target])) breach("target", target " may not use " used " (" header ")")
      else if (target == "sim" && used == "experts" && header !~ /^experts\/placement/)
        breach("target", "of experts, sim may use the placement only (" header ")")
    }
    function check_library(target, header,   prefix) {
      if (header !~ /[.\/]/) return
      for (prefix in library) {
        if (index(header, prefix) != 1) continue
        if (!allowed(target, library[prefix])) breach("library", target " may not include <" header ">")
        else if ((prefix == "cblas.h" || prefix == "dnnl.h") && FILENAME != "runtime/core/gemm.cpp")
          breach("library", "<" prefix "> is for runtime/core/gemm.cpp alone")
        return
      }
      breach("library", "<" header "> is in no table of tests/layering.sh")
    }
    FNR == 1 { target = target_of(FILENAME) }
    target == "" { if (FNR == 1) breach("root", "the file belongs to no target"); next }
    /^[ \t]*#[ \t]*include[ \t]*"/ { split($0, part, "\""); check_own(target, part[2]); next }
    /^[ \t]*#[ \t]*include[ \t]*</ { split($0, part, /[<>]/); check_library(target, part[2]); next }
    {
      # Comments and texts may speak of anything.
      gsub(/\\\\|\\"/, ""); gsub(/"[^"]*"/, "\"\""); sub(/\/\/.*/, "")
      if (target != "comm" && target != "tests" && /(^|[^A-Za-z0-9_])P?MPI_[A-Za-z]/)
        breach("mpi", "MPI is called in comm/mpi only")
      if (target != "apps" && target != "tests" && /(^|[^A-Za-z0-9_])(secure_)?getenv([^A-Za-z0-9_]|$)/)
        breach("getenv", "the environment is read in apps only")
    }
    END { exit breaches }
  ' $(sources)
}

check_licences() {
  # The first line, or the second behind #!.
  # shellcheck disable=SC2046  # no file's name has a space
  awk '
    BEGIN {
      for (i = 1; i < ARGC; ++i) {
        line = ""
        getline line < ARGV[i]
        if (line ~ /^#!/) { line = ""; getline line < ARGV[i] }
        close(ARGV[i])
        if (line ~ /SPDX-License-Identifier: BSD-3-Clause/) continue
        printf "%s:1: [licence] the first line must be SPDX-License-Identifier: BSD-3-Clause\n", ARGV[i]
        breaches = 1
      }
      exit breaches
    }
  ' $(texts)
}

check() (
  cd "$1"
  [ -n "$(sources)" ] || { echo "layering: no sources in $1"; exit 1; }
  failed=0
  check_sources || failed=1
  check_licences || failed=1
  exit $failed
)

# --- Self-test ---

write() { mkdir -p "$(dirname "$tree/$1")"; printf '%s\n' "// SPDX-License-Identifier: BSD-3-Clause" "${@:2}" >"$tree/$1"; }

write_clean_tree() {
  write runtime/core/a.cpp '#include "runtime/core/a.hpp"' '#include <vector>' '#include <xxhash.h>' '#include <fmt/core.h>'
  write runtime/core/gemm.cpp '#include <cblas.h>'
  write comm/plan/a.cpp '#include "runtime/core/a.hpp"'
  write comm/mpi/a.cpp '#include <mpi.h>' '#include "comm/plan/a.hpp"' 'int x = MPI_Init(0, 0);'
  write gating/a.cpp '#include "runtime/core/a.hpp"' '// MPI_Init and getenv in a comment' 'auto t = "MPI_Init \" getenv(";'
  write experts/a.cpp '#include "experts/a.hpp"'
  write runtime/sim/a.cpp '#include "experts/placement.hpp"' '#include <nlohmann/json.hpp>'
  write runtime/model/a.cpp '#include "gating/a.hpp"' '#include "experts/a.hpp"' '#include "comm/mpi/a.hpp"'
  write runtime/train/a.cpp '#include "runtime/model/a.hpp"' '#include <hdf5.h>' '#include <unistd.h>'
  write apps/a.cpp '#include "runtime/sim/a.hpp"' '#include <boost/any.hpp>' 'auto home = std::getenv("HOME");'
  write tests/a.cpp '#include "apps/a.hpp"' '#include <gtest/gtest.h>' 'int x = MPI_Barrier(c); getenv("HOME");'
  mkdir -p "$tree/scripts"
  printf '#!/bin/sh\n# SPDX-License-Identifier: BSD-3-Clause\n' >"$tree/scripts/a.sh"
}

# mutant RULE FILE LINE: a tree with LINE added to FILE must be found to break RULE there, and only there.
mutant() {
  rm -rf "$tree" && write_clean_tree
  mkdir -p "$(dirname "$tree/$2")"
  if [ -f "$tree/$2" ]; then printf '%s\n' "$3" >>"$tree/$2"; else write "$2" "$3"; fi
  expect_breach "$@"
}
expect_breach() {
  local found
  num_mutants=$((num_mutants + 1))
  if found=$(check "$tree") || [ "$(grep -c . <<<"$found")" != 1 ] || ! grep -q "^\(\./\)\?$2:[0-9]*: \[$1\]" <<<"$found"; then
    echo "not noticed: [$1] in $2: $3"
    echo "${found:-(no breach found)}"
    self_test_failed=1
  fi
}

self_test() {
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT
  num_mutants=0
  self_test_failed=0
  write_clean_tree
  check "$tree" || { echo "the clean tree is not found clean"; exit 1; }

  mutant target runtime/core/a.cpp '#include "comm/plan/a.hpp"'
  mutant target comm/plan/a.cpp '#include "gating/a.hpp"'
  mutant target gating/a.cpp '#include "experts/a.hpp"'
  mutant target gating/a.cpp '#include "comm/plan/a.hpp"'
  mutant target experts/a.cpp '  #  include "gating/a.hpp"'
  mutant target comm/mpi/a.cpp '#include "gating/a.hpp"'
  mutant target runtime/sim/a.cpp '#include "comm/mpi/a.hpp"'
  mutant target runtime/sim/a.cpp '#include "experts/shard.hpp"'
  mutant target runtime/model/a.cpp '#include "runtime/train/a.hpp"'
  mutant target runtime/infer/a.cpp '#include "runtime/train/a.hpp"'
  mutant target runtime/train/a.cpp '#include "runtime/sim/a.hpp"'
  mutant target runtime/train/a.cpp '#include "apps/a.hpp"'
  mutant target apps/a.cpp '#include "tests/a.hpp"'
  mutant root gating/a.cpp '#include "a.hpp"'
  mutant root gating/a.cpp '#include "../runtime/core/a.hpp"'
  mutant root runtime/other/a.cpp 'int x = 0;'
  mutant library comm/plan/a.cpp '#include <mpi.h>'
  mutant library tests/a.cpp '#include <mpi.h>'
  mutant library runtime/train/a.cpp '#include <boost/program_options.hpp>'
  mutant library runtime/model/a.cpp '#include <hdf5.h>'
  mutant library comm/mpi/a.cpp '#include <H5Cpp.h>'
  mutant library gating/a.cpp '#include <nlohmann/json.hpp>'
  mutant library gating/a.cpp '#include <Random123/philox.h>'
  mutant library experts/a.cpp '#include <xsimd/xsimd.hpp>'
  mutant library runtime/model/a.cpp '#include <xxhash.h>'
  mutant library experts/a.cpp '#include <omp.h>'
  mutant library runtime/core/a.cpp '#include <cblas.h>'
  mutant library runtime/core/a.cpp '#include <dnnl.h>'
  mutant library apps/a.cpp '#include <cblas.h>'
  mutant library apps/a.cpp '#include <gtest/gtest.h>'
  mutant library runtime/sim/a.cpp '#include <simgrid/s4u.hpp>'
  mutant library gating/a.cpp '#include <unistd.h>'
  mutant library apps/a.cpp '#include <curl/curl.h>'
  mutant mpi runtime/train/a.cpp 'int x = MPI_Barrier(c);'
  mutant mpi apps/a.cpp 'MPI_Comm c;'
  mutant mpi gating/a.cpp 'auto t = "text"; PMPI_Finalize();  // a comment'
  mutant getenv runtime/core/a.cpp 'auto x = std::getenv("HOME");'
  mutant getenv comm/mpi/a.cpp 'auto x = secure_getenv("HOME");'
  local file
  for file in gating/bare.hpp tests/bare.sh cmake/bare.cmake gating/CMakeLists.txt .ci/run slurm/bare; do
    rm -rf "$tree" && write_clean_tree
    mkdir -p "$(dirname "$tree/$file")"
    echo >"$tree/$file"
    expect_breach licence "$file" "no licence line"
  done
  rm -rf "$tree" && mkdir "$tree"
  if check "$tree" >/dev/null; then echo "a tree without sources is found clean"; self_test_failed=1; fi
  echo "layering: $num_mutants broken trees tried"
  exit $self_test_failed
}

if [ "${1:-}" = --self-test ]; then
  self_test
else
  check "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"
fi
