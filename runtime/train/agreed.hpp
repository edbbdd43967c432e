// SPDX-License-Identifier: BSD-3-Clause
// Work that can fail on one rank only must fail on all of them, or the others wait for ever.
#pragma once

#include "comm/mpi/communicator.hpp"

#include <string>
#include <utility>

namespace conclave::train {

/// What went wrong: both empty if nothing did.
struct Failure {
  std::string message;
  std::string hint;
};

/// Does `work` and returns how it failed.
template <class Work>
[[nodiscard]] Failure failure_of(Work&& work) {
  try {
    std::forward<Work>(work)();
  } catch (const Error& error) {
    return {error.what(), error.hint()};
  } catch (const std::exception& error) {
    return {error.what(), {}};
  }
  return {};
}

/// Does `work` on every rank. If it fails on any, throws InputError on all. Collective; `work` itself must not wait for
/// other ranks after it may have failed.
template <class Work>
void agreed(const comm::Communicator& communicator, Work&& work) {
  const Failure failure = failure_of(std::forward<Work>(work));
  communicator.agree(failure.message, failure.hint);
}

/// Does `work` on the root only; its failure is thrown on all ranks, as InputError. Collective.
template <class Work>
void on_root(const comm::Communicator& communicator, Work&& work) {
  Failure failure;
  if (communicator.is_root()) failure = failure_of(std::forward<Work>(work));
  const std::string message = communicator.broadcast(failure.message);
  const std::string hint = communicator.broadcast(failure.hint);
  if (!message.empty()) throw InputError(message, hint);
}

}  // namespace conclave::train
