#include "steelyard/base/status.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace steelyard {
namespace {

TEST(Status, IsOkByDefault) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.ToString(), "OK");
  EXPECT_EQ(status, Status::Ok());
}

TEST(Status, EveryCodeHasItsMakerAndItsName) {
  const std::vector<std::pair<Status, std::string>> cases = {
      {InvalidArgument("m"), "INVALID_ARGUMENT: m"},
      {NotFound("m"), "NOT_FOUND: m"},
      {FailedPrecondition("m"), "FAILED_PRECONDITION: m"},
      {Unavailable("m"), "UNAVAILABLE: m"},
      {DeadlineExceeded("m"), "DEADLINE_EXCEEDED: m"},
      {Cancelled("m"), "CANCELLED: m"},
      {DataLoss("m"), "DATA_LOSS: m"},
      {Unimplemented("m"), "UNIMPLEMENTED: m"},
      {Internal("m"), "INTERNAL: m"},
  };
  for (const auto& [status, text] : cases) {
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(status.ToString(), text);
  }
}

TEST(Status, ContextComesFirstAndChangesOnlyTheMessage) {
  EXPECT_EQ(NotFound("b is absent").WithContext("a.json"), NotFound("a.json: b is absent"));
  EXPECT_EQ(Status::Ok().WithContext("a.json"), Status::Ok());
}

Result<int> Half(int x) {
  if (x % 2 != 0) {
    return InvalidArgument("odd");
  }
  return x / 2;
}

Result<int> Quarter(int x) {
  STEELYARD_ASSIGN_OR_RETURN(const int half, Half(x));
  STEELYARD_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

Status CheckQuarter(int x) {
  STEELYARD_RETURN_IF_ERROR(Quarter(x).status());
  return Status::Ok();
}

TEST(Result, MacrosPassTheValueOnOrLeaveWithTheStatus) {
  EXPECT_EQ(Quarter(12).value(), 3);
  EXPECT_EQ(Quarter(6).status(), InvalidArgument("odd"));
  EXPECT_EQ(Quarter(3).status(), InvalidArgument("odd"));
  EXPECT_TRUE(CheckQuarter(4).ok());
  EXPECT_EQ(CheckQuarter(2), InvalidArgument("odd"));
}

TEST(Result, HoldsWhatCanOnlyBeMoved) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(**result, 7);
  const std::unique_ptr<int> taken = *std::move(result);
  EXPECT_EQ(*taken, 7);
}

TEST(Result, GivesAccessToMembersAndLetsThemBeChanged) {
  Result<std::string> result = std::string("abc");
  EXPECT_EQ(result->size(), 3U);
  *result += "d";
  EXPECT_EQ(result.value(), "abcd");
  EXPECT_TRUE(result.status().ok());
}

TEST(ResultDeathTest, TheValueOfAFailureEndsTheProcessWithTheFailure) {
  const Result<int> result = NotFound("no such layer");
  EXPECT_DEATH((void)result.value(), "NOT_FOUND: no such layer");
}

TEST(ResultDeathTest, AnOkStatusIsNoResult) {
  EXPECT_DEATH((void)Result<int>(Status::Ok()), "made from an ok Status without a value");
}

}  // namespace
}  // namespace steelyard
