// SPDX-License-Identifier: BSD-3-Clause
// What `conclave inspect --routing` does.
#pragma once

#include "apps/command.hpp"

#include <string>

namespace conclave::apps {

struct InspectRoutingOptions {
  std::string data;
  Index sequences = 0;
  std::string sentence;
  std::string html;
};

void describe(InspectRoutingOptions& options, OptionTable& table);

/// Prints which experts serve which bytes of held-out data, and where the sentence goes; the same text on any number of
/// ranks. InputError for a model without MoE layers or of classes, where nothing is held out, and for a sentence that
/// is longer than the context. Collective.
void inspect_routing(const InspectRoutingOptions& options, const std::string& checkpoint, const Session& session);

}  // namespace conclave::apps
