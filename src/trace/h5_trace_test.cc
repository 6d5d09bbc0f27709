// What is written is read; what is no trace is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/test_scale.h"
#include "trace/h5_handle.h"
#include "trace/h5_reader.h"
#include "trace/h5_trace_for_test.h"

// HDF5 loses memory of its own where it reads some damaged files.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace steelyard {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

using H5Trace = H5TraceTest;

TEST_F(H5Trace, IsReadAsItWasWritten) {
  {
    auto writer = H5TraceWriter::Create(path_, kTestShape, TestOrigin()).value();
    ASSERT_EQ(AppendBins(*writer, 0, 3), Status::Ok());
    EXPECT_EQ(writer->num_bins(), 3);
    ASSERT_EQ(writer->Close(), Status::Ok());
  }
  const LoadTrace trace = ReadH5Trace(path_).value();
  ExpectBins(trace, 3);
  EXPECT_EQ(trace.loads.experts(1, 0, 0)[2], 2002);
  EXPECT_EQ(trace.loads.experts(2, 1, 2)[4], 3029);
}

TEST_F(H5Trace, SaysOnlyWhatItsOriginKnows) {
  const LoadShape shape{0, 1, 1, 2};
  const uint32_t counts[] = {4294967295u, 0};
  auto writer = H5TraceWriter::Create(path_, shape, {}).value();
  ASSERT_EQ(writer->Append(counts, 1), Status::Ok());
  writer.reset();
  const LoadTrace trace = ReadH5Trace(path_).value();
  EXPECT_EQ(trace.origin, TraceOrigin());
  EXPECT_EQ(trace.loads.counts()[0], 4294967295.0);
}

TEST_F(H5Trace, IsReadWhileItIsWritten) {
  auto writer = H5TraceWriter::Create(path_, kTestShape, TestOrigin()).value();
  EXPECT_THAT(ReadH5Trace(path_).status().message(), HasSubstr("it has no complete bin"));
  for (int bin = 0; bin < Scaled(40); ++bin) {
    ASSERT_EQ(AppendBins(*writer, bin, bin + 1), Status::Ok());
    ExpectBins(ReadH5Trace(path_).value(), bin + 1);
  }
}

TEST_F(H5Trace, IsReadByOneThreadWhileAnotherWritesAnother) {
  auto writer = H5TraceWriter::Create(path_, kTestShape, TestOrigin()).value();
  ASSERT_EQ(AppendBins(*writer, 0, 5), Status::Ok());
  Status written;
  std::thread other([&] {
    auto second = H5TraceWriter::Create(folder_ / "second.h5", kTestShape, TestOrigin()).value();
    written = AppendBins(*second, 0, 60);
  });
  for (int i = 0; i < 30; ++i) {
    ExpectBins(ReadH5Trace(path_).value(), 5);
  }
  other.join();
  EXPECT_EQ(written, Status::Ok());
  ExpectBins(ReadH5Trace(folder_ / "second.h5").value(), 60);
}

TEST_F(H5Trace, ReplacesWhatWasThereAndLeavesNoTemporaryFile) {
  std::ofstream(path_) << "something else";
  auto writer = H5TraceWriter::Create(path_, kTestShape, TestOrigin()).value();
  ASSERT_EQ(AppendBins(*writer, 0, 1), Status::Ok());
  ExpectBins(ReadH5Trace(path_).value(), 1);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(H5Trace, TakesNothingMoreOnceClosed) {
  auto writer = H5TraceWriter::Create(path_, kTestShape, TestOrigin()).value();
  ASSERT_EQ(writer->Close(), Status::Ok());
  EXPECT_EQ(AppendBins(*writer, 0, 1).message(), path_.string() + ": bin 0: it was closed before");
}

TEST_F(H5Trace, CannotBeCreatedWhereThereIsNoFolderOrNoFile) {
  const fs::path nowhere = folder_ / "none" / "trace.h5";
  const Status status = H5TraceWriter::Create(nowhere, kTestShape, {}).status();
  EXPECT_EQ(status.message(), nowhere.string() + ": cannot create it: No such file or directory");
  EXPECT_EQ(H5TraceWriter::Create(folder_, kTestShape, {}).status().message(),
            folder_.string() + ": cannot write: it exists and is not a regular file");
}

// --- files that others made

struct Foreign {
  H5Handle file;

  void Add(const char* name, hid_t type, std::vector<hsize_t> extents,
           const std::vector<double>& values, bool chunked = false) const {
    const H5Handle space(
        H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr));
    const H5Handle options(H5Pcreate(H5P_DATASET_CREATE));
    if (chunked) {
      H5Pset_chunk(options.get(), static_cast<int>(extents.size()), extents.data());
      H5Pset_deflate(options.get(), 6);
    }
    const H5Handle dataset(
        H5Dcreate2(file.get(), name, type, space.get(), H5P_DEFAULT, options.get(), H5P_DEFAULT));
    ASSERT_TRUE(dataset.ok());
    if (!values.empty()) {
      ASSERT_GE(
          H5Dwrite(dataset.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
          0);
    }
  }
  void AddNumber(const char* name, int64_t value) const {
    const H5Handle space(H5Screate(H5S_SCALAR));
    const H5Handle attribute(
        H5Acreate2(file.get(), name, H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT));
    ASSERT_GE(H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value), 0);
  }
  void AddVariableText(const char* name, std::vector<const char*> texts) const {
    const H5Handle type(H5Tcopy(H5T_C_S1));
    H5Tset_size(type.get(), H5T_VARIABLE);
    const hsize_t count = texts.size();
    const H5Handle space(H5Screate_simple(1, &count, nullptr));
    const H5Handle attribute(
        H5Acreate2(file.get(), name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT));
    ASSERT_GE(H5Awrite(attribute.get(), type.get(), texts.data()), 0);
  }
  void AddGoodLoads() const {
    Add("counts", H5T_STD_I32LE, {2, 1, 1, 2}, {1, 2, 3, 4});
    Add("steps", H5T_STD_I64LE, {2}, {8, 8});
  }
};

class ForeignH5Trace : public H5TraceTest {
 protected:
  void Make(const std::function<void(const Foreign&)>& fill) const {
    const H5Session session;
    const Foreign foreign{
        H5Handle(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT))};
    fill(foreign);
  }
  std::string Refusal() const {
    const std::string message = ReadH5Trace(path_).status().message();
    EXPECT_EQ(message.rfind(path_.string() + ": ", 0), 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message.substr(std::min(message.size(), path_.string().size() + 2));
  }
  std::string RefusalOf(const std::function<void(const Foreign&)>& fill) const {
    Make(fill);
    return Refusal();
  }
};

TEST_F(ForeignH5Trace, MayHaveOtherIntegersLayoutsAndTexts) {
  Make([](const Foreign& foreign) {
    foreign.Add("counts", H5T_STD_I64BE, {3, 1, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
                /*chunked=*/true);
    foreign.Add("steps", H5T_STD_U16LE, {3}, {4, 4, 2});
    foreign.AddVariableText("model", {"theirs"});
    foreign.AddVariableText("phase_names", {"all"});
    foreign.AddNumber("something else", 7);
  });
  const LoadTrace trace = ReadH5Trace(path_).value();
  EXPECT_EQ(trace.loads.shape(), (LoadShape{3, 1, 2, 2}));
  EXPECT_EQ(trace.loads.counts()[11], 12);
  EXPECT_THAT(trace.steps, testing::ElementsAre(4, 4, 2));
  EXPECT_EQ(trace.origin.model, "theirs");
  EXPECT_THAT(trace.origin.phase_names, testing::ElementsAre("all"));
}

TEST_F(ForeignH5Trace, EndsWhereTheShorterDatasetOrTheStepsEnd) {
  for (const std::vector<double>& steps :
       std::vector<std::vector<double>>{{8}, {8, 0}, {8, 0, 0}}) {
    Make([&](const Foreign& foreign) {
      foreign.Add("counts", H5T_STD_U32LE, {2, 1, 1, 2}, {1, 2, 3, 4});
      foreign.Add("steps", H5T_STD_U64LE, {steps.size()}, steps);
    });
    const LoadTrace trace = ReadH5Trace(path_).value();
    EXPECT_EQ(trace.loads.shape(), (LoadShape{1, 1, 1, 2}));
  }
}

TEST_F(ForeignH5Trace, IsRefusedByName) {
  const auto with_good_loads = [](const std::function<void(const Foreign&)>& more) {
    return [more](const Foreign& foreign) {
      foreign.AddGoodLoads();
      more(foreign);
    };
  };
  struct Case {
    std::function<void(const Foreign&)> fill;
    const char* rule;
  };
  const Case cases[] = {
      {[](const Foreign&) {}, "dataset counts is missing"},
      {[](const Foreign& f) {
         f.Add("counts", H5T_STD_U32LE, {1, 1, 1, 1}, {1});
       },
       "dataset steps is missing"},
      {[](const Foreign& f) {
         H5Handle(H5Gcreate2(f.file.get(), "counts", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
       },
       "cannot open dataset counts: "},
      {[](const Foreign& f) {
         f.Add("counts", H5T_STD_U32LE, {1, 1, 1}, {1});
       },
       "dataset counts: 3 extents, not 4: [bins, phases, layers, experts]"},
      {[](const Foreign& f) {
         f.Add("counts", H5T_STD_U32LE, {1, 1, 1, 1, 1}, {1});
       },
       "dataset counts: 5 extents, not 4"},
      {[](const Foreign& f) {
         f.Add("counts", H5T_IEEE_F32LE, {1, 1, 1, 1}, {1});
       },
       "dataset counts: its entries are not whole numbers"},
      {[](const Foreign& f) {
         f.Add("counts", H5T_STD_U32LE, {1, 1, 1, 1}, {1});
         f.Add("steps", H5T_STD_U64LE, {1, 1}, {1});
       },
       "dataset steps: 2 extents, not 1: [bins]"},
      {[](const Foreign& f) {
         f.Add("counts", H5T_STD_U32LE, {1, 1, 1, 1}, {1});
         f.Add("steps", H5T_IEEE_F64LE, {1}, {1});
       },
       "dataset steps: its entries are not whole numbers"},
      {[](const Foreign& f) {
         f.Add("counts", H5T_STD_U32LE, {0, 1, 1, 1}, {});
         f.Add("steps", H5T_STD_U64LE, {0}, {});
       },
       "it has no complete bin"},
      {[](const Foreign& f) {
         f.Add("counts", H5T_STD_U32LE, {1, 1, 0, 1}, {});
         f.Add("steps", H5T_STD_U64LE, {1}, {1});
       },
       "dataset counts: extent 2 is 0"},
      {[](const Foreign& f) {
         f.Add("counts", H5T_STD_U32LE, {1, 1 << 12, 1 << 12, 1 << 12}, {});
         f.Add("steps", H5T_STD_U64LE, {1}, {1});
       },
       "dataset counts: 274877906944 bytes are in no file of "},
      {[](const Foreign& f) {
         f.Add("counts", H5T_STD_I32LE, {1, 1, 1, 2}, {1, -2});
         f.Add("steps", H5T_STD_U64LE, {1}, {1});
       },
       "bin 0, phase 0, layer 0, expert 1: count -2 is negative"},
      {with_good_loads([](const Foreign& f) { f.AddVariableText("format", {"other"}); }),
       "attribute format: \"other\" is not steelyard.trace"},
      {with_good_loads([](const Foreign& f) { f.AddNumber("version", 2); }),
       "attribute version: 2, but only 1 is known"},
      {with_good_loads([](const Foreign& f) { f.AddNumber("model", 2); }),
       "attribute model: is not text"},
      {with_good_loads([](const Foreign& f) { f.AddNumber("top_k", -1); }),
       "attribute top_k: -1 is out of range"},
      {with_good_loads([](const Foreign& f) { f.AddNumber("topology", 8); }),
       "attribute topology: 1 entries, not 3"},
      {with_good_loads([](const Foreign& f) {
         f.AddVariableText("phase_names", {"a", "b"});
       }),
       "attribute phase_names: 2 names for 1 phases"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(RefusalOf(c.fill), testing::StartsWith(c.rule));
  }
}

TEST_F(ForeignH5Trace, IsRefusedWhenItIsNoFileOfHdf5) {
  EXPECT_EQ(Refusal(), "cannot open: No such file or directory");
  std::ofstream(path_) << "counts and steps";
  EXPECT_THAT(Refusal(), testing::StartsWith("cannot read it as HDF5: "));
  std::ofstream(path_, std::ios::trunc) << "";
  EXPECT_THAT(Refusal(), testing::StartsWith("cannot read it as HDF5: "));
  EXPECT_EQ(ReadH5Trace(folder_).status().message(),
            folder_.string() + ": cannot read: it is not a regular file");
}

// Whatever is cut off or overwritten, the answer is a refusal or a trace, never a crash; what was
// cut short is never read as zeros.
TEST_F(ForeignH5Trace, MayBeDamagedAnywhere) {
  {
    auto writer = H5TraceWriter::Create(path_, kTestShape, TestOrigin()).value();
    ASSERT_EQ(AppendBins(*writer, 0, 30), Status::Ok());
  }
  const std::string good = ReadFile(path_).value();
  for (int seed = 0; seed < Scaled(100); ++seed) {
    std::mt19937 random(seed);
    std::string bad = good.substr(0, random() % good.size());
    std::ofstream(path_, std::ios::trunc | std::ios::binary) << bad;
    const Result<LoadTrace> cut = ReadH5Trace(path_);
    if (cut.ok()) {
      ExpectBins(*cut, 30);
    }
    bad = good;
    for (uint32_t i = random() % 4 + 1; i > 0; --i) {
      bad[random() % bad.size()] = static_cast<char>(random());
    }
    std::ofstream(path_, std::ios::trunc | std::ios::binary) << bad;
    const Result<LoadTrace> changed = ReadH5Trace(path_);
    EXPECT_TRUE(changed.ok() || !changed.status().message().empty()) << "seed " << seed;
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace steelyard
