// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/update_kernels.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/simd.hpp"

namespace conclave {

using namespace simd;

void adamw_update(const AdamwFactors& factors, std::span<float> values, std::span<const float> gradient,
                  std::span<float> m, std::span<float> v) {
  invariant(values.size() == gradient.size() && values.size() == m.size() && values.size() == v.size(),
            "an update of {} values by {} gradients, {} and {} states", values.size(), gradient.size(), m.size(),
            v.size());
  map<float, 4, 3>(length(values), {values.data(), gradient.data(), m.data(), v.data()},
                   {values.data(), m.data(), v.data()}, [f = factors](const Vecs<float, 4>& in) {
                     const Vec<float> g = f.scale * in[1];
                     const Vec<float> mean = f.beta1 * in[2] + f.rest1 * g;
                     const Vec<float> square = f.beta2 * in[3] + f.rest2 * (g * g);
                     const Vec<float> step = f.rate * mean / (xsimd::sqrt(f.unbias2 * square) + f.epsilon);
                     return Vecs<float, 3>{f.keep * in[0] - step, mean, square};
                   });
}

void momentum_update(const MomentumFactors& factors, std::span<float> values, std::span<const float> gradient,
                     std::span<float> m) {
  invariant(values.size() == gradient.size() && values.size() == m.size(),
            "an update of {} values by {} gradients and {} states", values.size(), gradient.size(), m.size());
  map<float, 3, 2>(length(values), {values.data(), gradient.data(), m.data()}, {values.data(), m.data()},
                   [f = factors](const Vecs<float, 3>& in) {
                     const Vec<float> mean = f.momentum * in[2] + f.scale * in[1];
                     return Vecs<float, 2>{f.keep * in[0] - f.rate * mean, mean};
                   });
}

}  // namespace conclave
