// SPDX-License-Identifier: BSD-3-Clause
#include "apps/doctor.hpp"
#include "apps/launch.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/cpu.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/core/random.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>

namespace conclave::apps {
namespace {

constexpr double mib = 1024.0 * 1024.0;  // [bytes]

// The vector extensions that this program was compiled for, widest last.
std::string compiled_features() {
  std::vector<std::string> names;
#ifdef __AVX2__
  names.emplace_back("avx2");
#endif
#ifdef __FMA__
  names.emplace_back("fma");
#endif
#ifdef __AVX512F__
  names.emplace_back("avx512");
#endif
  return names.empty() ? "the architecture's baseline only" : fmt::format("{}", fmt::join(names, " "));
}

Finding examine_cpu() {
  Finding finding{Verdict::ok, "CPU", fmt::format("{}; built for {}", cpu_description(), compiled_features()), ""};
#if defined(__x86_64__) && !defined(__AVX512F__)
  __builtin_cpu_init();
#ifdef __AVX2__
  const bool leaves_unused = __builtin_cpu_supports("avx512f") != 0;
#else
  const bool leaves_unused = __builtin_cpu_supports("avx2") != 0;
#endif
  if (leaves_unused) {
    finding.verdict = Verdict::warn;
    finding.remedy =
        "this CPU has wider vector units than the program uses: build with -DCONCLAVE_ARCH=native, or with "
        "the oldest CPU of the cluster";
  }
#endif
  return finding;
}

Finding examine_blas(const BlasChoice& blas) {
  Finding finding{Verdict::ok, "BLAS", fmt::format("{}; kernels {}: {}", blas_library(), blas.loaded, blas.why), ""};
  if (blas.loaded == "unknown") {
    finding.verdict = Verdict::warn;
    finding.remedy = "with OpenBLAS its kernels could be checked and chosen";
  } else if (blas.better) {
    finding.verdict = Verdict::warn;
    finding.remedy = fmt::format("set OPENBLAS_CORETYPE={}", *blas.better);
  }
  return finding;
}

struct ProductTrial {
  double gflops = 0.0;    // [10^9 flop/s], best of several
  Index num_checked = 0;  // elements compared with a product in double
  Index num_wrong = 0;
};

Matrix<float> random_matrix(Index rows, Index cols, Index seed) {
  Matrix<float> result(rows, cols);
  const Random random(seed, RandomStream::initial);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < cols; ++j) result(i, j) = static_cast<float>(random.uniform(i, j) - 0.5);
  }
  return result;
}

// y = x w^T, timed, and every 61st element compared: a sum of k products in float is off by at most k eps sum |x w|.
ProductTrial try_product() {
  constexpr Index n = 512, m = 2048, k = 512;
  constexpr int num_repeats = 5;
  const Matrix<float> x = random_matrix(n, k, 1);  // [n, k]
  const Matrix<float> w = random_matrix(m, k, 2);  // [m, k]
  Matrix<float> y(n, m);
  double best_s = std::numeric_limits<double>::infinity();
  for (int repeat = 0; repeat < num_repeats; ++repeat) {
    const auto start = Clock::now();
    gemm_nt<float>(x, w, 0.0F, y);
    best_s = std::min(best_s, seconds_since(start));
  }
  ProductTrial trial{2.0 * n * m * k / best_s / 1e9, 0, 0};
  for (Index at = 0; at < n * m; at += 61) {
    const Index i = at / m;
    const Index j = at % m;
    double sum = 0.0;
    double magnitude = 0.0;
    for (Index c = 0; c < k; ++c) {
      const double term = static_cast<double>(x(i, c)) * static_cast<double>(w(j, c));
      sum += term;
      magnitude += std::abs(term);
    }
    const double bound = static_cast<double>(k) * std::numeric_limits<float>::epsilon() * magnitude;
    const double error = std::abs(static_cast<double>(y(i, j)) - sum);
    ++trial.num_checked;
    if (!(error <= bound)) ++trial.num_wrong;
  }
  return trial;
}

Finding examine_product(GemmBackend backend, const comm::Communicator& world) {
  const GemmBackend usual = gemm_backend();
  use_gemm_backend(backend);
  const ProductTrial trial = try_product();
  const std::string library = gemm_library();
  use_gemm_backend(usual);
  const std::int64_t num_wrong = world.sum(trial.num_wrong);
  const double slowest = -world.max(-trial.gflops);
  const double fastest = world.max(trial.gflops);
  const std::string speed = world.size() == 1 ? fmt::format("{:.1f} GFLOP/s", fastest)
                                              : fmt::format("{:.1f} to {:.1f} GFLOP/s a rank", slowest, fastest);
  Finding finding{Verdict::ok, fmt::format("{} product", name_of(backend)),
                  fmt::format("{} on one thread, best of 5 of 512 x 2048 x 512 in fp32", speed), ""};
  if (backend == GemmBackend::onednn) finding.text += "; " + library;
  if (backend == default_gemm_backend()) finding.text += "; the default of --gemm";
  if (num_wrong > 0) {
    finding.verdict = Verdict::fail;
    finding.text += fmt::format("; {} of {} elements are WRONG", num_wrong, world.sum(trial.num_checked));
    finding.remedy = "this library computes wrong results here: use the other --gemm, or other OPENBLAS_CORETYPE";
  }
  return finding;
}

// The CPUs a thread may run on, in one text: "0,1,5".
std::string cpu_list(Index& count) {
  cpu_set_t mask;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
    }
  }
  count = static_cast<Index>(cpus.size());
  return fmt::format("{}", fmt::join(cpus, ","));
}

// How many threads of this rank are bound to a CPU to which another one is bound, too.
Index num_threads_on_taken_cpus() {
  std::map<std::string, Index> threads_on;  // by the one CPU a thread is bound to
#pragma omp parallel num_threads(static_cast <int>(num_threads()))
  {
    Index count = 0;
    const std::string cpus = cpu_list(count);
#pragma omp critical
    if (count == 1) ++threads_on[cpus];
  }
  Index result = 0;
  for (const auto& [cpu, count] : threads_on) result += count - 1;
  return result;
}

Finding examine_threads(const comm::Communicator& world) {
  // Taken by a thread of its own making, so that binding by OpenMP does not narrow what the launcher gave.
  Index num_cpus = 0;
  const std::string cpus = cpu_list(num_cpus);
  const plan::Topology topology = world.topology();
  const std::vector<std::string> places =
      world.gather_all(fmt::format("{}:{}", topology.node(world.rank()).value(), cpus));
  const std::vector<std::int64_t> mine{num_threads(), num_cpus};
  const std::vector<std::int64_t> all = world.gather_all(std::span<const std::int64_t>(mine));

  struct Place {
    Index num_ranks = 0, num_threads = 0, num_cpus = 0;
  };
  std::map<std::string, Place> by_place;  // ranks of a node that have the same CPUs share them
  for (std::size_t rank = 0; rank < places.size(); ++rank) {
    Place& place = by_place[places[rank]];
    ++place.num_ranks;
    place.num_threads += all[2 * rank];
    place.num_cpus = all[2 * rank + 1];
  }
  const auto fullest = std::max_element(by_place.begin(), by_place.end(), [](const auto& a, const auto& b) {
                         return a.second.num_threads * b.second.num_cpus < b.second.num_threads * a.second.num_cpus;
                       })->second;
  Finding finding{Verdict::ok, "threads and CPUs",
                  fmt::format("{} rank{} with {} thread{} in all on {} CPU{}", fullest.num_ranks,
                              fullest.num_ranks == 1 ? "" : "s", fullest.num_threads,
                              fullest.num_threads == 1 ? "" : "s", fullest.num_cpus, fullest.num_cpus == 1 ? "" : "s"),
                  ""};
  const std::int64_t num_stacked = world.sum(num_threads_on_taken_cpus());
  if (fullest.num_threads > fullest.num_cpus) {
    finding.verdict = Verdict::warn;
    finding.remedy =
        "more threads than CPUs: start fewer ranks, set OMP_NUM_THREADS lower, or have the launcher bind "
        "each rank to CPUs of its own (mpirun --map-by slot:PE=THREADS, srun --cpus-per-task=THREADS)";
  } else if (num_stacked > 0) {
    finding.verdict = Verdict::warn;
    finding.text += fmt::format("; {} threads are bound to a CPU that another one has", num_stacked);
    finding.remedy = "set OMP_PROC_BIND=false, or OMP_PLACES to as many places as threads";
  }
  return finding;
}

double free_bytes(const char* path) {
  std::error_code error;
  const auto space = std::filesystem::space(path, error);
  return error ? -1.0 : static_cast<double>(space.available);
}

// Open MPI keeps the ranks' message buffers there; a full one kills a rank with a bus error.
Finding examine_shared_memory(const comm::Communicator& world) {
  const plan::Topology topology = world.topology();
  const auto local_ranks = static_cast<double>(topology.ranks(topology.node(world.rank())).size());
  const double needed = 16 * mib * local_ranks;
  const double available = free_bytes("/dev/shm");
  Finding finding{Verdict::ok, "shared memory", "", ""};
  if (world.any(available < 0)) {
    finding.text = "/dev/shm cannot be examined";
    return finding;
  }
  finding.text = fmt::format("{:.0f} MiB free in /dev/shm", -world.max(-available) / mib);
  if (world.any(available < needed)) {
    finding.verdict = Verdict::warn;
    finding.remedy = "give it at least 16 MiB a rank (containers: --shm-size), or remove what dead jobs left there";
  }
  return finding;
}

Finding examine_disk(const comm::Communicator& world) {
  const double available = free_bytes(".");
  Finding finding{Verdict::ok, "disk", fmt::format("{:.1f} GiB free here", -world.max(-available) / mib / 1024.0), ""};
  if (world.any(access(".", W_OK) != 0)) {
    finding.verdict = Verdict::fail;
    finding.text = "the current folder cannot be written to";
    finding.remedy = "runs are written below the current folder unless told otherwise: go to another one";
  } else if (world.any(available >= 0 && available < 1024 * mib)) {
    finding.verdict = Verdict::warn;
    finding.remedy = "less than 1 GiB: checkpoints may not fit";
  } else if (world.any(available < 0)) {
    finding.text = "the free space here cannot be told";
  }
  return finding;
}

}  // namespace

std::vector<Finding> examine_machine(const Session& session) {
  const comm::Communicator& world = session.world;
  std::vector<Finding> findings{examine_cpu(), examine_blas(session.blas)};
  for (const auto& entry : enum_names(GemmBackend{})) {
    if (has_gemm_backend(entry.value)) findings.push_back(examine_product(entry.value, world));
  }
  findings.push_back(examine_threads(world));
  findings.push_back(examine_shared_memory(world));
  findings.push_back(examine_disk(world));
  return findings;
}

}  // namespace conclave::apps
