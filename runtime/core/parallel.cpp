// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/parallel.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/thread_shares.hpp"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <mutex>

namespace conclave {
namespace {

// More than any node has; it also keeps a mistyped number from bringing the machine down.
constexpr Index max_threads = 4096;

std::atomic<Index> threads_in_use{1};
ThreadListener* listener = nullptr;  // of the thread that calls parallel_for

// One call of parallel_for.
struct Region {
  FunctionRef<void(Index)> body;
  FunctionRef<void()> between;
  Index count;
  std::atomic<Index> threads_done{0};
  // The failure of the lowest i is the one to be reported: it is the same whatever the number of threads.
  std::atomic<Index> lowest_failed{std::numeric_limits<Index>::max()};
  std::mutex mutex{};  // guards failure, and lowest_failed against two writers
  std::exception_ptr failure{};
  std::span<ThreadShare> shares{};  // [threads] where somebody listens
};

// The call in progress. Threads find it here and not through OpenMP's shared variables: an atomic is a hand-over that
// the thread sanitizer sees, OpenMP's own is not.
std::atomic<Region*> current_region{nullptr};

void call_body(Region& region, Index i) {
  if (i > region.lowest_failed.load(std::memory_order_relaxed)) return;
  try {
    region.body(i);
  } catch (...) {
    const std::scoped_lock lock(region.mutex);
    if (i > region.lowest_failed.load(std::memory_order_relaxed)) return;
    region.lowest_failed.store(i, std::memory_order_relaxed);
    region.failure = std::current_exception();
  }
}

void call_between(Region& region) {
  if (region.lowest_failed.load(std::memory_order_relaxed) < region.count) return;
  try {
    region.between();
  } catch (...) {
    const std::scoped_lock lock(region.mutex);
    region.lowest_failed.store(0, std::memory_order_relaxed);
    region.failure = std::current_exception();
  }
}

// What each thread of the team does.
void take_calls() {
  Region& region = *current_region.load(std::memory_order_acquire);
  const Index count = region.count;
  const bool is_caller = omp_get_thread_num() == 0;
  ThreadShare share{.thread = omp_get_thread_num()};
  if (!region.shares.empty()) share.begin = Clock::now();
#pragma omp for schedule(dynamic, 1) nowait
  for (Index i = 0; i < count; ++i) {
    call_body(region, i);
    ++share.calls;
    if (is_caller) call_between(region);
  }
  if (!region.shares.empty()) {
    share.end = Clock::now();
    region.shares[static_cast<std::size_t>(share.thread)] = share;
  }
  region.threads_done.fetch_add(1, std::memory_order_release);
}

}  // namespace

void use_threads(Index num_threads) {
  if (num_threads < 1 || num_threads > max_threads) {
    throw InputError(fmt::format("cannot use {} threads", num_threads),
                     fmt::format("give a number from 1 to {}, such as the cores of a rank", max_threads));
  }
  threads_in_use.store(num_threads, std::memory_order_relaxed);
}

void tell_threads_to(ThreadListener* told) { listener = told; }

Index num_threads() { return threads_in_use.load(std::memory_order_relaxed); }

void parallel_for(Index count, FunctionRef<void(Index)> body, FunctionRef<void()> between) {
  Region region{body, between, count};
  Region* none = nullptr;
  invariant(current_region.compare_exchange_strong(none, &region, std::memory_order_acq_rel),
            "parallel_for of {} calls inside another", count);
  struct Leave {
    ~Leave() { current_region.store(nullptr, std::memory_order_release); }
  } leave;

  const int team = static_cast<int>(std::min(num_threads(), count));
  if (team <= 1) {
    for (Index i = 0; i < count; ++i) {
      body(i);
      between();
    }
    return;
  }
  if (listener != nullptr) {
    region.shares = listener->begun(team);
    current_region.store(&region, std::memory_order_release);  // with these
  }
#pragma omp parallel num_threads(team)
  take_calls();
  // OpenMP has joined the threads already; reading their count makes that known to the sanitizer as well.
  invariant(region.threads_done.load(std::memory_order_acquire) > 0, "no thread took part in {} calls", count);
  if (listener != nullptr) listener->ended();
  if (region.failure) std::rethrow_exception(region.failure);
}

}  // namespace conclave
