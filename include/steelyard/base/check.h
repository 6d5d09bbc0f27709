// Asserts for programmer errors: on in every build, printing both operands, ending the process.
//
// Never used for what a file, a user or a peer can cause; that is a Status (base/status.h).
#pragma once

#include <sstream>
#include <string>

namespace steelyard::internal {

[[noreturn]] void CheckFailed(const char* file, int line, const char* expression,
                              const std::string& operands);

template <typename A, typename B>
std::string TwoOperands(const A& a, const B& b) {
  std::ostringstream out;
  out << a << " against " << b;
  return out.str();
}

}  // namespace steelyard::internal

#define STEELYARD_CHECK(condition)                                            \
  do {                                                                        \
    if (!(condition)) [[unlikely]]                                            \
      ::steelyard::internal::CheckFailed(__FILE__, __LINE__, #condition, ""); \
  } while (false)

#define STEELYARD_CHECK_OP_(op, a, b)                                      \
  do {                                                                     \
    const auto& steelyard_a_ = (a);                                        \
    const auto& steelyard_b_ = (b);                                        \
    if (!(steelyard_a_ op steelyard_b_)) [[unlikely]]                      \
      ::steelyard::internal::CheckFailed(                                  \
          __FILE__, __LINE__, #a " " #op " " #b,                           \
          ::steelyard::internal::TwoOperands(steelyard_a_, steelyard_b_)); \
  } while (false)

#define STEELYARD_CHECK_EQ(a, b) STEELYARD_CHECK_OP_(==, a, b)
#define STEELYARD_CHECK_NE(a, b) STEELYARD_CHECK_OP_(!=, a, b)
#define STEELYARD_CHECK_LT(a, b) STEELYARD_CHECK_OP_(<, a, b)
#define STEELYARD_CHECK_LE(a, b) STEELYARD_CHECK_OP_(<=, a, b)
#define STEELYARD_CHECK_GE(a, b) STEELYARD_CHECK_OP_(>=, a, b)
