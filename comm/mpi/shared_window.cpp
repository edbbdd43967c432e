// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/shared_window.hpp"

#include <cstdint>
#include <exception>
#include <utility>

namespace conclave::comm {
namespace {

// MPI puts its own bytes before the first segment. Each process maps the memory at a page's beginning, so all of them
// find the same place.
std::byte* next_line(void* begin) {
  constexpr std::uintptr_t line = SharedWindow::line_bytes;
  const std::uintptr_t behind = reinterpret_cast<std::uintptr_t>(begin) % line;
  return static_cast<std::byte*>(begin) + (behind == 0 ? 0 : line - behind);
}

}  // namespace

SharedWindow::SharedWindow(const Communicator& node, Index bytes) : uncaught_at_start_(std::uncaught_exceptions()) {
  MPI_Info info = MPI_INFO_NULL;
  check_mpi(MPI_Info_create(&info), "MPI_Info_create");
  // Each segment by itself: pages lie where they are first touched, and no two ranks share one.
  check_mpi(MPI_Info_set(info, "alloc_shared_noncontig", "true"), "MPI_Info_set");
  void* own = nullptr;
  const int code =
      MPI_Win_allocate_shared(bytes + line_bytes, 1, info, node.handle(), static_cast<void*>(&own), &window_);
  MPI_Info_free(&info);
  if (code != MPI_SUCCESS) window_ = MPI_WIN_NULL;
  check_mpi(code, "MPI_Win_allocate_shared");
  for (Index mate = 0; mate < node.size(); ++mate) {
    MPI_Aint size = 0;
    int unit = 0;
    void* begin = nullptr;
    check_mpi(MPI_Win_shared_query(window_, static_cast<int>(mate), &size, &unit, static_cast<void*>(&begin)),
              "MPI_Win_shared_query");
    segments_.push_back(next_line(begin));
  }
}

SharedWindow::SharedWindow(SharedWindow&& other) noexcept { *this = std::move(other); }

SharedWindow& SharedWindow::operator=(SharedWindow&& other) noexcept {
  if (this == &other) return *this;
  release();
  window_ = std::exchange(other.window_, MPI_WIN_NULL);
  uncaught_at_start_ = other.uncaught_at_start_;
  segments_ = std::move(other.segments_);
  return *this;
}

SharedWindow::~SharedWindow() { release(); }

void SharedWindow::release() noexcept {
  if (window_ == MPI_WIN_NULL || std::uncaught_exceptions() > uncaught_at_start_) return;
  MPI_Win_free(&window_);
}

}  // namespace conclave::comm
