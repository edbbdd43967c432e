// SPDX-License-Identifier: BSD-3-Clause
// Activation functions, each with its derivative taken in the same pass: forward leaves the derivative where the
// argument was, so that backward is one multiplication (`product`) and computes no exponential again. The bias of the
// matrix product before is added on the way. For one CPU type an element's result does not depend on its place.
#pragma once

#include <span>

namespace conclave {

/// y = max(x + bias, 0); x becomes the derivative, 1 or 0. An empty bias is none; else it has x's length.
template <class T>
void relu(std::span<const T> bias, std::span<T> x, std::span<T> y);

/// y = v Phi(v) with v = x + bias and Phi the standard normal distribution function: the exact GELU (Hendrycks & Gimpel
/// 2016); x becomes Phi(v) + v phi(v). In float to within 3 units in the last place of v.
template <class T>
void gelu(std::span<const T> bias, std::span<T> x, std::span<T> y);

/// y = silu(u) v with u = a + bias_a, v = b + bias_b, silu(u) = u sigma(u): the gate of SwiGLU (Shazeer 2020). a
/// becomes dy/du = v sigma(u) (1 + u (1 - sigma(u))), b becomes dy/dv = silu(u). Both biases are empty or neither.
template <class T>
void swiglu(std::span<const T> bias_a, std::span<const T> bias_b, std::span<T> a, std::span<T> b, std::span<T> y);

}  // namespace conclave
