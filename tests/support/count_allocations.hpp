// SPDX-License-Identifier: BSD-3-Clause
// Counts calls of operator new on any thread: the project's own allocations, not those that the MPI library makes with
// malloc. Replaces operator new: to be included by one file of a program.
#pragma once

#include "runtime/core/parallel.hpp"
#include "runtime/core/scratch.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

namespace {

std::atomic<bool> counting{false};
std::atomic<long> num_allocations{0};

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (counting) ++num_allocations;
  const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
  if (void* data = std::aligned_alloc(alignment, whole == 0 ? alignment : whole)) return data;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, std::size_t) noexcept { std::free(data); }
void operator delete(void* data, std::align_val_t) noexcept { std::free(data); }
void operator delete(void* data, std::size_t, std::align_val_t) noexcept { std::free(data); }

namespace conclave::test {

/// Counts allocations while it lives.
class Counting {
 public:
  Counting() {
    num_allocations = 0;
    counting = true;
  }
  ~Counting() { counting = false; }
  [[nodiscard]] long allocations() const { return num_allocations; }
};

/// Gives every thread a first block of scratch memory: in a few small steps one of them may have had no work.
inline void touch_scratch() {
  std::atomic<Index> arrived{0};
  parallel_for(num_threads(), [&](Index) {
    ++arrived;
    while (arrived < num_threads()) std::this_thread::yield();  // so each thread has one call
    Scratch scratch;
    ASSERT_EQ(scratch.values<char>(1).size(), 1U);
  });
}

// Several ranks of several threads are more than a machine's cores: their steps would wait for one another's.
inline std::vector<Index> thread_counts() {
  return world().size() == 1 ? std::vector<Index>{1, 2} : std::vector<Index>{1};
}

}  // namespace conclave::test
