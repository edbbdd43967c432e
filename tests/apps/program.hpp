// SPDX-License-Identifier: BSD-3-Clause
// The executable as a user starts it, for tests.
#pragma once

#include "runtime/core/ids.hpp"

#include <fmt/format.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <regex>
#include <string>

namespace conclave::test {

struct Outcome {
  int exit_code = -1;
  std::string out;     // stdout
  std::string output;  // stdout, then stderr: a launcher forwards each by itself, so their lines may meet anywhere
};

inline std::string read_all(std::FILE* file) {
  std::string content;
  std::array<char, 4096> buffer{};
  for (std::size_t n = 0; (n = fread(buffer.data(), 1, buffer.size(), file)) > 0;) content.append(buffer.data(), n);
  return content;
}

// Runs a shell command without what an outer launcher or user may have set.
inline Outcome run(const std::string& command) {
  const std::string clean =
      "env -u OPENBLAS_CORETYPE -u OMPI_MCA_io -u SLURM_STEP_ID -u SLURM_NTASKS -u SLURM_JOB_ID "
      "-u SLURM_JOB_END_TIME ";
  std::FILE* errors = std::tmpfile();
  if (errors == nullptr) return {};
  Outcome outcome;
  if (std::FILE* pipe =
          popen(fmt::format("{}{} 2>>/proc/self/fd/{} </dev/null", clean, command, fileno(errors)).c_str(), "r")) {
    outcome.out = read_all(pipe);
    const int status = pclose(pipe);
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    outcome.output = outcome.out + read_all(errors);
  }
  std::fclose(errors);
  return outcome;
}

inline Outcome conclave(const std::string& arguments) {
  return run(fmt::format("timeout 100 {} {}", CONCLAVE_PROGRAM, arguments));
}

inline Outcome on_ranks(Index ranks, const std::string& program, const std::string& arguments) {
  return run(fmt::format("{} {} 100 {} {}", CONCLAVE_MPIRUN, ranks, program, arguments));
}

inline Index count(const std::string& text, const std::string& part) {
  Index result = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++result;
  return result;
}

// What was written, without the line on stderr that says how fast.
inline std::string without_speed(const std::string& output) {
  static const std::regex speed("[0-9]+ tokens of [0-9]+ texts? in [0-9.e+-]+ s: [0-9.e+-]+ tokens/s\\n");
  return std::regex_replace(output, speed, "");
}

// The step of "stopped by ... after step N;", -1 if nothing of the kind is there.
inline Index stopped_step(const std::string& output, const std::string& by) {
  const std::string words = "stopped by " + by + " after step ";
  const auto at = output.find(words);
  return at == std::string::npos ? -1 : std::stoll(output.substr(at + words.size()));
}

// The digest of all tensors of the newest checkpoint.
inline std::string digest_of(const std::string& checkpoint) {
  const Outcome outcome = conclave("inspect --digests --checkpoint " + checkpoint);
  const auto all = outcome.output.rfind("  all ");
  return all == std::string::npos || all < 16 ? "none: " + outcome.output : outcome.output.substr(all - 16, 16);
}

}  // namespace conclave::test
