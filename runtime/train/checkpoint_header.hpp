// SPDX-License-Identifier: BSD-3-Clause
// What a checkpoint holds beside tensors: small, and the same on every rank.
#pragma once

#include "runtime/train/hdf5.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::train {

/// A table of numbers, such as the metrics so far.
struct NumberTable {
  Index rows = 0;
  Index cols = 0;
  std::vector<double> values;  // [rows, cols]
};

/// Names may hold any character but zero bytes; names of tables are paths below /tables.
struct CheckpointHeader {
  std::map<std::string, std::string> config;     // /config: option name -> its text
  std::map<std::string, std::int64_t> integers;  // /state: step, tokens seen, ...
  std::map<std::string, double> numbers;         // /state; no name may be in both
  std::map<std::string, std::string> record;     // /record: what the same bits depend on (binary, BLAS, CPU, ...)
  std::map<std::string, NumberTable> tables;     // /tables
};

/// Whether a top-level group ("/config") is one of the header's, and so no place for tensors.
[[nodiscard]] bool is_header_group(std::string_view group);

/// An entry of `header.integers`; InputError, naming the file and the entry, if it is not there.
[[nodiscard]] std::int64_t integer_of(const CheckpointHeader& header, const std::string& name,
                                      const std::filesystem::path& file);

/// The header as bytes, and back: equal headers give equal bytes, NaNs included.
[[nodiscard]] std::string pack(const CheckpointHeader& header);
[[nodiscard]] CheckpointHeader unpack(const std::string& bytes);

/// Adds the header, and a checksum over it, to a new file.
void store_header(Hdf5File& file, const CheckpointHeader& header);
/// InputError if something is missing or does not match the checksum.
[[nodiscard]] CheckpointHeader load_header(const Hdf5File& file);

}  // namespace conclave::train
