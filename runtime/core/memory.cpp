// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/memory.hpp"

#include <sys/mman.h>

#include <new>

namespace conclave {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;  // [bytes]
constexpr std::size_t from_bytes = 2 * huge_page;        // below, the rest of a page would be much

bool in_huge_pages(std::size_t bytes) { return bytes >= from_bytes; }
std::align_val_t alignment(std::size_t bytes) { return std::align_val_t{in_huge_pages(bytes) ? huge_page : 64}; }
std::size_t whole_pages(std::size_t bytes) {
  return in_huge_pages(bytes) ? (bytes + huge_page - 1) / huge_page * huge_page : bytes;
}

}  // namespace

void* allocate_array(std::size_t bytes) {
  void* data = ::operator new(whole_pages(bytes), alignment(bytes));
#ifdef MADV_HUGEPAGE
  // A request that may be refused: then the pages are small.
  if (in_huge_pages(bytes)) static_cast<void>(madvise(data, whole_pages(bytes), MADV_HUGEPAGE));
#endif
  return data;
}

void free_array(void* data, std::size_t bytes) noexcept { ::operator delete(data, alignment(bytes)); }

}  // namespace conclave
