// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/scratch.hpp"

#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace conclave {
namespace {

constexpr std::size_t alignment = 64;                      // [bytes]
constexpr std::size_t first_block = std::size_t{1} << 16;  // [bytes]

struct Block {
  std::byte* data;
  std::size_t bytes;
};

// Lets the address sanitizer see a use of what no scope has taken, as it would with memory of the heap.
void forbid([[maybe_unused]] std::byte* data, [[maybe_unused]] std::size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  ASAN_POISON_MEMORY_REGION(data, bytes);
#endif
}
void allow([[maybe_unused]] std::byte* data, [[maybe_unused]] std::size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
#endif
}

// A thread's blocks, each at least twice as large as the one before, and how much of them its open scopes have taken:
// all blocks before `block`, and the first `used` bytes of that.
struct Blocks {
  Blocks() = default;
  Blocks(const Blocks&) = delete;
  Blocks& operator=(const Blocks&) = delete;
  ~Blocks() {
    for (const Block& b : all) {
      allow(b.data, b.bytes);
      free_array(b.data, b.bytes);
    }
  }

  void* take(std::size_t bytes) {
    const std::size_t room = (bytes + alignment - 1) / alignment * alignment;
    while (block < all.size() && all[block].bytes - used < room) {
      ++block;
      used = 0;
    }
    if (block == all.size()) {
      const std::size_t size = std::max(all.empty() ? first_block : 2 * all.back().bytes, room);
      all.reserve(block + 1);  // so that nothing is lost if there is no memory
      all.push_back({static_cast<std::byte*>(allocate_array(size)), size});
      forbid(all.back().data, size);
    }
    std::byte* data = all[block].data + used;
    allow(data, bytes);
    used += room;
    return data;
  }
  void give_back_to(std::size_t its_block, std::size_t its_used) {
    for (std::size_t b = its_block; b < std::min(block + 1, all.size()); ++b) {
      const std::size_t begin = b == its_block ? its_used : 0;
      forbid(all[b].data + begin, all[b].bytes - begin);
    }
    block = its_block;
    used = its_used;
  }

  std::vector<Block> all;
  std::size_t block = 0;
  std::size_t used = 0;
  Index depth = 0;
};

Blocks& blocks() {
  thread_local Blocks of_thread;
  return of_thread;
}

}  // namespace

Scratch::Scratch() : block_(blocks().block), used_(blocks().used), depth_(++blocks().depth) {}

Scratch::~Scratch() {
  Blocks& of_thread = blocks();
  of_thread.give_back_to(block_, used_);
  --of_thread.depth;
}

void* Scratch::take(std::size_t bytes) {
  Blocks& of_thread = blocks();
  invariant(depth_ == of_thread.depth, "memory taken from scope {} of {}: only the innermost gives any", depth_,
            of_thread.depth);
  if (bytes == 0) return nullptr;
  return of_thread.take(bytes);
}

}  // namespace conclave
