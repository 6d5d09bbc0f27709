#include "engine/models/moe_exchange.h"

#include <fmt/format.h>

namespace steelyard {

MoeExchange::MoeExchange(const MoeShape& shape, Communicator& comm, ExpertBuffers& buffers,
                         GemmKernel& kernel, Duration timeout)
    : shape_(shape),
      comm_(&comm),
      timeout_(timeout),
      packer_(shape, comm.rank()),
      experts_(shape, comm.rank(), buffers, kernel),
      blocks_(shape.num_ranks),
      received_size_(shape.num_ranks),
      result_size_(shape.num_ranks),
      returned_size_(shape.num_ranks),
      received_(DispatchPacker::MaxReceiveBytes(shape)),
      results_(static_cast<size_t>(shape.num_ranks) * shape.max_rows * shape.top_k * shape.hidden),
      returned_(DispatchPacker::MaxReturnBytes(shape)) {}

void MoeExchange::BeginStep(bool more_work) {
  own_more_work_ = more_work;
  more_work_ = more_work;
}

Status MoeExchange::Run(const RoutedRows& rows, Balancer& balancer, float* out) {
  STEELYARD_RETURN_IF_ERROR(Dispatch(rows, balancer));
  STEELYARD_RETURN_IF_ERROR(experts_.Run(rows.layer, blocks_, balancer, results_.data()));
  STEELYARD_RETURN_IF_ERROR(Return(rows, balancer));
  return packer_.Combine(rows, returned_.span(), returned_size_, out);
}

Status MoeExchange::Dispatch(const RoutedRows& rows, const Balancer& balancer) {
  const LayerTables tables = balancer.tables(rows.layer);
  const DispatchId id{tables.version, static_cast<uint64_t>(balancer.step()), rows.layer,
                      own_more_work_ ? 1U : 0U};
  packer_.Pack(rows, id, *tables.routing);
  const Status exchanged =
      comm_->Exchange({packer_.send(), packer_.send_bytes(), received_.span(), received_size_},
                      Deadline::After(timeout_));
  if (!exchanged.ok()) {
    return exchanged.WithContext(
        fmt::format("dispatch of step {}, MoE layer {}", id.step, id.layer));
  }
  size_t first = 0;
  for (int from = 0; from < shape_.num_ranks; ++from) {
    const std::span<const std::byte> bytes =
        std::span<const std::byte>(received_.span()).subspan(first, received_size_[from]);
    STEELYARD_ASSIGN_OR_RETURN(blocks_[from], ParseBlock(bytes, shape_, id, comm_->rank(), from));
    more_work_ = more_work_ || blocks_[from].header.id.more_work != 0;
    result_size_[from] = blocks_[from].items.size() * shape_.hidden * sizeof(float);
    first += received_size_[from];
  }
  return Status::Ok();
}

Status MoeExchange::Return(const RoutedRows& rows, const Balancer& balancer) {
  size_t total = 0;
  for (const size_t size : result_size_) total += size;
  const std::span<const std::byte> send = std::as_bytes(results_.span()).first(total);
  const Status exchanged = comm_->Exchange({send, result_size_, returned_.span(), returned_size_},
                                           Deadline::After(timeout_));
  if (!exchanged.ok()) {
    return exchanged.WithContext(
        fmt::format("combine of step {}, MoE layer {}", balancer.step(), rows.layer));
  }
  return Status::Ok();
}

}  // namespace steelyard
