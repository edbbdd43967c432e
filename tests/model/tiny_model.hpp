// SPDX-License-Identifier: BSD-3-Clause
// A model that is small enough to be differentiated numerically, and in which some claims are dropped.
#pragma once

#include "runtime/model/options.hpp"

namespace conclave::model {

inline ModelOptions tiny() {
  ModelOptions o;
  o.layers = 2;
  o.width = 8;
  o.heads = 2;
  o.context = 4;
  o.dense_hidden = 10;
  o.router.experts = 3;
  o.router.top_k = 2;
  o.router.capacity_factor = 1.0;
  o.router.min_capacity = 0;
  o.router.c_balance = 0.5;
  o.router.c_z = 0.1;
  o.router.c_importance = 0.2;
  o.experts.expert_hidden = {6, 9};
  return o;
}

}  // namespace conclave::model
