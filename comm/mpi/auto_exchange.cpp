// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/auto_exchange.hpp"

#include "comm/plan/bruck.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

namespace conclave::comm {
namespace {

constexpr Index warm_up_uses = 1;  // memory is allocated, connections are made
constexpr Index measured_uses = 5;
constexpr double about_the_same = 1.1;

// The strategy that is most likely to win comes last: then it need not be set up again.
std::vector<std::string> candidates_for(const plan::Topology& topology, Index mean_message_bytes) {
  if (topology.num_ranks() == 1) return {"flat"};  // nothing travels
  std::vector<std::string> names{"pairwise", "flat", "shared"};
  if (mean_message_bytes <= plan::most_bytes_of_bruck_message) names.insert(names.begin(), "bruck");
  if (topology.num_nodes() > 1) names.emplace_back("hierarchical");
  return names;
}

class AutoInbox final : public Inbox {
 public:
  using Choices = std::vector<ExchangeChoice>;
  AutoInbox(const Exchange& exchange, const std::vector<std::unique_ptr<Exchange>>& members, std::string name,
            Choices& choices)
      : Inbox(exchange), members_(members), choices_(choices) {
    choice_.inbox = std::move(name);
  }

 private:
  [[nodiscard]] bool is_decided() const { return !choice_.strategy.empty(); }

  template <class Call>
  auto timed(const Call& call) {
    struct Timer {
      double& seconds;
      Clock::time_point start = Clock::now();
      ~Timer() { seconds += seconds_since(start); }
    } timer{seconds_};
    return call();
  }

  void do_open() override {
    if (!is_decided()) choose();
    // Measured from where all ranks are there: what they wait for each other is not the strategy's.
    seconds_ = 0.0;
    if (!is_decided()) communicator().barrier();
    timed([&] { inbox_->open(shape(), row_bytes(), sources()); });
    take_slots_of(*inbox_);
  }

  void do_start() override {
    if (!is_decided()) communicator().barrier();
    timed([&] { inbox_->start(); });
  }

  bool do_test() override {
    return timed([&] { return inbox_->test(); });
  }

  void do_wait() override {
    timed([&] { inbox_->wait(); });
    take_steps_of(*inbox_);
    if (is_decided()) return;
    ++uses_;
    // The least: what else happens on a machine only ever adds to it.
    if (uses_ > warm_up_uses) least_seconds_ = std::min(least_seconds_, seconds_);
  }

  // Goes on to the next candidate, or decides, as soon as this one has been measured.
  void choose() {
    if (candidates_.empty()) {
      const Index bytes = (shape().total_sent() - shape().rows_to(rank())) * row_bytes();
      candidates_ = candidates_for(topology(), communicator().max(bytes / communicator().size()));
      if (candidates_.size() == 1) {
        decide(candidates_.front());
      } else {
        use(candidates_.front());
      }
      return;
    }
    if (uses_ < warm_up_uses + measured_uses) return;
    choice_.measured.push_back({current_, communicator().max(least_seconds_)});
    const std::size_t next = choice_.measured.size();
    if (next < candidates_.size()) {
      use(candidates_[next]);
      return;
    }
    decide(fastest());
  }

  // Of those that measure about the same the last: it copies the least, which more ranks at work will show.
  [[nodiscard]] std::string fastest() const {
    const auto& measured = choice_.measured;
    const double least = std::ranges::min_element(measured, {}, &ExchangeChoice::Candidate::seconds)->seconds;
    return std::find_if(measured.rbegin(), measured.rend(),
                        [&](const auto& c) { return c.seconds <= least * about_the_same; })
        ->strategy;
  }

  void use(const std::string& strategy) {
    uses_ = 0;
    least_seconds_ = std::numeric_limits<double>::max();
    if (strategy == current_) return;
    current_ = strategy;
    inbox_.reset();  // before the next one has its buffers
    const auto& strategies = exchange_strategies();
    const auto member = std::ranges::find(strategies, strategy, &ExchangeStrategy::name) - strategies.begin();
    inbox_ = members_[static_cast<std::size_t>(member)]->make_inbox(choice_.inbox);
  }

  void decide(const std::string& strategy) {
    use(strategy);
    choice_.strategy = strategy;
    choices_.push_back(choice_);
  }

  std::byte* data() override { return inbox_->arrived<std::byte>().data; }

  const std::vector<std::unique_ptr<Exchange>>& members_;  // as exchange_strategies()
  Choices& choices_;
  ExchangeChoice choice_;
  std::vector<std::string> candidates_;
  std::string current_;
  std::unique_ptr<Inbox> inbox_;
  Index uses_ = 0;  // of the current candidate
  double seconds_ = 0.0;
  double least_seconds_ = 0.0;
};

class AutoExchange : public Exchange {
 public:
  AutoExchange(const Communicator& communicator, const plan::Topology& topology) : Exchange(communicator, topology) {
    for (const ExchangeStrategy& strategy : exchange_strategies()) {
      members_.push_back(strategy.make == make_auto_exchange ? nullptr : strategy.make(communicator, topology));
    }
  }
  std::unique_ptr<Inbox> make_inbox(const std::string& name) const override {
    return std::make_unique<AutoInbox>(*this, members_, name, choices_);
  }
  std::span<const ExchangeChoice> choices() const override { return choices_; }

 private:
  std::vector<std::unique_ptr<Exchange>> members_;  // as exchange_strategies(); null for this one
  mutable std::vector<ExchangeChoice> choices_;     // its inboxes add to it
};

}  // namespace

std::unique_ptr<Exchange> make_auto_exchange(const Communicator& communicator, const plan::Topology& topology) {
  return std::make_unique<AutoExchange>(communicator, topology);
}

}  // namespace conclave::comm
