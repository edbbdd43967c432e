// SPDX-License-Identifier: BSD-3-Clause
// The simulation `validate`: runs that were measured, priced as what they were, and how far the prices are off.
#include "apps/validation.hpp"
#include "runtime/train/agreed.hpp"

namespace conclave::apps {
namespace {

struct ValidateSimulation {
  ValidationOptions validation;
  bool json = false;
  std::string csv;
  std::string picture;
};

void describe_validate(ValidateSimulation& o, OptionSections& sections) {
  OptionTable& table = sections.section("Validation");
  describe(o.validation, table);
  table.add("json", o.json, "print one JSON object in place of the tables");
  table.add("csv", o.csv, "a file to write every run and phase into, with commas");
  table.add("picture", o.picture, "a file to draw predicted against measured steps into, as SVG");
}

int validate_runs(const ValidateSimulation& o, const Session& session) {
  refuse_unwritable(session.world, "csv", o.csv);
  refuse_unwritable(session.world, "picture", o.picture);
  const Validation v = validated(o.validation, session);
  train::on_root(session.world, [&] {
    fmt::print("{}", o.json ? json_text(v) : table_text(v));
    if (!o.csv.empty()) write_file(o.csv, csv_text(v));
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
