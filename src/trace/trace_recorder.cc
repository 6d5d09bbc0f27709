#include "trace/trace_recorder.h"

#include <fmt/format.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "steelyard/base/log.h"
#include "trace/h5_writer.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

// What waits for a disk that is slow; beyond it the trace ends.
constexpr size_t kMostWaitingBytes = size_t{1} << 28;

class ArrayRecorder final : public TraceRecorder {
 public:
  ArrayRecorder(std::filesystem::path path, const LoadShape& shape)
      : path_(std::move(path)), shape_(shape) {
    shape_.num_bins = 0;
    shape_.num_phases = 1;
  }

  void Add(const LoadWindow& loads, uint64_t) override {
    const std::vector<double> sums = SumPhases(loads);
    counts_.insert(counts_.end(), sums.begin(), sums.end());
    shape_.num_bins += loads.shape().num_bins;
  }

  Status Finish() override {
    LoadTrace trace{LoadWindow(shape_), {}, {}};  // as it is where there was no complete bin
    if (shape_.num_bins > 0) {
      STEELYARD_ASSIGN_OR_RETURN(trace.loads, LoadWindow::Create(shape_, std::move(counts_)));
    }
    return WriteLoadTrace(path_, trace);
  }

 private:
  const std::filesystem::path path_;
  LoadShape shape_;
  std::vector<double> counts_;  // [num_bins, num_layers, num_experts]
};

class H5Recorder final : public TraceRecorder {
 public:
  H5Recorder(std::filesystem::path path, std::unique_ptr<H5TraceWriter> writer)
      : path_(std::move(path)), writer_(std::move(writer)), thread_([this] { Write(); }) {}
  ~H5Recorder() override;

  void Add(const LoadWindow& loads, uint64_t steps_per_bin) override;
  Status Finish() override;

 private:
  struct Bin {
    std::vector<uint32_t> counts;
    uint64_t steps = 1;
  };

  void Write();
  void Join();
  void Fail(Status why);  // holding mutex_

  const std::filesystem::path path_;
  std::unique_ptr<H5TraceWriter> writer_;  // the thread's, until it was joined
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Bin> waiting_;
  size_t waiting_bytes_ = 0;
  int64_t num_bins_ = 0;  // that were added
  bool finished_ = false;
  bool complete_ = false;  // Finish() went well
  Status failure_;
  std::thread thread_;
};

H5Recorder::~H5Recorder() {
  Join();
  if (!complete_ && writer_->num_bins() == 0) {
    std::error_code error;
    std::filesystem::remove(path_, error);
  }
}

void H5Recorder::Fail(Status why) {
  if (failure_.ok()) {
    failure_ = std::move(why);
    Log(LogLevel::kWarning, "{}; the run goes on, and is recorded no further", failure_.message());
  }
}

void H5Recorder::Add(const LoadWindow& loads, uint64_t steps_per_bin) {
  const LoadShape& shape = loads.shape();
  const Result<std::vector<uint32_t>> counts = WholeTokens(loads.counts(), shape);
  const std::lock_guard<std::mutex> lock(mutex_);
  num_bins_ += shape.num_bins;
  if (!failure_.ok()) {
    return;
  }
  if (!counts.ok()) {
    Fail(counts.status().WithContext(path_.string()));
    return;
  }
  const size_t num_bytes = 4 * counts->size();
  if (waiting_bytes_ + num_bytes > kMostWaitingBytes) {
    Fail(FailedPrecondition(fmt::format("{}: the disk is slower than the run: {} bytes wait for it",
                                        path_.string(), waiting_bytes_)));
    return;
  }
  waiting_bytes_ += num_bytes;
  const auto per_bin = static_cast<std::ptrdiff_t>(counts->size() / shape.num_bins);
  for (auto at = counts->begin(); at != counts->end(); at += per_bin) {
    waiting_.push_back({{at, at + per_bin}, steps_per_bin});
  }
  changed_.notify_one();
}

void H5Recorder::Write() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return finished_ || !waiting_.empty(); });
    if (waiting_.empty()) {
      return;
    }
    const Bin bin = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= 4 * bin.counts.size();
    lock.unlock();
    const Status status = writer_->Append(bin.counts, bin.steps);
    lock.lock();
    if (!status.ok()) {
      Fail(status);
      waiting_.clear();
      waiting_bytes_ = 0;
    }
  }
}

void H5Recorder::Join() {
  if (!thread_.joinable()) {
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    finished_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

Status H5Recorder::Finish() {
  Join();
  const Status closed = writer_->Close();
  complete_ = failure_.ok() && closed.ok();
  if (complete_) {
    return Status::Ok();
  }
  const Status& first = failure_.ok() ? closed : failure_;
  return Status(first.code(), fmt::format("{}; {} of {} bins were recorded", first.message(),
                                          writer_->num_bins(), num_bins_));
}

}  // namespace

Result<std::unique_ptr<TraceRecorder>> TraceRecorder::Start(const std::filesystem::path& path,
                                                            const LoadShape& shape,
                                                            const TraceOrigin& origin) {
  if (!HasTraceExtension(path)) {
    return InvalidArgument(fmt::format("{}: traces end in .h5, .npy or .npz", path.string()));
  }
  const std::string extension = path.extension().string();
  if (extension == ".npy" || extension == ".npz") {
    return std::unique_ptr<TraceRecorder>(std::make_unique<ArrayRecorder>(path, shape));
  }
  STEELYARD_ASSIGN_OR_RETURN(std::unique_ptr<H5TraceWriter> writer,
                             H5TraceWriter::Create(path, shape, origin));
  try {
    return std::unique_ptr<TraceRecorder>(std::make_unique<H5Recorder>(path, std::move(writer)));
  } catch (const std::system_error& error) {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    return FailedPrecondition(fmt::format("{}: the thread that writes it cannot be started: {}",
                                          path.string(), error.what()));
  }
}

}  // namespace steelyard
