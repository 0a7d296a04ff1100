// On which CPUs the threads that share a call run.
//
// The system often wakes a thread on the CPU of the one that woke it, which then spins in wait for it, and takes a tick of its
// clock, 4 ms, to move it to one that idles. That is longer than most calls.
#pragma once

#include <atomic>
#ifdef __linux__
#include <sched.h>
#endif

namespace fastrnn {

inline int this_cpu() {
#ifdef __linux__
  return sched_getcpu();
#else
  return -1;
#endif
}

// Move the calling thread off this CPU, where it is there and may run on another.
inline void leave(int cpu) {
#ifdef __linux__
  cpu_set_t all, others;
  if (cpu < 0 || cpu != sched_getcpu() || sched_getaffinity(0, sizeof all, &all) != 0) return;
  others = all;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof all, &all);
#else
  (void)cpu;
#endif
}

// Each thread of a call takes a seat as it comes: number 0 before the others are called.
class Seats {
 public:
  Seats() {
    for (auto& cpu : cpu_) cpu.store(-1, std::memory_order_relaxed);
  }

  // Where a thread of a lower number sits on the same CPU, the later one moves on.
  void take(int thread) {
    int cpu = this_cpu();
    for (int k = 0; k < thread && k < MOST; ++k)
      if (cpu_[k].load(std::memory_order_relaxed) == cpu) leave(cpu), cpu = this_cpu();
    if (thread < MOST) cpu_[thread].store(cpu, std::memory_order_relaxed);
  }

 private:
  static constexpr int MOST = 64;
  std::atomic<int> cpu_[MOST];
};

}  // namespace fastrnn
