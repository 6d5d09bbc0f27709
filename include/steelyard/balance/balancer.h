// The Balancer ties one cycle together on one rank: record -> gather -> plan -> move -> commit,
// while the host serves.
//
// A host calls, in this order, on every rank, every step, dummy steps included: BeginStep(); per
// MoE layer tables(layer) for the tables in force, Record(layer, phase, counts) after dispatch,
// Pump() at safe points (after expert products); EndStep(). They allocate nothing in steady state,
// take no lock that the worker holds for long, and never wait except in EndStep() for an agreement
// whose result is not there at the step where every rank uses it; that time is counted as stall.
//
// Every decision is a function of the step number and of agreements, so all ranks take it at the
// same step (I4, I7).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "steelyard/base/clock.h"
#include "steelyard/base/status.h"
#include "steelyard/comm/communicator.h"
#include "steelyard/load/load_window.h"
#include "steelyard/migrate/expert_store.h"
#include "steelyard/migrate/layer_tables.h"
#include "steelyard/placement/placement.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// kOff: count loads, plan nothing. kStatic: the same with a placement that never changes. kSync:
/// plan and move everything at once between two steps. kAsync: plan on a worker, move under a byte
/// budget, flip at an agreed step.
enum class BalanceMode { kOff, kStatic, kSync, kAsync };
Result<BalanceMode> ParseBalanceMode(std::string_view name);
std::string_view BalanceModeName(BalanceMode mode);

struct BalancerOptions {
  // Changes results.
  BalanceMode mode = BalanceMode::kAsync;
  int window_steps = 32;
  int bins_per_window = 4;  // divides window_steps
  int history_windows = 4;  // how many past windows a plan sees, the last one included
  /// Limits bind each cycle. Where `expert_bytes` is 0 it is the largest bundle of the store.
  PlanOptions plan;

  // Changes speed only (an agreed step may come later, the answers stay).
  int vote_lag_steps = 1;  // EndStep() of step s starts a vote, that of step s + lag uses it
  size_t pump_bytes = 256 * 1024;  // taken in by one Pump()
  size_t slice_bytes = 256 * 1024;
  int staging_buffers = 4;                             // spare buffers per pool and rank
  int verify_every = 1;                                // hash every n-th moved bundle
  Duration vote_deadline = std::chrono::seconds(10);   // then a peer is lost
  Duration cycle_deadline = std::chrono::seconds(60);  // then the cycle is abandoned
  int idle_windows_warning = 8;                        // "no cycle committed or kept for N windows"

  Status Validate() const;
};

/// Tokens over one window of steps. Imbalance is of counts summed over the window: max / mean rank
/// load, mean over layers.
struct WindowStats {
  int64_t first_step = 0;
  double tokens = 0;  // token-expert pairs over all layers
  double imbalance = 1.0;
  /// [num_ranks] load / mean load of each layer's hottest rank, of its second, .. of its coldest,
  /// mean over layers: ranks that are hot in different layers do not hide each other.
  std::vector<double> rank_loads = {};
};

struct BalancerMetrics {
  int64_t cycles_started = 0;  // committed + kept + abandoned + one in flight
  int64_t cycles_committed = 0;
  int64_t cycles_kept = 0;
  int64_t cycles_abandoned = 0;
  int64_t moves = 0;        // committed arrivals, over all ranks
  int64_t bytes_moved = 0;  // of those
  int64_t duplicates_replaced = 0;
  Duration stall_total{0};  // time this rank's steps waited for the balancer
  Duration stall_max{0};
  int64_t windows_without_cycle = 0;  // since one was last committed or kept
  int64_t windows_lost = 0;           // whose loads did not come together
  bool planning_stopped = false;      // two workers were abandoned
  std::string last_abandon_reason;
  std::vector<WindowStats> windows;  // complete windows, in order
  /// Index into `windows` of the first that began after the first committed cycle; -1 while there
  /// is none.
  int64_t first_window_after_commit = -1;
};

/// What a host hands over. Everything must outlive the balancer.
struct BalancerHost {
  Communicator* comm = nullptr;
  ExpertStore* store = nullptr;
  const Clock* clock = &Clock::System();
  /// Makes a policy for a worker: called at start, and again where a worker had to be given up. May
  /// be empty in modes kOff and kStatic.
  std::function<Result<std::unique_ptr<Policy>>()> make_policy;
  /// Called in EndStep() or Finish(), on this rank's thread, with the group's loads [bins, phases,
  /// layers, experts] of each complete window in order, and at the end with the complete bins of
  /// the last, incomplete one. May be empty.
  std::function<void(const LoadWindow&)> on_loads;
};

class Balancer {
 public:
  /// Fails with kInvalidArgument when options, placement, communicator and store disagree, and when
  /// the placement's ranks are not plain.
  static Result<std::unique_ptr<Balancer>> Create(const BalancerOptions& options,
                                                  const BalancerHost& host,
                                                  const Placement& initial);
  virtual ~Balancer() = default;

  virtual void BeginStep() = 0;
  /// The tables in force of a MoE layer (from 0); the same version on every rank until EndStep().
  virtual LayerTables tables(int layer) const = 0;
  /// Adds `counts` [slots_per_rank], the tokens that each slot of this rank received in this step.
  virtual void Record(int layer, Phase phase, std::span<const uint32_t> counts) = 0;
  /// Copies a little of what is on its way. Requires: this step had a token exchange before.
  virtual void Pump() = 0;
  /// Fails only when a peer is lost (kDeadlineExceeded or what the communicator says), naming rank,
  /// step and vote; the run cannot go on then.
  virtual Status EndStep() = 0;

  /// After the last step, on every rank: hands out what is gathered or recorded and not yet seen.
  /// What a cycle still moves is given up; afterwards no peer reads this rank's experts.
  /// Collective; waits up to vote_deadline, and fails when the last loads do not come in time. No
  /// step may follow.
  virtual Status Finish() = 0;

  /// Tokens per local slot of every MoE layer since the last ClearLoads(), [num_layers,
  /// slots_per_rank].
  virtual std::span<const int64_t> loads() const = 0;
  virtual void ClearLoads() = 0;

  virtual Placement placement() const = 0;
  virtual int64_t step() const = 0;
  virtual const BalancerMetrics& metrics() const = 0;
};

}  // namespace steelyard
