// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/gather_texts.hpp"

#include "comm/mpi/messages.hpp"

namespace conclave::comm {

// A rank sends when the root is ready for it: what nobody has asked for would be kept in the root's memory.
void gather_texts(const Communicator& communicator, std::string_view text, FunctionRef<void(std::string_view)> take) {
  constexpr int tag = 0;
  const RankId root{0};
  const RowType byte(1, MPI_BYTE);
  std::byte go{};
  if (!communicator.is_root()) {
    Messages messages(communicator, tag);
    messages.receive(root, &go, 1, byte);
    messages.wait();
    const auto size = static_cast<std::int64_t>(text.size());
    const RowType whole(size, MPI_BYTE);
    messages.send(root, reinterpret_cast<const std::byte*>(&size), sizeof size, byte);
    messages.send(root, reinterpret_cast<const std::byte*>(text.data()), 1, whole);
    messages.wait();
    return;
  }
  take(text);
  std::string of_rank;
  for (RankId rank{1}; rank < RankId{communicator.size()}; ++rank) {
    Messages messages(communicator, tag);
    std::int64_t size = 0;
    messages.send(rank, &go, 1, byte);
    messages.receive(rank, reinterpret_cast<std::byte*>(&size), sizeof size, byte);
    messages.wait();
    of_rank.resize(static_cast<std::size_t>(size));
    const RowType whole(size, MPI_BYTE);
    messages.receive(rank, reinterpret_cast<std::byte*>(of_rank.data()), 1, whole);
    messages.wait();
    take(of_rank);
  }
}

}  // namespace conclave::comm
