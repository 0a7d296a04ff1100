// When a stream's steps are to be shared by a team of threads.
//
// A thread that waits for the next step goes to sleep after a while, and to wake it may take longer than many a step: tens
// of microseconds, and milliseconds where the system puts it on the core on which its caller spins. So a stream has a team
// only while its steps follow one another without a pause. Nor has it one beside another stream's step, since two teams
// would be more threads than there are cores; and it lets go of one that does not pay, as where other programs have taken
// the cores: then a step takes as long as the system lets those run.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>

namespace fastrnn {

class Pace {
 public:
  // A step begins: whether a team may have it. end() is to follow.
  bool begin() {
    began_ = Clock::now();
    if (running().fetch_add(1, std::memory_order_relaxed) > 0 || began_ - ended_ > PAUSE) {
      if (shared_ > 1) patience_ = RENEWAL;  // the team of the steps before was worth while to the end
      start_anew(began_);
    }
    return began_ - since_ > patience_;
  }

  // The step ends; `shared`: a team has had it.
  void end(bool shared) {
    running().fetch_sub(1, std::memory_order_relaxed);
    ended_ = Clock::now();
    const Clock::duration took = ended_ - began_;
    if (!shared) {
      // their mean; but one that another program has interrupted counts no more than a slow one
      alone_ += alone_ == Clock::duration::zero() ? took : (std::min(took, 2 * alone_) - alone_) / 8;
    } else if (++shared_ > 1) {  // the first one brings the weights to the team's caches
      lost_ = std::max(lost_ + took - alone_, Clock::duration::zero());
      if (lost_ > std::max<Clock::duration>(MOST_LOST * alone_, LEAST_LOST)) lose_patience();
    }
  }

  // A child of a fork runs none of the steps that its parent was in.
  static void after_fork() { running().store(0, std::memory_order_relaxed); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration PAUSE = std::chrono::microseconds(200);  // no thread of a team sleeps so soon
  static constexpr Clock::duration PATIENCE = std::chrono::milliseconds(5), MOST_PATIENCE = std::chrono::seconds(1);
  static constexpr Clock::duration RENEWAL = std::chrono::milliseconds(1);  // the pause may have been the system's
  static constexpr int MOST_LOST = 64;  // steps
  static constexpr Clock::duration LEAST_LOST = std::chrono::milliseconds(2);  // as other programs' turns cost anyone

  static std::atomic<int>& running() {
    static std::atomic<int> steps{0};
    return steps;
  }

  void start_anew(Clock::time_point now) {
    since_ = now, shared_ = 0, lost_ = alone_ = Clock::duration::zero();
  }

  // Wait longer before the next attempt, unless this one went well for long.
  void lose_patience() {
    patience_ = ended_ - since_ > 20 * patience_ ? PATIENCE : std::min(2 * patience_, MOST_PATIENCE);
    start_anew(ended_);
  }

  Clock::time_point began_{}, ended_{}, since_{};  // of a step; of steps without a pause
  Clock::duration patience_ = PATIENCE;            // how long these are to go on before a team has them
  Clock::duration alone_{};                        // what a step without a team takes
  Clock::duration lost_{};                         // what the team's steps have taken longer than that, of late
  long shared_ = 0;
};

}  // namespace fastrnn
