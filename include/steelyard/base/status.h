// Status and Result<T>: how every expected failure (bad input, a peer that is gone, a deadline) is
// reported.
//
// A message is one line that names the offender: the file, the place in it and the rule. Programmer
// errors are not statuses; they are STEELYARD_CHECKs (base/check.h). Values of both types may be
// copied and moved between threads.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace steelyard {

enum class StatusCode {
  kOk = 0,
  kInvalidArgument,     // the caller or a file said something that a rule forbids
  kNotFound,            // a file, tensor or name is not there
  kFailedPrecondition,  // the object is not in a state in which this can be done
  kUnavailable,         // a peer is lost
  kDeadlineExceeded,    // something did not come in time
  kCancelled,           // somebody asked to stop
  kDataLoss,            // bytes differ from what they should be
  kUnimplemented,       // known, but not built yet
  kInternal,            // a defect of this library or of one it calls
};

std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return Status(); }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  /// "OK" or "INVALID_ARGUMENT: message".
  std::string ToString() const;

  /// The same failure with `context` and ": " put before the message; an ok status stays as it is.
  Status WithContext(std::string_view context) const;

  friend bool operator==(const Status&, const Status&) = default;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

Status InvalidArgument(std::string message);
Status NotFound(std::string message);
Status FailedPrecondition(std::string message);
Status Unavailable(std::string message);
Status DeadlineExceeded(std::string message);
Status Cancelled(std::string message);
Status DataLoss(std::string message);
Status Unimplemented(std::string message);
Status Internal(std::string message);

namespace internal {
[[noreturn]] void DieBecauseNotOk(const Status& status);
}  // namespace internal

/// Either a value or a Status that is not ok.
template <typename T>
class [[nodiscard]] Result {
 public:
  // Both convert, so that a function can `return value;` and `return status;`.
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(T value) : value_(std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {
    if (status_.ok()) {
      internal::DieBecauseNotOk(Internal("a Result was made from an ok Status without a value"));
    }
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  /// Requires: ok(). Ends the process with the status otherwise.
  const T& value() const& {
    Require();
    return *value_;
  }
  T& value() & {
    Require();
    return *value_;
  }
  T&& value() && {
    Require();
    return std::move(*value_);
  }
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }

 private:
  void Require() const {
    if (!value_.has_value()) {
      internal::DieBecauseNotOk(status_);
    }
  }

  Status status_;
  std::optional<T> value_;
};

}  // namespace steelyard

/// Leaves the enclosing function with the status of `expression` unless it is ok.
#define STEELYARD_RETURN_IF_ERROR(expression)              \
  do {                                                     \
    ::steelyard::Status steelyard_status_ = (expression);  \
    if (!steelyard_status_.ok()) return steelyard_status_; \
  } while (false)

#define STEELYARD_CONCAT_INNER_(a, b) a##b
#define STEELYARD_CONCAT_(a, b) STEELYARD_CONCAT_INNER_(a, b)

/// `STEELYARD_ASSIGN_OR_RETURN(auto x, MakeX());` declares x, or leaves with the status of MakeX().
#define STEELYARD_ASSIGN_OR_RETURN(declaration, expression)                                     \
  STEELYARD_ASSIGN_OR_RETURN_IMPL_(STEELYARD_CONCAT_(steelyard_result_, __LINE__), declaration, \
                                   expression)
#define STEELYARD_ASSIGN_OR_RETURN_IMPL_(result, declaration, expression) \
  auto result = (expression);                                             \
  if (!result.ok()) return result.status();                               \
  declaration = std::move(result).value()
