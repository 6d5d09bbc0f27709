// The Mover carries out a Migration on one rank: slices under a byte budget into spare buffers,
// then a flip per round.
//
// It decides nothing: the balancer's agreement says when a round is committed or a cycle abandoned,
// on every rank at the same step. All calls come from the thread that drives the step. Steady state
// allocates nothing that grows with bytes moved.
#pragma once

#include <cstdint>
#include <memory>

#include "migrate/migration.h"
#include "steelyard/base/status.h"
#include "steelyard/comm/communicator.h"
#include "steelyard/migrate/expert_store.h"
#include "steelyard/migrate/layer_tables.h"

namespace steelyard {

struct MoverOptions {
  // Changes speed only.
  size_t slice_bytes = 256 * 1024;
  int staging_buffers = 1;  // spare buffers per pool; 0 where nothing will ever move
  int verify_every = 1;     // hash every n-th bundle, counted per cycle; 1 is every one
};

struct MoverStats {
  int64_t bundles_received = 0;
  int64_t bytes_received = 0;  // bytes that crossed a link to this rank
  int64_t bytes_copied = 0;    // bytes written to do so; equal where a move costs one copy
  int64_t bundles_verified = 0;
  int64_t slices_dropped = 0;       // late slices of a cycle that is not in flight
  int64_t buffers_quarantined = 0;  // of abandoned cycles, not yet back in the pool
};

class Mover {
 public:
  /// Buffers 0 .. num_layers_of_pool * slots_per_rank - 1 of a pool hold the slots of its layers in
  /// order; the rest are spare. Fails with kInvalidArgument when the store has fewer buffers than
  /// slots + staging_buffers, or a bundle's header does not name the layer, expert and layout that
  /// `initial` puts there. `comm` and `store` must outlive the mover.
  static Result<std::unique_ptr<Mover>> Create(Communicator* comm, ExpertStore* store,
                                               const Placement& initial,
                                               const MoverOptions& options);
  virtual ~Mover() = default;

  /// The tables in force. The spans stay valid until the next CommitRound().
  virtual LayerTables tables(int layer) const = 0;
  /// The placement in force, of all layers.
  virtual Placement placement() const = 0;

  /// Takes over a migration from the placement in force. Requires: no cycle in flight; `cycle`
  /// rises.
  virtual void Begin(uint64_t cycle, Migration migration) = 0;
  virtual bool InFlight() const = 0;

  /// Offers slices of the current round to receivers and takes in up to `byte_budget` bytes of this
  /// rank's own (at least one slice where one is there). Also drops late slices when no cycle is in
  /// flight. Cheap when there is nothing to do.
  virtual void Pump(size_t byte_budget) = 0;

  /// Index of the round whose slices are travelling.
  virtual int round() const = 0;
  virtual int num_rounds() const = 0;
  /// Every arrival of the current round at this rank has landed and been verified.
  virtual bool RoundComplete() const = 0;
  /// Why this rank cannot complete the round (a hash or header that differs, a channel failure); ok
  /// otherwise.
  virtual const Status& failure() const = 0;

  /// Flips the layers of the current round to their new tables and goes on to the next round; after
  /// the last one no cycle is in flight. Called on every rank at the same step. Requires:
  /// RoundComplete(). No byte is copied, nothing is allocated.
  virtual void CommitRound() = 0;

  /// Gives the cycle up; rounds already committed stay. Buffers of unfinished arrivals return to
  /// the pool when the channel is quiet.
  virtual void Abandon() = 0;

  virtual const MoverStats& stats() const = 0;
};

}  // namespace steelyard
