// Whose turn it is with what one thread at a time may use.
#pragma once

#include <atomic>

namespace fastrnn {

// A lock that nobody waits for. Python's own reads the clock to find out that it need not wait: a tenth of a short step.
class Turn {
 public:
  // Whether it was free, and now is the caller's.
  bool take() { return !taken_.exchange(true, std::memory_order_acquire); }
  void give() { taken_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> taken_{false};
};

}  // namespace fastrnn
