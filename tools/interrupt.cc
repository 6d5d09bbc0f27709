#include "interrupt.h"

#include <csignal>

namespace steelyard {
namespace {

CancelFlag interrupted;  // its one atomic store is all that a handler may do

extern "C" void OnSignal(int) { interrupted.Cancel(); }

}  // namespace

const CancelFlag& CatchInterrupts() {
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
  return interrupted;
}

}  // namespace steelyard
