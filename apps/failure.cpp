// SPDX-License-Identifier: BSD-3-Clause
#include "apps/failure.hpp"

#include "apps/stop_signal.hpp"
#include "comm/mpi/environment.hpp"

#include <chrono>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <thread>

namespace conclave::apps {

void print_error(const std::string& who, const std::exception& error) {
  const auto* ours = dynamic_cast<const Error*>(&error);
  std::string message = error.what();
  std::string hint = ours == nullptr ? "" : ours->hint();
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
      dynamic_cast<const std::length_error*>(&error) != nullptr) {
    message = "there is not enough memory for what was asked";
    hint = "make the model, the step or the context smaller, or use more ranks";
  }
  if (!hint.empty()) hint = fmt::format("  hint: {}\n", hint);
  fmt::print(stderr, "{}: {}\n{}", who, message, hint);
  std::fflush(stderr);
}

// A missing file is met by every rank, a full disk by one; and a rank cannot ask the others which it is without hanging
// where they have not failed. So rank 0 speaks at once and the others after a moment; by then an error of rank 0 has
// ended them.
int fail_job(const comm::Communicator& world, const std::string& who, const std::exception& error) {
  using std::chrono::milliseconds;
  obey_stop_signals();
  std::fflush(stdout);
  if (!world.is_root()) std::this_thread::sleep_for(milliseconds(3000));
  print_error(world.size() == 1 ? who : fmt::format("{}: rank {}", who, world.rank().value()), error);
  if (world.size() == 1) return failure;
  std::this_thread::sleep_for(milliseconds(200));  // for the launcher to forward the message
  comm::Environment::abort(failure);
}

}  // namespace conclave::apps
