// SPDX-License-Identifier: BSD-3-Clause
// Parameters as places in a flat array. A layer describes its tensors once; values, gradients and optimizer state are
// then flat arrays of the same layout, which are easy to reduce, shard, gather and store.
#pragma once

#include "runtime/core/matrix.hpp"
#include "runtime/core/random.hpp"

#include <string>
#include <vector>

namespace conclave {

/// A tensor's place in a flat array. A vector is one row.
struct Tensor {
  Index offset = 0;
  Index rows = 0;
  Index cols = 0;
  [[nodiscard]] Index size() const { return rows * cols; }
  [[nodiscard]] Range range() const { return {offset, offset + size()}; }
};

/// How a tensor begins: normal with this standard deviation, or constant.
struct Initial {
  double deviation = 0.0;
  double constant = 0.0;
};

/// One described tensor.
struct ParameterEntry {
  std::string name;          // "block/0/attention/qkv"; unique in the model
  std::vector<Index> shape;  // as stored: {n} or {rows, cols}
  Tensor tensor;
  Initial initial;
  bool decays = false;  // whether weight decay applies: matrices do, biases and norms do not
};

/// The tensors of a model, a layer or an expert, in the order of their places.
class ParameterList {
 public:
  /// Appends a matrix [rows, cols]; weight decay applies to it.
  Tensor add_matrix(std::string name, Index rows, Index cols, Initial initial);
  /// Appends a vector [size]; weight decay does not apply to it.
  Tensor add_vector(std::string name, Index size, Initial initial);

  [[nodiscard]] const std::vector<ParameterEntry>& entries() const { return entries_; }
  /// Elements of all tensors together.
  [[nodiscard]] Index size() const { return size_; }

 private:
  Tensor add(std::string name, std::vector<Index> shape, Index rows, Index cols, Initial initial, bool decays);
  std::vector<ParameterEntry> entries_;
  Index size_ = 0;
};

/// A flat array, or the part `range` of one, seen as tensors.
template <class T>
class ParameterView {
 public:
  ParameterView() = default;
  explicit ParameterView(std::span<T> whole) : data_(whole.data()), range_{0, static_cast<Index>(whole.size())} {}
  /// `part` holds the elements `range` of the flat array.
  ParameterView(std::span<T> part, Range range) : data_(part.data()), range_(range) {
    invariant(static_cast<Index>(part.size()) == range.size(), "{} values for parameters [{}, {})", part.size(),
              range.begin, range.end);
  }
  [[nodiscard]] Range range() const { return range_; }
  [[nodiscard]] MatrixView<T> matrix(Tensor t) const { return {at(t), t.rows, t.cols, t.cols}; }
  [[nodiscard]] std::span<T> vector(Tensor t) const { return {at(t), static_cast<std::size_t>(t.size())}; }
  operator ParameterView<const T>() const  // NOLINT(google-explicit-constructor): as span<T> to span<const T>
      requires(!std::is_const_v<T>) {
    return {std::span<const T>{data_, static_cast<std::size_t>(range_.size())}, range_};
  }

 private:
  [[nodiscard]] T* at(Tensor t) const {
    invariant(range_.begin <= t.offset && t.offset + t.size() <= range_.end,
              "tensor [{}, {}) is not within parameters [{}, {})", t.offset, t.offset + t.size(), range_.begin,
              range_.end);
    return data_ + (t.offset - range_.begin);
  }
  T* data_ = nullptr;
  Range range_;
};

/// Writes the initial values of the elements `range` of the list's flat array into `values` (range.size() of them). A
/// draw depends on the seed, the tensor's name and the element alone.
template <class T>
void initialise(const ParameterList& list, Range range, Index seed, std::span<T> values);

}  // namespace conclave
