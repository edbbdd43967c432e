// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/span.hpp"

namespace conclave {

std::string Span::name() const {
  switch (kind) {
    case SpanKind::step:
      return fmt::format("step {}", step);
    case SpanKind::pass:
      return fmt::format("pass {}", pass);
    case SpanKind::layer:
      return direction ? fmt::format("layer {} {}", layer, name_of(*direction)) : fmt::format("layer {}", layer);
    case SpanKind::compute:
    case SpanKind::wait:
    case SpanKind::transfer:
      break;
  }
  return std::string(phase ? name_of(*phase) : of);
}

}  // namespace conclave
