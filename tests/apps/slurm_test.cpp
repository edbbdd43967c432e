// SPDX-License-Identifier: BSD-3-Clause
// `conclave slurm`: what it prints, where its numbers come from, and that what is wrong is told before a job is there.
// That the jobs run is for tests/slurm.
#include "tests/apps/program.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gmock/gmock.h>

#include <filesystem>

namespace conclave {
namespace {

using test::conclave;
using test::content_of;
using test::count;
using test::on_ranks;
using test::Outcome;
using testing::HasSubstr;
using train::TemporaryFolder;

const std::string small =
    " --layers 1 --width 24 --heads 2 --context 8 --experts 3 --expert-hidden 16 --sequences 6 --groups 3 "
    "--eval-sequences 3 --eval-every 0 ";

// Memory of a node in a printed job [MiB].
Index memory_of(const std::string& job) {
  const auto at = job.find("#SBATCH --mem=");
  return at == std::string::npos ? -1 : std::stoll(job.substr(at + 14));
}

TEST(SlurmTrain, prints_a_job) {
  for (const Index ranks : {1, 3}) {
    const Outcome outcome = on_ranks(ranks, CONCLAVE_PROGRAM,
                                     "slurm train --nodes 2 --ntasks-per-node 4 --cpus-per-task 3 --time 90m --qos low "
                                     "--account \"'a b'\" runs/x -- --seed 7" +
                                         small);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    for (const char* line :
         {"#!/usr/bin/env bash\n", "#SBATCH --job-name=conclave-train\n", "#SBATCH --nodes=2\n", "#SBATCH --ntasks=8\n",
          "#SBATCH --ntasks-per-node=4\n", "#SBATCH --cpus-per-task=3\n", "#SBATCH --time=0-01:30:00\n",
          "#SBATCH --requeue\n", "#SBATCH --signal=B:USR1@300\n", "#SBATCH --open-mode=append\n", "#SBATCH --qos=low\n",
          "#SBATCH --exclusive\n", "\nset -- runs/x --seed 7 --layers 1 ", "source \"$slurm_folder/environment.sh\"\n",
          "--resume auto \"${@:2}\"\n"}) {
      EXPECT_EQ(count(outcome.output, line), 1) << line << outcome.output;
    }
    EXPECT_EQ(count(outcome.output, "#SBATCH --mem="), 1) << outcome.output;
  }
}

TEST(SlurmTrain, asks_for_the_memory_of_all_ranks_of_a_node) {
  const std::string wide = small + "--threads 1 ";
  const auto memory = [&](const std::string& of_job, const std::string& of_run) {
    return memory_of(conclave("slurm train --time 1h " + of_job + "x -- " + wide + of_run).output);
  };
  const Index one = memory("", "");
  EXPECT_GT(one, 0);
  EXPECT_GT(memory("--ntasks-per-node 4 ", ""), one);
  EXPECT_EQ(memory("--mem 3G ", ""), 3);
  // Larger by a table of parameters, of which a rank keeps several copies.
  EXPECT_GT(memory("", "--dense-hidden 400000 --moe-every 0 "), one + 70);
}

TEST(SlurmTrain, takes_the_time_from_a_run) {
  const TemporaryFolder folder;
  const std::string run = folder.path("run");
  const std::string options = small + "--checkpoint-every 4 ";
  ASSERT_EQ(on_ranks(2, CONCLAVE_PROGRAM, "train --threads 1 --steps 10 --out " + run + options).exit_code, 0);
  const std::string from = "slurm train --from-run " + run;
  const Outcome same = conclave(from + " --ntasks-per-node 2 x -- --steps 2000000000 " + options);
  EXPECT_EQ(same.exit_code, 0) << same.output;
  EXPECT_THAT(same.output, HasSubstr("the median of 9 steps of " + run + " on as many ranks; a save "));
  EXPECT_EQ(count(same.output, "was not measured"), 0) << same.output;
  EXPECT_EQ(count(same.output, "that run had other options"), 0) << same.output;
  EXPECT_EQ(count(same.output, "#SBATCH --time=0-"), 0) << same.output;  // days
  const Outcome other = conclave(from + " --ntasks-per-node 2 x -- --steps 20 --top-k 1 " + options);
  EXPECT_THAT(other.output, HasSubstr("that run had other options: top_k 2, here 1\n"));
  const Outcome ranks = conclave(from + " --ntasks-per-node 4 x -- " + options);
  EXPECT_EQ(ranks.exit_code, 1) << ranks.output;
  EXPECT_THAT(ranks.output, HasSubstr("was measured on 2 ranks of 1 threads, this job has 4 of 1"));
  const Outcome given = conclave("slurm train --step-time 1m --time 1h x -- --steps 600 " + options);
  EXPECT_THAT(given.output, HasSubstr("the time limit is shorter: about 12 starts"));
}

TEST(SlurmTrain, looks_at_every_task_of_an_array) {
  const Outcome good = conclave("slurm train --time 1h --array 1-3 x-%a -- --seed %a" + small);
  EXPECT_EQ(good.exit_code, 0) << good.output;
  EXPECT_EQ(count(good.output, "#SBATCH --array=1-3\n"), 1) << good.output;
  EXPECT_EQ(count(good.output, "\nset -- x-%a --seed %a "), 1) << good.output;
  const Outcome one_wrong = conclave("slurm train --time 1h --array 1-3 x-%a -- --top-k %a --experts 2");
  EXPECT_NE(one_wrong.exit_code, 0) << one_wrong.output;
  EXPECT_THAT(one_wrong.output, HasSubstr("top_k"));
  EXPECT_THAT(conclave("slurm train --time 1h --array 1-3 x --").output, HasSubstr("would all write into x"));
}

TEST(SlurmTrain, refuses_what_would_fail_in_the_queue) {
  for (const auto& [arguments, part] : std::vector<std::pair<std::string, std::string>>{
           {"train --time 1h x -- --stepss 3", "unknown option '--stepss'; did you mean --steps?"},
           {"train --time 1h x -- --top-k 5 --experts 2", "top_k"},
           {"train --time 1h x -- --data /nonexistent/file", "/nonexistent/file"},
           {"train --time 1h x -- --config /nonexistent/file", "/nonexistent/file"},
           {"train --time 1h x -- --out y", "option '--out' behind '--'"},
           {"train --time 1h x -- --threads 3", "threads = 3 with cpus_per_task = 1"},
           {"train --time 1h x -- --seed", "option '--seed' needs a value"},
           {"train --time 1h", "no FOLDER"},
           {"train --time 1h -- --seed 3", "no FOLDER"},
           {"train x", "how long the training takes is not known"},
           {"train --time 1h --job-files /nonexistent x", "there are no job files in '/nonexistent'"},
           {"train --time 1h --job-name 'a\nb' x", "job-name"},
           {"scaling --nodes 2 x -- --ranks 1,4", "ranks has 4, the job 2"},
           {"scaling x -- --rankz 1", "unknown option '--rankz'"},
           {"scaling x -- --points y", "option '--points' behind '--'"},
           {"simulate x -- stepp", "unknown simulate 'stepp'; did you mean step?"},
           {"simulate x -- step --cluster laptop -- step --wavez 2", "unknown option '--wavez'; did you mean --waves?"},
           {"simulate x -- step --cluster /nonexistent/file", "cluster: '/nonexistent/file' is no file and no preset"},
           {"simulate x -- step --cluster laptop --json", "option '--json' behind '--'"},
           {"simulate x -- step --cluster laptop --", "simulate"},
           {"simulate --ntasks 2 x -- step --cluster laptop", "2 ranks for simulations"},
           {"simulate --array 1-2 x -- step --cluster laptop", "would all write into x"},
           {"simulate x", "nothing to simulate"},
           {"bench x gemmm", "unknown bench 'gemmm'; did you mean gemm?"}}) {
    const Outcome outcome = conclave("slurm " + arguments);
    EXPECT_NE(outcome.exit_code, 0) << arguments;
    EXPECT_THAT(outcome.output, HasSubstr(part)) << arguments;
    EXPECT_EQ(count(outcome.output, "hint: "), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "#SBATCH"), 0) << outcome.output;
  }
}

TEST(SlurmSimulate, prints_a_job_of_one_core) {
  const Outcome outcome = conclave(
      "slurm simulate --array 1-2 --time 10m predicted/%a -- step --cluster laptop --waves %a -- exchange --cluster "
      "laptop");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  for (const char* line :
       {"#SBATCH --job-name=conclave-simulate\n", "#SBATCH --ntasks=1\n", "#SBATCH --cpus-per-task=1\n",
        "#SBATCH --mem=4G\n", "#SBATCH --array=1-2\n", "#SBATCH --time=0-00:10:00\n",
        "\nset -- predicted/%a step --cluster laptop --waves %a -- exchange --cluster laptop\n"}) {
    EXPECT_EQ(count(outcome.output, line), 1) << line << outcome.output;
  }
  EXPECT_EQ(count(outcome.output, "--exclusive"), 0) << outcome.output;
}

// A `sinfo` in front of any other, that answers as this machine's SLURM would.
TEST(Slurm, warns_of_more_than_the_partition_has) {
  const TemporaryFolder folder;
  folder.write("bin/sinfo",
               "#!/bin/sh\necho 'small* 2 4000 1:00:00'\necho 'big 3 64000+ infinite'\necho 'big 1 128000 infinite'\n");
  std::filesystem::permissions(folder.path("bin/sinfo"), std::filesystem::perms::owner_all);
  const auto job = [&](const std::string& options) {
    return test::run(fmt::format("PATH={}:$PATH timeout 100 {} slurm scaling {} measured", folder.path("bin"),
                                 CONCLAVE_PROGRAM, options));
  };
  const Outcome all = job("--nodes 3 --mem 5G --time 90m");
  EXPECT_EQ(all.exit_code, 0) << all.output;
  for (const char* sentence :
       {"warning: the job asks for 3 nodes, partition small has 2\n",
        "warning: the job asks for 5G of memory a node, the largest of partition small has 4000M\n",
        "warning: the job asks for a time of 0-01:30:00, partition small gives 1h at most\n"}) {
    EXPECT_EQ(count(all.output, sentence), 2) << sentence << all.output;  // on stderr, and in the job
    EXPECT_EQ(count(all.output, std::string("\n# ") + sentence), 1) << sentence << all.output;
  }
  EXPECT_EQ(count(job("--nodes 2 --mem 4000M --time 1h").output, "warning:"), 0);
  EXPECT_EQ(count(job("--nodes 4 --mem 100G --time 90d --partition big").output, "warning:"), 0);
  EXPECT_EQ(count(job("--nodes 5 --partition big").output, "partition big has 4\n"), 2);
  EXPECT_EQ(count(job("--nodes 5 --partition none").output, "warning:"), 0);
  folder.write("bin/sinfo",
               "#!/bin/sh\necho 'slurm_load_partitions: Unable to contact slurm controller' >&2\nexit 1\n");
  EXPECT_EQ(count(job("--nodes 500").output, "warning:"), 0);
}

TEST(Slurm, writes_new_files_alone) {
  const TemporaryFolder folder;
  const std::string file = folder.path("job");
  for (const std::string job : {"scaling --nodes 2", "bench"}) {
    std::filesystem::remove(file);
    const std::string arguments = "slurm " + job + " --write " + file + " measured";
    const Outcome outcome = conclave(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(outcome.output, "");
    EXPECT_THAT(content_of(file), HasSubstr("\nset -- measured\n"));
    EXPECT_THAT(content_of(file), HasSubstr("#SBATCH --mem=0\n"));
    EXPECT_EQ(test::run("bash -n " + file).exit_code, 0);
    EXPECT_THAT(conclave(arguments).output, HasSubstr("is there already"));
  }
}

}  // namespace
}  // namespace conclave
