#include "migrate/mover.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "migrate/layer_state.h"
#include "migrate/round_progress.h"
#include "migrate/staging_pool.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

BundleHeader HeaderOf(std::span<const std::byte> bundle) {
  BundleHeader header;
  std::memcpy(&header, bundle.data(), sizeof(header));
  return header;
}

class SlotMover : public Mover, private SliceSink {
 public:
  SlotMover(Communicator* comm, ExpertStore* store, const Placement& initial,
            const MoverOptions& options)
      : comm_(comm),
        store_(store),
        options_(options),
        topology_(initial.topology()),
        num_experts_(initial.num_experts()) {
    const int slots_per_rank = topology_.slots_per_rank();
    std::vector<int> num_slots(store->num_pools(), 0);
    for (int layer = 0; layer < initial.num_layers(); ++layer) {
      int& first_buffer = num_slots[store->pool_of_layer(layer)];
      layers_.emplace_back(initial, layer, comm->rank(), first_buffer);
      first_buffer += slots_per_rank;
    }
    for (int pool = 0; pool < store->num_pools(); ++pool) {
      pools_.emplace_back(num_slots[pool], store->num_buffers(pool) - num_slots[pool],
                          num_slots[pool]);
    }
  }

  /// What Create() refuses.
  Status CheckStore() {
    for (size_t pool = 0; pool < pools_.size(); ++pool) {
      if (pools_[pool].num_free() < options_.staging_buffers) {
        return InvalidArgument(fmt::format(
            "pool {} of rank {} has {} spare buffers, fewer than the {} staging buffers asked for",
            pool, comm_->rank(), std::max(0, pools_[pool].num_free()), options_.staging_buffers));
      }
    }
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      const LayerTables tables = layers_[layer].in_force();
      for (int slot = 0; slot < topology_.slots_per_rank(); ++slot) {
        const int32_t expert =
            tables.slot_to_expert[topology_.first_slot_of_rank(comm_->rank()) + slot];
        STEELYARD_RETURN_IF_ERROR(CheckBundle(static_cast<int>(layer), expert,
                                              tables.slot_to_buffer[slot],
                                              StatusCode::kInvalidArgument));
      }
    }
    return Status::Ok();
  }

  LayerTables tables(int layer) const override { return layers_[layer].in_force(); }

  Placement placement() const override {
    std::vector<int32_t> slots;
    std::vector<double> shares;
    const bool any_shares =
        std::any_of(layers_.begin(), layers_.end(),
                    [](const LayerState& layer) { return !layer.shares().empty(); });
    for (const LayerState& layer : layers_) {
      const LayerTables tables = layer.in_force();
      slots.insert(slots.end(), tables.slot_to_expert.begin(), tables.slot_to_expert.end());
      for (int slot = 0; any_shares && slot < topology_.num_slots(); ++slot) {
        const int32_t expert = tables.slot_to_expert[slot];
        const std::span<const int32_t> copies = tables.routing->slots(expert);
        const auto place = std::find(copies.begin(), copies.end(), slot) - copies.begin();
        shares.push_back(tables.routing->shares(expert)[place]);
      }
    }
    Result<Placement> made = Placement::Create(topology_, num_experts_, std::move(slots),
                                               DuplicateRule::kRefuse, std::move(shares));
    return std::move(made).value();
  }

  void Begin(uint64_t cycle, Migration migration) override {
    STEELYARD_CHECK(!InFlight());
    STEELYARD_CHECK_LT(cycle_, cycle);
    cycle_ = cycle;
    migration_ = std::move(migration);
    failure_ = Status::Ok();
    arrivals_before_round_ = 0;
    round_ = -1;
    NextRound();
  }

  bool InFlight() const override { return round_ < num_rounds(); }

  void Pump(size_t byte_budget) override {
    if (InFlight() && failure_.ok()) {
      Offer(byte_budget);
    }
    Result<size_t> copied = comm_->weights().Poll(*this, byte_budget);
    if (!copied.ok()) {
      Fail(copied.status());
      return;
    }
    stats_.bytes_copied += static_cast<int64_t>(*copied);
    if (stats_.buffers_quarantined > 0) {
      ReleaseQuarantine();
    }
  }

  int round() const override { return round_; }
  int num_rounds() const override { return static_cast<int>(migration_.rounds.size()); }

  bool RoundComplete() const override {
    // What fails later does not undo it: the rank may have voted for the commit already.
    return InFlight() && std::all_of(incoming_.begin(), incoming_.end(),
                                     [](const Incoming& in) { return in.done; });
  }

  const Status& failure() const override { return failure_; }

  void CommitRound() override {
    STEELYARD_CHECK(RoundComplete());
    for (const LayerStep& step : migration_.rounds[round_].steps) {
      StagingPool& pool = pools_[store_->pool_of_layer(step.layer)];
      layers_[step.layer].KeepBuffers([&](int32_t buffer) { pool.Give(buffer); });
    }
    for (const Incoming& in : incoming_) {
      layers_[in.arrival.layer].SetStagedBuffer(in.arrival.expert, in.buffer);
    }
    for (const LayerStep& step : migration_.rounds[round_].steps) {
      layers_[step.layer].Flip();
    }
    NextRound();
  }

  void Abandon() override {
    if (!InFlight()) {
      return;
    }
    comm_->weights().Cancel(cycle_);
    for (const Incoming& in : incoming_) {
      if (in.buffer >= 0) {
        pools_[in.pool].Quarantine(in.buffer, cycle_);
      }
    }
    incoming_.clear();
    outgoing_.clear();
    round_ = num_rounds();
    ReleaseQuarantine();
  }

  const MoverStats& stats() const override { return stats_; }

 private:
  // Lists the work of the next round, takes a buffer for each arrival, and builds the tables that
  // its commit will flip to.
  void NextRound() {
    if (round_ >= 0) {
      arrivals_before_round_ += static_cast<int64_t>(migration_.rounds[round_].arrivals.size());
    }
    ++round_;
    incoming_.clear();
    outgoing_.clear();
    num_offered_ = 0;
    if (!InFlight()) {
      return;
    }
    const Round& round = migration_.rounds[round_];
    ListWork(round, comm_->rank(), arrivals_before_round_, incoming_, outgoing_);
    for (Incoming& in : incoming_) {
      in.pool = store_->pool_of_layer(in.arrival.layer);
      in.buffer = pools_[in.pool].Take();
      if (in.buffer < 0) {
        Fail(FailedPrecondition(
            fmt::format("rank {} has no spare buffer in pool {}: {} are held by abandoned cycles",
                        comm_->rank(), in.pool, pools_[in.pool].num_quarantined())));
        continue;
      }
      in.bundle_bytes = store_->bundle(in.pool, in.buffer).size();
      in.landed_slices.assign((in.bundle_bytes + options_.slice_bytes - 1) / options_.slice_bytes,
                              false);
    }
    for (const LayerStep& step : round.steps) {
      layers_[step.layer].Stage(step.slot_to_expert, step.shares);
    }
  }

  // Offers bundles of this rank's until `byte_budget` is spent, at least one: hashing them is what
  // sending costs.
  void Offer(size_t byte_budget) {
    size_t offered = 0;
    while (num_offered_ < outgoing_.size() && offered < byte_budget) {
      const Outgoing& out = outgoing_[num_offered_++];
      const int layer = out.arrival.layer;
      const std::span<const std::byte> bundle =
          store_->bundle(store_->pool_of_layer(layer), BufferOf(layer, out.arrival.expert));
      SliceHeader header;
      header.cycle = cycle_;
      header.layer = layer;
      header.round = round_;
      header.expert = out.arrival.expert;
      header.buffer = out.staging_idx;
      header.bundle_bytes = bundle.size();
      header.bundle_hash = Sampled(out.index_in_cycle) ? HashOf(bundle) : 0;
      for (size_t offset = 0; offset < bundle.size(); offset += options_.slice_bytes) {
        header.offset_bytes = offset;
        header.slice_bytes = std::min(options_.slice_bytes, bundle.size() - offset);
        const Status sent = comm_->weights().Send(out.arrival.rank, header,
                                                  bundle.subspan(offset, header.slice_bytes));
        if (!sent.ok()) {
          Fail(sent);
          return;
        }
      }
      offered += bundle.size();
    }
  }

  // The arrival that a slice belongs to, or null for one that nobody waits for: of another cycle or
  // round, of another shape, or a slice that is already there.
  Incoming* Expected(const SliceHeader& header) {
    if (!InFlight() || header.cycle != cycle_ || header.round != round_ || header.buffer < 0 ||
        static_cast<size_t>(header.buffer) >= incoming_.size()) {
      return nullptr;
    }
    Incoming& in = incoming_[header.buffer];
    const bool fits =
        in.buffer >= 0 && header.layer == in.arrival.layer && header.expert == in.arrival.expert &&
        header.bundle_bytes == in.bundle_bytes && header.offset_bytes % options_.slice_bytes == 0 &&
        header.offset_bytes < in.bundle_bytes &&
        header.slice_bytes ==
            std::min<uint64_t>(options_.slice_bytes, in.bundle_bytes - header.offset_bytes);
    return fits && !in.landed_slices[header.offset_bytes / options_.slice_bytes] ? &in : nullptr;
  }

  std::span<std::byte> Destination(const SliceHeader& header) override {
    const Incoming* in = Expected(header);
    if (in == nullptr) {
      ++stats_.slices_dropped;
      return {};
    }
    return store_->bundle(in->pool, in->buffer).subspan(header.offset_bytes, header.slice_bytes);
  }

  void Landed(const SliceHeader& header) override {
    Incoming* in = Expected(header);
    STEELYARD_CHECK(in != nullptr);
    in->landed_slices[header.offset_bytes / options_.slice_bytes] = true;
    in->landed_bytes += header.slice_bytes;
    if (in->landed_bytes < in->bundle_bytes) {
      return;
    }
    stats_.bytes_received += static_cast<int64_t>(in->bundle_bytes);
    ++stats_.bundles_received;
    const Status right = Verify(*in, header.bundle_hash);
    in->done = right.ok();
    if (!right.ok()) {
      Fail(right);
    }
  }

  Status Verify(const Incoming& in, uint64_t hash_at_source) {
    const Arrival& arrival = in.arrival;
    if (Sampled(in.index_in_cycle)) {
      ++stats_.bundles_verified;
      const uint64_t hash_here = HashOf(store_->bundle(in.pool, in.buffer));
      if (hash_here != hash_at_source) {
        return DataLoss(fmt::format(
            "rank {}: expert {} of layer {} from rank {} hashes to {:016x} here and {:016x} there",
            comm_->rank(), arrival.expert, arrival.layer, arrival.source_rank, hash_here,
            hash_at_source));
      }
    }
    return CheckBundle(arrival.layer, arrival.expert, in.buffer, StatusCode::kDataLoss);
  }

  Status CheckBundle(int layer, int32_t expert, int32_t buffer, StatusCode code) {
    const BundleHeader header = HeaderOf(store_->bundle(store_->pool_of_layer(layer), buffer));
    const uint64_t layout_id = store_->layout_id(layer);
    if (header.layer == layer && header.expert == expert && header.layout_id == layout_id) {
      return Status::Ok();
    }
    return Status(code, fmt::format("rank {}: the bundle for expert {} of layer {} in layout "
                                    "{:016x} says it is expert {} of layer {} in "
                                    "layout {:016x}",
                                    comm_->rank(), expert, layer, layout_id, header.expert,
                                    header.layer, header.layout_id));
  }

  int32_t BufferOf(int layer, int32_t expert) const {
    const LayerTables tables = layers_[layer].in_force();
    const int first = topology_.first_slot_of_rank(comm_->rank());
    for (int slot = 0; slot < topology_.slots_per_rank(); ++slot) {
      if (tables.slot_to_expert[first + slot] == expert) {
        return tables.slot_to_buffer[slot];
      }
    }
    STEELYARD_CHECK(!"a migration names a source that does not hold the expert");
    return -1;
  }

  bool Sampled(int64_t index_in_cycle) const { return index_in_cycle % options_.verify_every == 0; }
  static uint64_t HashOf(std::span<const std::byte> bundle) {
    return XXH3_64bits(bundle.data(), bundle.size());
  }

  void Fail(const Status& status) {
    if (failure_.ok()) {
      failure_ = status;
    }
  }

  void ReleaseQuarantine() {
    stats_.buffers_quarantined = 0;
    for (StagingPool& pool : pools_) {
      pool.Release([&](uint64_t cycle) { return comm_->weights().Quiet(cycle); });
      stats_.buffers_quarantined += pool.num_quarantined();
    }
  }

  Communicator* comm_;
  ExpertStore* store_;
  const MoverOptions options_;
  const Topology topology_;
  const int num_experts_;
  std::vector<LayerState> layers_;  // [num_layers]
  std::vector<StagingPool> pools_;  // [num_pools]
  uint64_t cycle_ = 0;
  Migration migration_;
  int round_ = 0;                      // num_rounds() when no cycle is in flight
  int64_t arrivals_before_round_ = 0;  // of all ranks, in this cycle
  std::vector<Incoming> incoming_;     // this rank's arrivals of the round, by staging index
  std::vector<Outgoing> outgoing_;
  size_t num_offered_ = 0;  // of outgoing_
  Status failure_;
  MoverStats stats_;
};

}  // namespace

Result<std::unique_ptr<Mover>> Mover::Create(Communicator* comm, ExpertStore* store,
                                             const Placement& initial,
                                             const MoverOptions& options) {
  if (options.slice_bytes == 0 || options.staging_buffers < 0 || options.verify_every < 1) {
    return InvalidArgument(fmt::format(
        "slice_bytes {} and verify_every {} must be at least 1, staging_buffers {} at least 0",
        options.slice_bytes, options.staging_buffers, options.verify_every));
  }
  if (initial.topology().num_ranks() != comm->num_ranks() ||
      initial.num_layers() != store->num_layers()) {
    return InvalidArgument(fmt::format(
        "the placement has {} ranks and {} layers, the group {} ranks and the store {} layers",
        initial.topology().num_ranks(), initial.num_layers(), comm->num_ranks(),
        store->num_layers()));
  }
  if (initial.CountDuplicates() > 0) {
    return InvalidArgument(
        fmt::format("the placement holds {} duplicates; one that is served holds none",
                    initial.CountDuplicates()));
  }
  auto mover = std::make_unique<SlotMover>(comm, store, initial, options);
  STEELYARD_RETURN_IF_ERROR(mover->CheckStore());
  return std::unique_ptr<Mover>(std::move(mover));
}

}  // namespace steelyard
