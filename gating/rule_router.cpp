// SPDX-License-Identifier: BSD-3-Clause
#include "gating/rule_router.hpp"

#include "gating/fixed_router.hpp"
#include "gating/rule_table.hpp"

namespace conclave::gating {
namespace {

template <class T>
class RuleRouter final : public FixedRouter<T> {
 public:
  RuleRouter(const RouterOptions& options, Index seed)
      : FixedRouter<T>(options, seed), table_(options.rules, "rules", {options.experts, options.top_k, {}}) {}

 protected:
  void choose_experts(const RouterInput<T>& input, Matrix<std::int32_t>& choices) const override {
    invariant(static_cast<Index>(input.token_ids.size()) == input.x.rows, "{} token ids for {} tokens",
              input.token_ids.size(), input.x.rows);
    choices.resize(input.x.rows, this->options().top_k);
    for (Index t = 0; t < input.x.rows; ++t) {
      const auto at = static_cast<std::size_t>(t);
      const auto domain = input.domains.empty() ? std::nullopt : std::optional(input.domains[at]);
      const auto experts = table_.experts_of(input.token_ids[at], domain);
      if (experts.empty()) {
        throw InputError(fmt::format("no rule fits token {}{}", input.token_ids[at],
                                     domain ? fmt::format(" in domain {}", *domain) : " of no known domain"),
                         "add a last rule: default -> EXPERTS");
      }
      std::copy(experts.begin(), experts.end(), choices.row(t).begin());
    }
  }

 private:
  RuleTable table_;
};

}  // namespace

template <class T>
std::unique_ptr<Router<T>> make_rule_router(const RouterOptions& options, Index seed, Index, ParameterList&,
                                            const std::string&) {
  return std::make_unique<RuleRouter<T>>(options, seed);
}

template std::unique_ptr<Router<float>> make_rule_router(const RouterOptions&, Index, Index, ParameterList&,
                                                         const std::string&);
template std::unique_ptr<Router<double>> make_rule_router(const RouterOptions&, Index, Index, ParameterList&,
                                                          const std::string&);

}  // namespace conclave::gating
