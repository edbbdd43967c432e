// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/not_finite.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <limits>
#include <numeric>

namespace conclave::train {
namespace {

constexpr std::string_view values_group = "/params/";
constexpr Index of_no_layer = -1;

/// The number after `before` in a tensor's name, and what follows it.
struct Numbered {
  Index number;
  std::string_view rest;
};

std::optional<Numbered> number_after(std::string_view before, std::string_view name) {
  const std::size_t at = name.find(before);
  if (at == std::string_view::npos) return {};
  const std::string_view from = name.substr(at + before.size());
  Index number = 0;
  const auto [end, error] = std::from_chars(from.data(), from.data() + from.size(), number);
  if (error != std::errc{} || end == from.data() + from.size() || *end != '/') return {};
  return Numbered{number, from.substr(static_cast<std::size_t>(end - from.data()) + 1)};
}

std::string_view without_group(std::string_view name) {
  return name.starts_with(values_group) ? name.substr(values_group.size()) : name;
}

/// A tensor's place in the order of the search.
struct SearchKey {
  Index layer;
  bool is_of_experts;
};

SearchKey key_of(std::string_view name) {
  const std::optional<Numbered> block = number_after("block/", name);
  const bool is_of_experts = name.find("/moe/expert/") != name.npos || name.find("/moe/base/") != name.npos;
  return {block ? block->number : of_no_layer, is_of_experts};
}

// The last layer first, what no layer has at the end. Within a layer experts come first, for they are its last part.
std::vector<std::size_t> search_order(std::span<const TensorPart> parts) {
  std::vector<std::size_t> order(parts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    const SearchKey first = key_of(parts[a].name);
    const SearchKey second = key_of(parts[b].name);
    if (first.layer != second.layer) return first.layer > second.layer;
    if (first.is_of_experts != second.is_of_experts) return first.is_of_experts;
    return !first.is_of_experts && a > b;
  });
  return order;
}

ParameterPlace place_of(const TensorPart& tensor, Index position) {
  std::string_view name = without_group(tensor.name);
  ParameterPlace place;
  if (const auto block = number_after("block/", name)) {
    place.tensor = fmt::format("layer {}, ", block->number);
    name = block->rest;
  }
  if (const auto expert = number_after("moe/expert/", name)) {
    place.tensor += fmt::format("expert {}, ", expert->number);
    name = expert->rest;
  }
  place.tensor += fmt::format("`{}`", name);
  place.at.resize(tensor.shape.size());
  for (std::size_t d = place.at.size(); d-- > 0; position /= tensor.shape[d]) place.at[d] = position % tensor.shape[d];
  return place;
}

// NaN and infinity have an exponent of ones, and so have the largest bits without their sign.
constexpr std::uint32_t without_sign = 0x7fffffffU;
constexpr std::uint32_t infinity_bits = 0x7f800000U;

}  // namespace

std::string ParameterPlace::sentence(std::string_view of_what) const {
  return fmt::format("{} of {} is not finite (first at [{}])", of_what, tensor, fmt::join(at, ", "));
}

std::string hint_to_go_on(Index step) {
  return fmt::format(
      "go on from the last checkpoint with a lower learning rate, or let the run pass over such steps: on_nan = skip "
      "or rollback, or skip_steps = {}",
      step);
}

// Four bytes an element; the loop has no branches, for it to be done in vectors.
bool is_finite(std::span<const float> values) {
  std::uint32_t largest = 0;
  for (const float value : values) largest = std::max(largest, std::bit_cast<std::uint32_t>(value) & without_sign);
  return largest < infinity_bits;
}

std::optional<ParameterPlace> first_not_finite(const comm::Communicator& communicator,
                                               std::span<const TensorPart> parts) {
  constexpr Index none = std::numeric_limits<Index>::max();
  const std::vector<std::size_t> order = search_order(parts);
  Index here = none;  // elements before it, in the order of the search
  Index before = 0;
  for (const std::size_t p : order) {
    const TensorPart& part = parts[p];
    const std::span<const float> held(part.data, static_cast<std::size_t>(part.held.size()));
    if (here == none && !is_finite(held)) {
      const auto bad = std::ranges::find_if(held, [](float value) { return !is_finite({&value, 1}); });
      here = before + part.held.begin + (bad - held.begin());
    }
    before += num_elements(part.shape);
  }
  Index first = communicator.min(here);
  if (first == none) return {};
  for (const std::size_t p : order) {
    const Index size = num_elements(parts[p].shape);
    if (first < size) return place_of(parts[p], first);
    first -= size;
  }
  invariant(false, "element {} after the last tensor", first);
  return {};
}

std::vector<TensorPart> values_among(std::span<const TensorPart> parts) {
  std::vector<TensorPart> values;
  std::ranges::copy_if(parts, std::back_inserter(values),
                       [](const TensorPart& part) { return part.name.starts_with(values_group); });
  return values;
}

void refuse_not_finite(const comm::Communicator& communicator, const std::filesystem::path& checkpoint,
                       std::span<const TensorPart> parts) {
  const std::optional<ParameterPlace> place = first_not_finite(communicator, values_among(parts));
  if (!place) return;
  throw InputError(fmt::format("{}: {}", checkpoint.string(), place->sentence("the value")),
                   "use a checkpoint from before this happened, or train anew");
}

}  // namespace conclave::train
