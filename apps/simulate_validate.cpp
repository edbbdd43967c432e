// SPDX-License-Identifier: BSD-3-Clause
// The simulation `validate`: runs that were measured, priced as what they were, and how far the prices are off.
#include "apps/validation.hpp"
#include "runtime/train/agreed.hpp"

namespace conclave::apps {
namespace {

struct ValidateSimulation {
  ValidationOptions validation;
  bool json = false;
  ResultFiles files;
  std::string picture;
};

void describe_validate(ValidateSimulation& o, OptionSections& sections) {
  OptionTable& table = sections.section("Validation");
  describe(o.validation, table);
  table.add("json", o.json, "print one JSON object in place of the tables");
  describe(o.files, table, "every run and phase");
  table.add("picture", o.picture, "a file to draw predicted against measured steps into, as SVG");
}

int validate_runs(const ValidateSimulation& o, const Session& session) {
  refuse_unwritable(session.world, o.files);
  refuse_unwritable(session.world, "picture", o.picture);
  const Validation v = validated(o.validation, session);
  train::on_root(session.world, [&] {
    fmt::print("{}", o.json ? json_text(v) : table_text(v));
    write(o.files, table_of(v));
    if (!o.picture.empty()) write_file(o.picture, picture_text(v));
  });
  return 0;
}

}  // namespace

Command simulate_validate() {
  return make_command<ValidateSimulation>("validate", "how far predictions are off what runs have measured", "RUN...",
                                          describe_validate, validate_runs);
}

}  // namespace conclave::apps
