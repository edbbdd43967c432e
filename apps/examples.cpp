// SPDX-License-Identifier: BSD-3-Clause
#include "apps/examples.hpp"

#include "runtime/core/error.hpp"

#include <map>
#include <vector>

namespace conclave::apps {
namespace {

using Lines = std::vector<std::string_view>;

const std::map<std::string_view, Lines>& all_examples() {
  static const std::map<std::string_view, Lines> all{
      {"train", {"conclave train --data corpus.txt --out run", "mpirun -n 4 conclave train --resume run --steps 2000"}},
      {"evaluate", {"conclave evaluate --checkpoint run"}},
      {"generate",
       {"conclave generate --checkpoint run --prompt Once --temperature 0.7 --top-p 0.95",
        "mpirun -n 4 conclave generate --checkpoint run --prompt-file prompts.txt --samples 4"}},
      {"watch", {"conclave watch run"}},
      {"report", {"conclave report run --out report.html", "conclave report runs/a runs/b --svg-folder pictures"}},
      {"bench gemm", {"conclave bench gemm --rows 512 --width 512 --hidden 2048"}},
      {"bench memory", {"conclave bench memory"}},
      {"bench exchange", {"mpirun -n 2 conclave bench exchange"}},
      {"bench gate", {"conclave bench gate --tokens 4096 --width 512 --experts 16"}},
      {"bench layer", {"mpirun -n 2 conclave bench layer --tokens 4096 --width 512 --hidden 2048 --experts 16"}},
      {"bench step", {"mpirun -n 2 conclave bench step --layers 4 --width 256"}},
      {"bench reduce", {"mpirun -n 4 conclave bench reduce --elements 1000000"}},
      {"bench checkpoint", {"mpirun -n 2 conclave bench checkpoint --layers 6 --width 256"}},
      {"bench scaling", {"conclave bench scaling --ranks 1,2,4 --picture scaling.svg"}},
      {"bench calibrate", {"mpirun -n 2 conclave bench calibrate --threads 1 --out machine.json"}},
      {"simulate exchange",
       {"conclave simulate exchange --cluster fat-tree-100g --bytes-per-rank 16e6 --strategy flat"}},
      {"simulate step", {"conclave simulate step --cluster fat-tree-100g --bytes-per-rank 16e6 --waves 4"}},
      {"simulate run", {"conclave simulate run --config run/config.ini --cluster fat-tree-100g --ranks 2:1024:x2"}},
      {"simulate explain", {"conclave simulate explain --config run/config.ini --cluster fat-tree-100g --ranks 256"}},
      {"simulate optimise", {"conclave simulate optimise --config run/config.ini --cluster fat-tree-100g"}},
      {"simulate replay",
       {"conclave simulate replay routing.jsonl --config run/config.ini --cluster fat-tree-100g --ranks 16,64"}},
      {"simulate validate", {"conclave simulate validate --machine machine.json run"}},
      {"inspect",
       {"conclave inspect --checkpoint run", "conclave inspect --verify run",
        "conclave inspect --routing --checkpoint run --sentence Romeo --html routing.html"}},
      {"export", {"conclave export --checkpoint run --out model.safetensors"}},
      {"import", {"conclave import --file model.safetensors --out again"}},
      {"edit", {"conclave edit --checkpoint run --out finer --split-experts 2"}},
      {"compress",
       {"conclave compress --checkpoint run --quantise int8 --out small.safetensors",
        "mpirun -n 2 conclave compress --checkpoint run --distil --distil-steps 300 --out student"}},
      {"check", {"mpirun -n 2 conclave check case.h5"}},
      {"doctor", {"mpirun -n 2 conclave doctor"}},
      {"slurm train", {"conclave slurm train --nodes 4 --time 8h runs/big -- --data corpus --steps 100000"}},
      {"slurm scaling", {"conclave slurm scaling --nodes 16 --ntasks-per-node 2 measured -- --tokens 4096"}},
      {"slurm bench", {"conclave slurm bench --nodes 2 measured"}},
      {"slurm simulate", {"conclave slurm simulate predicted -- step --cluster fat-tree-200g"}},
  };
  return all;
}

}  // namespace

std::span<const std::string_view> examples_of(std::string_view command) {
  const auto found = all_examples().find(command);
  invariant(found != all_examples().end(), "no example of the command '{}'", command);
  return found->second;
}

}  // namespace conclave::apps
