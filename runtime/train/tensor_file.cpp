// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/tensor_file.hpp"

#include "runtime/core/digest.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/disk_file.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <future>
#include <map>
#include <numeric>
#include <optional>
#include <set>

namespace conclave::train {

namespace {

constexpr const char* checksum_name = "checksum";

/// A bijection of 64 bits that leaves no pattern (the finaliser of SplitMix64, Steele et al., OOPSLA 2014).
constexpr std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// An odd multiplier spreads positions over all 64 bits; for one position, adding the bits keeps them apart.
constexpr std::uint64_t mix(Index position, std::uint32_t bits) {
  return mix(static_cast<std::uint64_t>(position + 1) * 0x9e3779b97f4a7c15U + bits);
}

/// Element-wise sums modulo 2^64 over all ranks. The halves are summed as integers that cannot overflow.
std::vector<std::uint64_t> sum_modulo(const comm::Communicator& communicator,
                                      const std::vector<std::uint64_t>& values) {
  std::vector<std::int64_t> halves;
  halves.reserve(2 * values.size());
  for (const std::uint64_t value : values) {
    halves.push_back(static_cast<std::int64_t>(value & 0xffffffffU));
    halves.push_back(static_cast<std::int64_t>(value >> 32));
  }
  communicator.sum(halves);
  std::vector<std::uint64_t> sums(values.size());
  for (std::size_t i = 0; i < sums.size(); ++i) {
    sums[i] = static_cast<std::uint64_t>(halves[2 * i]) + (static_cast<std::uint64_t>(halves[2 * i + 1]) << 32);
  }
  return sums;
}

std::span<const float> values_of(const TensorPart& part) {
  return {part.data, static_cast<std::size_t>(part.held.size())};
}

bool is_valid(const TensorPart& part) {
  const bool sizes = std::all_of(part.shape.begin(), part.shape.end(), [](Index size) { return size >= 0; });
  const bool range = 0 <= part.held.begin && part.held.begin <= part.held.end;
  return sizes && range && part.held.end <= num_elements(part.shape) && (part.held.empty() || part.data != nullptr);
}

/// InvariantError on every rank unless all describe the same tensors, and parts that lie within them. Collective.
void check_same_tensors(const comm::Communicator& communicator, std::span<const TensorPart> parts) {
  Digest digest;
  Index position = 0;
  std::string invalid;
  for (const TensorPart& part : parts) {
    digest.add(part.name, position++, std::span<const Index>(part.shape));
    if (!is_valid(part)) invalid = part.name;
  }
  const bool any_invalid = communicator.any(!invalid.empty());
  invariant(!any_invalid, "a part of a tensor outside of it, or without data: {}",
            invalid.empty() ? "on another rank" : invalid);
  const auto value = std::bit_cast<std::int64_t>(digest.value());
  invariant(communicator.max(value) == communicator.min(value), "ranks name different tensors");
}

}  // namespace

std::uint64_t tensor_checksum(std::span<const float> values, Index first) {
  std::uint64_t sum = 0;
  const float* data = values.data();
  const auto size = static_cast<Index>(values.size());
  for (Index i = 0; i < size; ++i) sum += mix(first + i, std::bit_cast<std::uint32_t>(data[i]));
  return sum;
}

void check_whole(const comm::Communicator& communicator, std::span<const TensorPart> parts) {
  check_same_tensors(communicator, parts);
  // Non-empty ranges tile [0, n) exactly if every border but 0 and n is once an end for each time it is a begin. So the
  // sum of hash(begin) - hash(end) must be hash(0) - hash(n).
  const auto hash = [](Index border) { return mix(border, 0); };
  std::vector<std::uint64_t> borders;
  for (const TensorPart& part : parts) borders.push_back(hash(part.held.begin) - hash(part.held.end));
  const std::vector<std::uint64_t> sums = sum_modulo(communicator, borders);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Index size = num_elements(parts[i].shape);
    invariant(sums[i] == hash(0) - hash(size), "the ranks' parts of {} do not make up its {} elements once",
              parts[i].name, size);
  }
}

std::vector<std::uint64_t> checksums_here(std::span<const TensorPart> parts) {
  std::vector<std::uint64_t> sums;
  for (const TensorPart& part : parts) sums.push_back(tensor_checksum(values_of(part), part.held.begin));
  return sums;
}

std::vector<std::uint64_t> checksums_of_whole(const comm::Communicator& communicator,
                                              const std::vector<std::uint64_t>& here) {
  return sum_modulo(communicator, here);
}

std::vector<Index> reserve_tensors(Hdf5File& file, std::span<const TensorPart> parts) {
  std::vector<Index> offsets;
  for (const TensorPart& part : parts) {
    offsets.push_back(file.reserve<float>(part.name, part.shape));
    file.write_attribute(part.name, checksum_name, std::uint64_t{0});
  }
  return offsets;
}

void store_checksums(Hdf5File& file, std::span<const TensorPart> parts, std::span<const std::uint64_t> checksums) {
  for (std::size_t i = 0; i < parts.size(); ++i) file.rewrite_attribute(parts[i].name, checksum_name, checksums[i]);
}

namespace {

/// A rank that does not see the file that rank 0 has made would leave the others waiting in MPI-IO.
void check_visible(const comm::Communicator& communicator, const std::filesystem::path& path) {
  std::error_code error;
  auto size = static_cast<Index>(std::filesystem::file_size(path, error));
  if (error) size = -1;
  const Index root_size = communicator.max(communicator.is_root() ? size : -1);
  agreed(communicator, [&] {
    if (size == root_size) return;
    throw InputError(fmt::format("'{}' as rank 0 has made it is not what this rank sees there ({})", path.string(),
                                 error ? error.message() : fmt::format("{} bytes instead of {}", size, root_size)),
                     "the folder must be on a file system that all nodes of the job share");
  });
}

}  // namespace

std::vector<std::uint64_t> write_parts(const comm::Communicator& communicator, const std::filesystem::path& path,
                                       std::span<const TensorPart> parts) {
  check_visible(communicator, path);
  std::optional<Hdf5File> file;
  agreed(communicator, [&] { file.emplace(Hdf5File::open_shared(communicator, path)); });
  // Writing waits for the disk again and again.
  std::future<std::vector<std::uint64_t>> checksums = std::async(std::launch::async, checksums_here, parts);
  agreed(communicator, [&] {
    const DiskFile disk(path, DiskFile::Access::read);
    EarlySync early(disk);
    for (const TensorPart& part : parts) {
      if (part.held.empty()) continue;
      file->write_range<float>(part.name, part.held, part.data);
      early.written(part.held.size() * static_cast<Index>(sizeof(float)));
    }
  });
  agreed(communicator, [&] { file->flush(); });
  agreed(communicator, [&] { file->close(); });
  return checksums.get();
}

namespace {

/// Up to 20 of `lines`, and how many more there are.
std::string listed(const std::vector<std::string>& lines) {
  constexpr std::size_t most = 20;
  const std::vector<std::string> first(lines.begin(), lines.begin() + std::min(most, lines.size()));
  const std::string more = lines.size() > most ? fmt::format("\n  and {} more", lines.size() - most) : "";
  return fmt::format("\n  {}{}", fmt::join(first, "\n  "), more);
}

/// The paths of all datasets under the top-level groups of the parts.
std::set<std::string> stored_names(const Hdf5File& file, std::span<const TensorPart> parts) {
  std::set<std::string> tops;
  for (const TensorPart& part : parts) tops.insert(part.name.substr(0, part.name.find('/', 1)));
  std::set<std::string> names;
  for (const std::string& top : tops) {
    if (!file.exists(top)) continue;
    for (std::string& name : file.datasets(top)) names.insert(std::move(name));
  }
  return names;
}

/// The stored checksums, in the order of the parts. InputError if the file's tensors are not these.
std::vector<std::uint64_t> stored_checksums(const Hdf5File& file, std::span<const TensorPart> parts) {
  std::set<std::string> unexpected = stored_names(file, parts);
  std::vector<std::string> differences;
  std::vector<std::uint64_t> checksums;
  for (const TensorPart& part : parts) {
    if (unexpected.erase(part.name) == 0) {
      differences.push_back(fmt::format("{}: missing", part.name));
      continue;
    }
    const std::vector<Index> shape = file.shape(part.name);
    const Hdf5Type type = file.type(part.name);
    if (shape != part.shape) {
      differences.push_back(
          fmt::format("{}: [{}], expected [{}]", part.name, fmt::join(shape, ", "), fmt::join(part.shape, ", ")));
    } else if (type != Hdf5Type::float32) {
      differences.push_back(fmt::format("{}: {}, expected float32", part.name, name_of(type)));
    } else if (!file.has_attribute(part.name, checksum_name)) {
      differences.push_back(fmt::format("{}: has no checksum", part.name));
    } else {
      checksums.push_back(file.attribute<std::uint64_t>(part.name, checksum_name));
    }
  }
  for (const std::string& name : unexpected) differences.push_back(fmt::format("{}: unexpected", name));
  if (!differences.empty()) {
    throw InputError(
        fmt::format("the tensors of '{}' are not those of this model:{}", file.path().string(), listed(differences)),
        "load it with the options it was written with; its /config says which");
  }
  return checksums;
}

/// The checksum of the elements `range` of a stored tensor, read in pieces.
std::uint64_t stored_checksum(const Hdf5File& file, const std::string& name, Range range) {
  constexpr Index piece_elements = Index{1} << 20;
  std::vector<float> piece(static_cast<std::size_t>(std::min(piece_elements, range.size())));
  std::uint64_t sum = 0;
  for (Index at = range.begin; at < range.end; at += piece_elements) {
    const Range now{at, std::min(at + piece_elements, range.end)};
    file.read_range(name, now, piece.data());
    sum += tensor_checksum({piece.data(), static_cast<std::size_t>(now.size())}, at);
  }
  return sum;
}

/// Which parts' sums over the ranks are not the stored ones.
std::vector<std::size_t> differing(const comm::Communicator& communicator, const std::vector<std::size_t>& of,
                                   const std::vector<std::uint64_t>& here, const std::vector<std::uint64_t>& stored) {
  const std::vector<std::uint64_t> sums = sum_modulo(communicator, here);
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < of.size(); ++i) {
    if (sums[i] != stored[of[i]]) result.push_back(of[i]);
  }
  return result;
}

void refuse_damaged(const std::filesystem::path& path, const std::vector<std::string>& damaged) {
  if (damaged.empty()) return;
  throw InputError(fmt::format("'{}' is damaged: the values of {} of its tensors do not match their checksums:{}",
                               path.string(), damaged.size(), listed(damaged)));
}

}  // namespace

void read_parts(const comm::Communicator& communicator, const std::filesystem::path& path,
                std::span<const TensorPart> parts) {
  check_same_tensors(communicator, parts);
  std::vector<std::uint64_t> stored(parts.size());
  on_root(communicator, [&] { stored = stored_checksums(Hdf5File::open(path), parts); });
  communicator.broadcast(std::span<std::uint64_t>(stored));

  // Every rank opens the file by itself: reading needs nobody else, and so cannot wait for anybody.
  std::optional<Hdf5File> file;
  std::vector<std::uint64_t> here;
  std::vector<std::size_t> all;
  agreed(communicator, [&] {
    file.emplace(Hdf5File::open(path));
    for (const TensorPart& part : parts) {
      if (!part.held.empty()) file->read_range(part.name, part.held, part.data);
      all.push_back(all.size());
      here.push_back(tensor_checksum(values_of(part), part.held.begin));
    }
  });
  // Where the ranks asked for every element once, what they have read proves the tensor. Others are read again, every
  // rank an equal share.
  const std::vector<std::size_t> unproven = differing(communicator, all, here, stored);
  agreed(communicator, [&] {
    here.clear();
    for (const std::size_t i : unproven) {
      const Range share = even_share(num_elements(parts[i].shape), communicator.size(), communicator.rank().value());
      here.push_back(stored_checksum(*file, parts[i].name, share));
    }
  });
  std::vector<std::string> damaged;
  for (const std::size_t i : differing(communicator, unproven, here, stored)) damaged.push_back(parts[i].name);
  refuse_damaged(path, damaged);
}

TensorTotals verify_tensors(const comm::Communicator& communicator, const std::filesystem::path& path,
                            const std::vector<std::string>& groups) {
  std::vector<std::string> names;
  std::vector<std::uint64_t> stored, here;
  TensorTotals totals;
  agreed(communicator, [&] {
    const Hdf5File file = Hdf5File::open(path);
    std::set<std::string> found;
    for (const std::string& group : groups) {
      for (std::string& name : file.datasets(group)) found.insert(std::move(name));
    }
    for (const std::string& name : found) {
      if (file.type(name) != Hdf5Type::float32 || !file.has_attribute(name, checksum_name)) {
        throw InputError(fmt::format("'{}' is damaged: {} is no tensor with a checksum", path.string(), name));
      }
      const Index elements = num_elements(file.shape(name));
      const Range share = even_share(elements, communicator.size(), communicator.rank().value());
      names.push_back(name);
      stored.push_back(file.attribute<std::uint64_t>(name, checksum_name));
      here.push_back(stored_checksum(file, name, share));
      totals.elements += elements;
    }
  });
  totals.tensors = std::ssize(names);
  if (communicator.max(totals.tensors) != communicator.min(totals.tensors)) {
    throw InputError(fmt::format("the ranks do not see the same file '{}'", path.string()),
                     "the folder must be on a file system that all nodes of the job share");
  }
  std::vector<std::size_t> all(names.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::vector<std::string> damaged;
  for (const std::size_t i : differing(communicator, all, here, stored)) damaged.push_back(names[i]);
  refuse_damaged(path, damaged);
  return totals;
}

}  // namespace conclave::train
