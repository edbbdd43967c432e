// SPDX-License-Identifier: BSD-3-Clause
// The measurement `exchange`: rows from every rank to every rank, by every strategy and in every size, beside copies of
// as many bytes and beside MPI's own all-to-all.
#include "apps/bench.hpp"
#include "apps/machine_floor.hpp"
#include "comm/mpi/exchange.hpp"
#include "comm/mpi/plain_collectives.hpp"
#include "runtime/core/matrix.hpp"
#include "runtime/model/transport.hpp"

#include <utility>

namespace conclave::apps {
namespace {

struct ExchangeOptions {
  std::vector<std::string> exchange;
  std::vector<Index> sizes{1 << 10, 16 << 10, 256 << 10, 4 << 20, 16 << 20};
  Index row_bytes = 1024;
  BenchRun run;
};

void describe_exchange(ExchangeOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Exchange");
  table.add("exchange", o.exchange, "strategies to measure; none: all. They are: " + model::exchange_names());
  table.add("sizes", o.sizes, "bytes from each rank to each rank");
  table.add("row_bytes", o.row_bytes, "bytes of a row; sizes are multiples of it");
}

void settle_exchange(ExchangeOptions& o) {
  if (o.row_bytes < 4 || o.row_bytes % 4 != 0) {
    throw InputError(fmt::format("row_bytes = {}", o.row_bytes), "a row is of fp32 numbers: give a multiple of 4");
  }
  if (o.sizes.empty()) throw InputError("sizes is an empty list", "give at least one number of bytes");
  for (const Index size : o.sizes) {
    if (size >= 1 && size <= (Index{1} << 30) && size % o.row_bytes == 0) continue;
    throw InputError(fmt::format("sizes has {} with row_bytes = {}", size, o.row_bytes),
                     fmt::format("give multiples of row_bytes up to {}", Index{1} << 30));
  }
  if (!o.exchange.empty()) return;
  for (const auto& s : comm::exchange_strategies()) o.exchange.emplace_back(s.name);
}

/// Bytes of one size, from every rank to every rank.
struct Traffic {
  Traffic(const comm::Communicator& world, Index size, Index row_bytes)
      : shape(std::vector(static_cast<std::size_t>(world.size()), size / row_bytes),
              std::vector(static_cast<std::size_t>(world.size()), size / row_bytes)),
        sent(shape.total_sent(), row_bytes / 4),
        received(shape.total_received(), row_bytes / 4) {
    sent.fill(1.0F);
  }
  plan::ExchangeShape shape;
  Matrix<float> sent;      // [rows to all ranks, row_bytes / 4]
  Matrix<float> received;  // [rows from all ranks, row_bytes / 4]
};

std::string size_text(Index bytes) {
  if (bytes % (1 << 20) == 0) return fmt::format("{} MiB", bytes >> 20);
  return bytes % (1 << 10) == 0 ? fmt::format("{} KiB", bytes >> 10) : fmt::format("{} B", bytes);
}

std::vector<Line> lines_of_size(const ExchangeOptions& o, Index size, const comm::Communicator& world) {
  Traffic traffic(world, size, o.row_bytes);
  std::vector<std::unique_ptr<comm::Exchange>> exchanges;
  std::vector<std::unique_ptr<comm::Inbox>> inboxes;
  std::vector<std::function<void()>> things{
      [&] { copy_all(std::as_const(traffic.sent).flat(), traffic.received.flat()); },
      [&] {
        comm::plain_all_to_all(world, std::as_bytes(traffic.sent.flat()),
                               std::as_writable_bytes(traffic.received.flat()));
      }};
  for (const std::string& name : o.exchange) {
    exchanges.push_back(comm::make_exchange(name, world));
    inboxes.push_back(exchanges.back()->make_inbox("bench"));
    things.emplace_back([&traffic, &o, inbox = inboxes.back().get()] {
      inbox->open(traffic.shape, o.row_bytes);
      inbox->write<float>(traffic.sent.view());
      inbox->start();
      inbox->wait();
    });
  }
  const std::vector<Timings> timings = timed_in_turn(world, o.run.repeats, Across::slowest_rank, things);
  std::vector<Line> lines;
  for (std::size_t i = 0; i < o.exchange.size(); ++i) {
    lines.push_back({fmt::format("{}, {}", o.exchange[i], size_text(size)),
                     timings[i + 2],
                     {timings[0], timings[1]},
                     1e-6 * static_cast<double>(size * world.size()),
                     "MB/s a rank"});
  }
  return lines;
}

std::optional<Report> measure_exchange(ExchangeOptions& o, const Session& session) {
  settle_exchange(o);
  Report report{.measurement = "exchange",
                .title = fmt::format("Rows of {} bytes from every rank to every rank, {} ranks on {} nodes",
                                     o.row_bytes, session.world.size(), session.world.topology().num_nodes()),
                .floors = {"memcpy", "MPI_Alltoallv"}};
  for (const Index size : o.sizes) {
    for (Line& line : lines_of_size(o, size, session.world)) {
      const auto comma = line.name.find(',');
      report.facts["bytes_per_s"][line.name.substr(0, comma)][fmt::format("{}", size)] =
          static_cast<double>(size * session.world.size()) / line.ours.median();
      report.lines.push_back(std::move(line));
    }
  }
  report.notes = {
      "a size is from each rank to each rank, itself included; a time is of writing the rows and waiting for those of "
      "the others, on the slowest rank",
      "memcpy: the bytes that a rank sends, copied once by every rank; MPI_Alltoallv: the same bytes between buffers "
      "where they stand already"};
  return report;
}

}  // namespace

Command bench_exchange() {
  return make_measurement<ExchangeOptions>("exchange",
                                           "rows between ranks by every strategy, beside MPI's own and memcpy",
                                           describe_exchange, measure_exchange);
}

}  // namespace conclave::apps
