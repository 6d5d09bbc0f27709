#include "balance/test_host.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "comm/test_ranks.h"

namespace steelyard {
namespace {

struct Token {
  int32_t slot = 0;
  int32_t expert = 0;
  int32_t phase = 0;
};

// Far more than any test needs, even where workers hardly get to run.
constexpr int64_t kMaxSteps = 60000;

// Where the blocks of an exchange begin: the version that the sender routed by.
struct BlockHead {
  int64_t version = 0;
};

class RankDriver {
 public:
  RankDriver(const TestHostOptions& options, const Placement& initial, Communicator& comm,
             TestRankRun& run)
      : options_(options),
        initial_(initial),
        comm_(comm),
        run_(run),
        store_(initial, comm.rank(), options.bundle_bytes,
               std::max(1, options.balancer.staging_buffers)),
        blocks_(options.num_ranks),
        send_bytes_(options.num_ranks),
        recv_bytes_(options.num_ranks) {}

  Status Run() {
    BalancerHost host;
    host.comm = &comm_;
    host.store = &store_;
    host.clock = options_.clock;
    host.make_policy = [this] {
      return options_.make_policy ? options_.make_policy(comm_.rank())
                                  : MakePolicy(options_.policy);
    };
    host.on_loads = [this](const LoadWindow& window) { run_.loads.push_back(window); };
    STEELYARD_ASSIGN_OR_RETURN(const std::unique_ptr<Balancer> balancer,
                               Balancer::Create(options_.balancer, host, initial_));
    Status status = RunSteps(*balancer);
    run_.metrics = balancer->metrics();
    for (int layer = 0; layer < options_.num_layers; ++layer) {
      const LayerTables tables = balancer->tables(layer);
      run_.slot_to_expert.insert(run_.slot_to_expert.end(), tables.slot_to_expert.begin(),
                                 tables.slot_to_expert.end());
      run_.versions.push_back(tables.version);
    }
    // A rank that gave up still has offers out: the group is broken before its memory goes.
    if (!status.ok()) comm_.Abort(status);
    return status;
  }

 private:
  Status RunSteps(Balancer& balancer) {
    do {
      if (run_.steps == kMaxSteps) return Internal("what the test waits for never came");
      balancer.BeginStep();
      run_.sent.resize(run_.sent.size() + NumCountsPerStep());
      for (int layer = 0; layer < options_.num_layers; ++layer) {
        STEELYARD_RETURN_IF_ERROR(RunLayer(balancer, layer));
      }
      if (options_.before_end_step) options_.before_end_step(comm_.rank(), balancer);
      STEELYARD_RETURN_IF_ERROR(balancer.EndStep());
      ++run_.steps;
      STEELYARD_RETURN_IF_ERROR(CheckTables(balancer));
      if (options_.after_end_step) options_.after_end_step(comm_.rank(), balancer);
    } while (!options_.stop(balancer));
    STEELYARD_RETURN_IF_ERROR(balancer.Finish());
    // What this rank sent last stays readable until all have met.
    send_.clear();
    std::fill(send_bytes_.begin(), send_bytes_.end(), 0);
    return comm_.Exchange({{}, send_bytes_, recv_, recv_bytes_}, ExchangeDeadline());
  }

  size_t NumCountsPerStep() const {
    return size_t{kNumPhases} * options_.num_layers * options_.num_experts;
  }

  Deadline ExchangeDeadline() const {
    return Deadline::After(std::chrono::seconds(300), *options_.exchange_clock);
  }

  Status RunLayer(Balancer& balancer, int layer) {
    const LayerTables tables = balancer.tables(layer);
    RouteTokens(balancer.step(), layer, tables);
    STEELYARD_RETURN_IF_ERROR(Exchange());
    STEELYARD_RETURN_IF_ERROR(Receive(balancer, layer, tables));
    balancer.Pump();
    return Status::Ok();
  }

  void RouteTokens(int64_t step, int layer, const LayerTables& tables) {
    for (std::vector<Token>& block : blocks_) block.clear();
    const std::vector<double> upto = CumulativeHeat(step, layer);
    std::mt19937_64 random(((options_.seed * 64 + comm_.rank()) << 32) + step * 64 + layer);
    std::uniform_real_distribution<double> uniform(0.0, upto.back());
    std::vector<uint32_t> seen(options_.num_experts, 0);
    const int num_tokens = options_.tokens_per_rank + (comm_.rank() == 0 ? 3 : 0);
    int64_t* const sent = run_.sent.data() + run_.sent.size() - NumCountsPerStep();
    for (int i = 0; i < num_tokens; ++i) {
      const auto place = std::upper_bound(upto.begin(), upto.end() - 1, uniform(random));
      Token token;
      token.expert = static_cast<int32_t>(place - upto.begin());
      token.phase = random() % 4 == 0 ? 0 : 1;
      token.slot = tables.routing->Pick(
          token.expert, seen[token.expert]++,
          ReplicaOffset(comm_.rank(), static_cast<uint64_t>(step), token.expert));
      blocks_[initial_.topology().rank_of_slot(token.slot)].push_back(token);
      ++sent[(size_t{1} * token.phase * options_.num_layers + layer) * options_.num_experts +
             token.expert];
    }
    send_.clear();
    for (int rank = 0; rank < options_.num_ranks; ++rank) {
      const BlockHead head{tables.version};
      const auto* const head_bytes = reinterpret_cast<const std::byte*>(&head);
      const auto* const tokens = reinterpret_cast<const std::byte*>(blocks_[rank].data());
      const size_t num_bytes = blocks_[rank].size() * sizeof(Token);
      send_.insert(send_.end(), head_bytes, head_bytes + sizeof(head));
      send_.insert(send_.end(), tokens, tokens + num_bytes);
      send_bytes_[rank] = sizeof(head) + num_bytes;
    }
  }

  // Running sum of how likely each expert is, [num_experts].
  std::vector<double> CumulativeHeat(int64_t step, int layer) const {
    const int64_t shift = options_.drift_steps > 0 ? step / options_.drift_steps * 5 : 0;
    std::vector<double> upto(options_.num_experts);
    double sum = 0.0;
    for (int expert = 0; expert < options_.num_experts; ++expert) {
      const auto place = (expert + shift + 3 * layer) % options_.num_experts;
      sum += options_.flat ? 1.0 : 1.0 / static_cast<double>(1 + place);
      upto[expert] = sum;
    }
    return upto;
  }

  // Two buffers take turns: what is sent stays unchanged until the next exchange.
  Status Exchange() {
    sent_[turn_].swap(send_);
    const std::vector<std::byte>& send = sent_[turn_];
    turn_ = 1 - turn_;
    recv_.resize((options_.tokens_per_rank + 16) * sizeof(Token) * options_.num_ranks * 2);
    return comm_.Exchange({send, send_bytes_, recv_, recv_bytes_}, ExchangeDeadline());
  }

  Status Receive(Balancer& balancer, int layer, const LayerTables& tables) {
    const int first_slot = initial_.topology().first_slot_of_rank(comm_.rank());
    std::vector<std::vector<uint32_t>> counts(kNumPhases,
                                              std::vector<uint32_t>(options_.slots_per_rank, 0));
    const std::byte* from = recv_.data();
    int64_t num_tokens = 0;
    for (int sender = 0; sender < options_.num_ranks; ++sender) {
      const std::byte* const end = from + recv_bytes_[sender];
      BlockHead head;
      std::memcpy(&head, from, sizeof(head));
      if (head.version != tables.version) {
        return Internal(
            fmt::format("I4: layer {} step {}: rank {} routes by version {}, rank {} {}", layer,
                        balancer.step(), sender, head.version, comm_.rank(), tables.version));
      }
      for (from += sizeof(head); from < end; from += sizeof(Token)) {
        Token token;
        std::memcpy(&token, from, sizeof(token));
        if (tables.slot_to_expert[token.slot] != token.expert) {
          return Internal(fmt::format("I3: slot {} holds no expert {}", token.slot, token.expert));
        }
        ++counts[token.phase][token.slot - first_slot];
        ++num_tokens;
      }
    }
    const std::string wrong = store_.CheckLayer(tables, initial_.topology(), comm_.rank(), layer);
    if (!wrong.empty()) return Internal("I3 I5: " + wrong);
    balancer.Record(layer, Phase::kPrefill, counts[0]);
    balancer.Record(layer, Phase::kDecode, counts[1]);
    run_.received.push_back(num_tokens);
    return Status::Ok();
  }

  Status CheckTables(const Balancer& balancer) const {
    for (int layer = 0; layer < options_.num_layers; ++layer) {
      const std::span<const int32_t> slots = balancer.tables(layer).slot_to_expert;
      std::vector<int> copies(options_.num_experts, 0);
      for (size_t slot = 0; slot < slots.size(); ++slot) {
        ++copies[slots[slot]];
        const int rank = initial_.topology().rank_of_slot(static_cast<int>(slot));
        const auto own = slots.begin() + initial_.topology().first_slot_of_rank(rank);
        if (std::count(own, own + options_.slots_per_rank, slots[slot]) != 1) {
          return Internal(fmt::format("I2: rank {} holds expert {} twice", rank, slots[slot]));
        }
      }
      if (std::count(copies.begin(), copies.end(), 0) > 0) {
        return Internal(fmt::format("I1: an expert of layer {} has no slot", layer));
      }
    }
    return Status::Ok();
  }

  const TestHostOptions& options_;
  const Placement& initial_;
  Communicator& comm_;
  TestRankRun& run_;
  TestStore store_;
  std::vector<std::vector<Token>> blocks_;  // [num_ranks]
  std::vector<std::byte> send_;
  std::vector<std::byte> sent_[2];
  int turn_ = 0;
  std::vector<size_t> send_bytes_;
  std::vector<std::byte> recv_;
  std::vector<size_t> recv_bytes_;
};

}  // namespace

std::vector<TestRankRun> RunTestHost(const TestHostOptions& given) {
  TestHostOptions options = given;
  const ManualClock still;
  if (options.clock == nullptr) options.clock = &still;
  options.faults.resize(options.num_ranks);
  const Topology topology = Topology::Create(options.num_ranks, options.slots_per_rank).value();
  const Placement initial =
      Placement::Contiguous(topology, options.num_layers, options.num_experts).value();
  const auto ends = AddFaults(MakeInprocGroup(options.num_ranks), options.faults);
  if (options.on_ends) options.on_ends(ends);
  std::vector<TestRankRun> runs(options.num_ranks);
  // Stores outlive the threads: where a run ends early, peers may still read from them.
  std::vector<std::unique_ptr<RankDriver>> drivers;
  for (int rank = 0; rank < options.num_ranks; ++rank) {
    drivers.push_back(std::make_unique<RankDriver>(options, initial, *ends[rank], runs[rank]));
  }
  const std::vector<Status> statuses =
      RunRanks(ends, [&](Communicator& comm) { return drivers[comm.rank()]->Run(); });
  for (int rank = 0; rank < options.num_ranks; ++rank) runs[rank].status = statuses[rank];
  return runs;
}

BalancerOptions QuickOptions(BalanceMode mode) {
  BalancerOptions options;
  options.mode = mode;
  options.window_steps = 8;
  options.bins_per_window = 4;
  options.pump_bytes = 256;
  options.slice_bytes = 64;
  options.staging_buffers = 2;
  options.cycle_deadline = std::chrono::seconds(40);
  return options;
}

std::function<bool(const Balancer&)> AfterCycles(int64_t num_cycles) {
  return [num_cycles](const Balancer& balancer) {
    const BalancerMetrics& metrics = balancer.metrics();
    return metrics.cycles_committed + metrics.cycles_kept >= num_cycles && balancer.step() % 8 == 7;
  };
}

std::vector<int64_t> SentBetween(const std::vector<TestRankRun>& runs,
                                 const TestHostOptions& options, int64_t first_step,
                                 int64_t end_step) {
  const size_t per_step = size_t{kNumPhases} * options.num_layers * options.num_experts;
  std::vector<int64_t> sum(per_step, 0);
  for (const TestRankRun& run : runs) {
    for (int64_t step = first_step; step < end_step; ++step) {
      for (size_t i = 0; i < per_step; ++i) sum[i] += run.sent[step * per_step + i];
    }
  }
  return sum;
}

std::string Disagreement(const std::vector<TestRankRun>& runs) {
  const auto counts = [](const TestRankRun& run) {
    const BalancerMetrics& m = run.metrics;
    return std::vector<int64_t>{m.cycles_started,
                                m.cycles_committed,
                                m.cycles_kept,
                                m.cycles_abandoned,
                                m.moves,
                                m.bytes_moved,
                                m.duplicates_replaced,
                                m.windows_without_cycle,
                                m.planning_stopped,
                                m.first_window_after_commit};
  };
  for (size_t rank = 1; rank < runs.size(); ++rank) {
    if (runs[rank].slot_to_expert != runs[0].slot_to_expert) {
      return fmt::format("placements of ranks 0 and {} differ", rank);
    }
    if (runs[rank].versions != runs[0].versions) {
      return fmt::format("versions of ranks 0 and {} differ", rank);
    }
    if (counts(runs[rank]) != counts(runs[0])) {
      return fmt::format("metrics of ranks 0 and {} differ: {} and {}", rank,
                         fmt::join(counts(runs[0]), " "), fmt::join(counts(runs[rank]), " "));
    }
  }
  return "";
}

}  // namespace steelyard
