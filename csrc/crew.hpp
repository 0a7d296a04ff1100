// Threads that help with the steps of streams.
//
// A stream's step is shorter than it takes to open and to close an OpenMP region. A helper waits for its share of the next
// step spinning, so that it begins within a fraction of a microsecond, and goes to sleep when none has come for a while. It
// is not waited for then: who wants it wakes it, and does without it in the meantime, unless the step is a long one.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "scan.hpp"
#include "seats.hpp"

namespace fastrnn {

// A time loop of kernels.pyx.
template <class T> using Loop = void (*)(Scan<T>*, Barrier*, int thread, int threads);

class Crew {
 public:
  static constexpr int MOST = 64;  // threads, their caller included

  // How many threads, at most this many, the caller may share work with, itself included: helpers that are awake; the
  // others are on their way then. Where `patient`, they are waited for. If more than one, share() is to follow.
  int muster(int threads, bool patient) {
    if (threads <= 1 || taken_.exchange(true, std::memory_order_acquire)) return 1;
    int ready = 1;
    for (int k = 1; k < std::min(threads, MOST); ++k)
      if (is_up(helper_[k], k, patient) && ready == k) ++ready;
    if (ready == 1) taken_.store(false, std::memory_order_release);
    return ready;
  }

  // Run the loop on as many threads as muster() has returned.
  template <class T> void share(Scan<T>* scan, Loop<T> loop, int threads) {
    Barrier barrier;
    for (int k = 1; k < threads; ++k) {
      Helper& helper = helper_[k];
      helper.run = &run<T>, helper.scan = scan, helper.loop = reinterpret_cast<void (*)()>(loop);
      helper.barrier = &barrier, helper.threads = threads;
      helper.state.store(AT_WORK, std::memory_order_release);
    }
    loop(scan, &barrier, 0, threads);
    for (int k = 1; k < threads; ++k)
      for (Spin spin; helper_[k].state.load(std::memory_order_acquire) == AT_WORK;) spin.once();
    taken_.store(false, std::memory_order_release);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration PAUSE = std::chrono::microseconds(300);  // a helper spins for this long
  static constexpr int LOOKS = 64;  // at its state, between two at the clock

  enum State { ABSENT, ASLEEP, WAKING, READY, AT_WORK };

  // One cache line, so that a helper has all it needs to begin when it sees that it is to.
  struct alignas(64) Helper {
    std::atomic<int> state{ABSENT};
    int threads = 0;
    void (*run)(const Helper& self, int thread) = nullptr;
    void (*loop)() = nullptr;  // a Loop<T>
    void* scan = nullptr;
    Barrier* barrier = nullptr;
  };

  template <class T> static void run(const Helper& self, int thread) {
    reinterpret_cast<Loop<T>>(self.loop)(static_cast<Scan<T>*>(self.scan), self.barrier, thread, self.threads);
  }

  // Whether the helper spins; where not, it is woken.
  bool is_up(Helper& helper, int number, bool patient) {
    int state = helper.state.load(std::memory_order_acquire);
    if (state == READY) return true;
    caller_cpu_.store(this_cpu(), std::memory_order_relaxed);
    if (state == ABSENT && !hire(helper, number)) return false;
    if (state == ASLEEP) {
      std::lock_guard<std::mutex> lock(mutex_);
      helper.state.store(WAKING, std::memory_order_relaxed);
      wake_.notify_all();
    }
    for (Spin spin; patient && helper.state.load(std::memory_order_acquire) != READY;) spin.once();
    return patient;
  }

  // A helper that has come up.
  void report(Helper* me) {
    leave(caller_cpu_.load(std::memory_order_relaxed));
    me->state.store(READY, std::memory_order_release);
  }

  bool hire(Helper& helper, int number) {
    try {
      helper.state.store(WAKING, std::memory_order_relaxed);
      std::thread(&Crew::help, this, &helper, number).detach();
      return true;
    } catch (const std::system_error&) {  // the system has no thread to give
      helper.state.store(ABSENT, std::memory_order_relaxed);
      return false;
    }
  }

  // A helper's life, which ends with the process.
  void help(Helper* me, int number) {
    report(me);
    for (;; sleep(me))
      for (Clock::time_point end = Clock::now() + PAUSE; Clock::now() < end;)
        for (int look = 0; look < LOOKS; ++look) {
          if (me->state.load(std::memory_order_acquire) == AT_WORK) {
            me->run(*me, number);
            me->state.store(READY, std::memory_order_release);
            end = Clock::now() + PAUSE;
          }
          relax();
        }
  }

  // Until woken; not at all while a stream has mustered the crew, and counts on those that are ready.
  void sleep(Helper* me) {
    if (taken_.exchange(true, std::memory_order_acquire)) return;
    me->state.store(ASLEEP, std::memory_order_relaxed);
    taken_.store(false, std::memory_order_release);
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [me] { return me->state.load(std::memory_order_relaxed) != ASLEEP; });
    lock.unlock();
    report(me);
  }

  std::atomic<bool> taken_{false};  // by a stream from muster() to share(), by a helper that goes to sleep
  std::atomic<int> caller_cpu_{-1};
  std::mutex mutex_;
  std::condition_variable wake_;
  Helper helper_[MOST];  // number 0 is whoever calls
};

// The process's crew. Never destroyed: its threads may outlive the module's teardown.
inline Crew*& the_crew() {
  static Crew* crew = new Crew;
  return crew;
}
inline Crew& crew() { return *the_crew(); }

// A child of a fork has none of its parent's threads.
inline void hire_anew() { the_crew() = new Crew; }

}  // namespace fastrnn
