// SPDX-License-Identifier: BSD-3-Clause
#include "apps/run_record.hpp"

#include "comm/mpi/environment.hpp"
#include "runtime/core/cpu.hpp"
#include "runtime/core/digest.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/train/mapped_file.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

constexpr std::array<std::string_view, 4> bits_depend_on{"binary", "compiler", "cpu", "gemm"};

// A fingerprint of this program's file: another build may round otherwise.
std::string binary_fingerprint() {
  try {
    const train::MappedFile program("/proc/self/exe");
    Digest digest;
    digest.add("program", 0, program.bytes());
    return fmt::format("conclave {} {:016x}", CONCLAVE_VERSION, digest.value());
  } catch (const Error&) {
    return fmt::format("conclave {}", CONCLAVE_VERSION);
  }
}

}  // namespace

std::map<std::string, std::string> run_record(const Session& session) {
  const plan::Topology topology = session.world.topology();
  std::map<std::string, std::string> record{
      {"binary", binary_fingerprint()},
      {"compiler", fmt::format("{} -march={}", __VERSION__, CONCLAVE_ARCH)},
      {"cpu", cpu_description()},
      {"gemm", gemm_library()},
      {"blas_kernel_choice", session.blas.why},
      {"mpi_library", comm::mpi_library()},
      {"ranks", fmt::format("{}", session.world.size())},
      {"nodes", fmt::format("{}", topology.num_nodes())},
      {"threads_per_rank", fmt::format("{}", num_threads())},
  };
  return record;
}

std::map<std::string, std::string> what_bits_depend_on(const std::map<std::string, std::string>& record) {
  std::map<std::string, std::string> result;
  for (const std::string_view key : bits_depend_on) result.insert(*record.find(std::string(key)));
  return result;
}

std::vector<std::string> ranks_that_differ(const comm::Communicator& world,
                                           const std::map<std::string, std::string>& record) {
  std::vector<std::string> sentences;
  for (const auto& [name, value] : what_bits_depend_on(record)) {
    const std::vector<std::string> values = world.gather_all(value);
    const auto other = std::find_if(values.begin(), values.end(), [&](auto& v) { return v != values.front(); });
    if (other == values.end()) continue;
    sentences.push_back(
        fmt::format("the ranks are not alike, so the bits depend on who computes what: {} is '{}' on "
                    "rank 0 and '{}' on rank {}",
                    name, values.front(), *other, other - values.begin()));
  }
  return sentences;
}

std::vector<std::string> differences_that_change_bits(const std::map<std::string, std::string>& before,
                                                      const std::map<std::string, std::string>& now) {
  std::vector<std::string> differences;
  for (const std::string_view key : bits_depend_on) {
    const auto was = before.find(std::string(key));
    const auto is = now.find(std::string(key));
    if (was == before.end() || is == now.end() || was->second == is->second) continue;
    differences.push_back(fmt::format("{}: {} before, {} now", key, was->second, is->second));
  }
  return differences;
}

}  // namespace conclave::apps
