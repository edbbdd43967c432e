// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/checkpoint.hpp"
#include "tests/fuzz/damage.hpp"
#include "tests/fuzz/forgery.hpp"
#include "tests/fuzz/telling_values.hpp"
#include "tests/support/sealed_file.hpp"

#include <hdf5.h>

#include <array>
#include <limits>

namespace conclave::fuzz {
namespace {

using train::CheckpointHeader;

template <class Map>
typename Map::iterator some_entry(Map& map, Draws& draws) {
  return std::next(map.begin(), draws.below(std::ssize(map)));
}

std::string change_config(CheckpointHeader& header, Draws& draws) {
  const auto entry = some_entry(header.config, draws);
  const std::string name = entry->first;
  if (draws.one_in(8)) {
    header.config.erase(entry);
    return "no " + name;
  }
  constexpr std::array<const char*, 5> of_one_start{"out", "resume", "init_from", "rule_file", "requeue"};
  if (draws.one_in(8)) {
    const std::string forbidden = draws.of<const char*>(of_one_start);
    header.config[forbidden] = "/nonexistent/folder";
    return "adds " + forbidden;
  }
  if (draws.one_in(3)) {
    entry->second = some_text(draws);
  } else {
    damage(entry->second, draws);
  }
  return fmt::format("{} = '{}'", name, entry->second.substr(0, 100));
}

std::string change_integer(CheckpointHeader& header, Draws& draws) {
  const auto entry = some_entry(header.integers, draws);
  const std::string name = entry->first;
  if (draws.one_in(4)) {
    header.integers.erase(entry);
    return "no " + name;
  }
  entry->second = draws.one_in(2) ? some_integer(draws) : entry->second + draws.below(5) - 2;
  return fmt::format("{} = {}", name, entry->second);
}

std::string change_table(CheckpointHeader& header, Draws& draws) {
  train::NumberTable table;
  table.rows = draws.below(6);
  table.cols = draws.below(6);
  table.values.assign(static_cast<std::size_t>(table.rows * table.cols), std::numeric_limits<double>::quiet_NaN());
  const std::string name = header.tables.empty() || draws.one_in(4) ? "added" : some_entry(header.tables, draws)->first;
  header.tables[name] = table;
  return fmt::format("table {} [{}, {}]", name, table.rows, table.cols);
}

}  // namespace

std::string forge_header(const std::filesystem::path& file, Draws& draws) {
  std::string said;
  CheckpointHeader header = train::load_header(train::open_checkpoint(file));
  for (Index changes = 1 + draws.below(2); changes > 0; --changes) {
    const Index kind = draws.below(4);
    said += (kind < 2 ? change_config : kind == 2 ? change_integer : change_table)(header, draws) + "; ";
  }
  test::change_and_seal(file, [&] {
    train::Hdf5File out = train::Hdf5File::open_writable(file);
    out.close();
    const hid_t id = H5Fopen(file.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    for (const char* group : {"/config", "/state", "/record", "/tables"}) H5Ldelete(id, group, H5P_DEFAULT);
    H5Adelete(id, "header_checksum");
    H5Fclose(id);
    train::Hdf5File again = train::Hdf5File::open_writable(file);
    train::store_header(again, header);
    again.close();
  });
  return said;
}

}  // namespace conclave::fuzz
