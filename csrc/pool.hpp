// Large blocks of memory that are kept for the next call.
//
// The arrays of a scan (y, the tape, scratch) are megabytes. The C library gives such blocks back to the system when
// they are freed, and the system clears every page again when they return: up to a tenth of a training step (measured
// on LSTM N64 T50 H512). A training loop asks for the same sizes over and over.
//
// Linux is asked to back them with huge pages: weights and tapes that outgrow the caches are read through fewer entries of
// the TLB, which takes 2 to 10 % off a call (H512 and H1024, on a virtual machine, where the first touch of a megabyte takes
// two to three times as long as in small pages: one more reason to keep them).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace fastrnn {

class Pool {
 public:
  // An aligned block of at least `bytes`, or null. *size is what it holds: hand it back to give().
  char* take(size_t bytes, size_t* size) {
    const size_t unit = bytes < LARGE ? ALIGNMENT : HUGE_PAGE;
    bytes = (bytes + unit - 1) / unit * unit;
    if (bytes >= SMALLEST) {
      std::lock_guard<std::mutex> lock(mutex_);
      int best = -1;
      for (int k = 0; k < count_; ++k)
        if (kept_[k].size >= bytes && kept_[k].size <= bytes + bytes / 4 &&
            (best < 0 || kept_[k].size < kept_[best].size))
          best = k;
      if (best >= 0) {
        char* block = kept_[best].block;
        *size = kept_[best].size;
        remove(best);
        return block;
      }
    }
    *size = bytes;
    const size_t place = bytes < SMALLEST ? 0 : made_.fetch_add(1, std::memory_order_relaxed) % PLACES * PLACE;
    char* block = static_cast<char*>(std::malloc(bytes + unit + place));
    if (!block) return nullptr;
    char* aligned = block + unit - reinterpret_cast<uintptr_t>(block) % unit + place;
    std::memcpy(aligned - sizeof block, &block, sizeof block);
#ifdef MADV_HUGEPAGE
    if (unit == HUGE_PAGE) madvise(aligned - place, bytes + place, MADV_HUGEPAGE);
#endif
    return aligned;
  }

  void give(char* block, size_t size) {
    if (size < SMALLEST || size > LIMIT) return release(block);
    std::lock_guard<std::mutex> lock(mutex_);
    while (count_ == MOST || total_ + size > LIMIT) {
      release(kept_[0].block);  // the oldest: sizes that nobody asks for any more go first
      remove(0);
    }
    kept_[count_++] = {block, size};
    total_ += size;
  }

 private:
  static constexpr size_t ALIGNMENT = 64;
  static constexpr size_t LARGE = size_t(1) << 20;  // from here on, whole pages of
  static constexpr size_t HUGE_PAGE = size_t(2) << 20;
  static constexpr size_t SMALLEST = size_t(128) << 10;  // below, the C library keeps blocks itself
  static constexpr size_t LIMIT = size_t(256) << 20;     // bytes kept at most
  static constexpr int MOST = 16;
  static constexpr size_t PLACE = 5 * ALIGNMENT, PLACES = 12;  // where blocks begin: five lines do not divide those of a row

  struct Block {
    char* block;
    size_t size;
  };

  static void release(char* aligned) {
    char* block;
    std::memcpy(&block, aligned - sizeof block, sizeof block);
    std::free(block);
  }

  void remove(int k) {
    total_ -= kept_[k].size;
    for (--count_; k < count_; ++k) kept_[k] = kept_[k + 1];
  }

  std::atomic<unsigned> made_{0};
  std::mutex mutex_;
  Block kept_[MOST];
  int count_ = 0;
  size_t total_ = 0;
};

// Never destroyed: arrays may outlive the module's teardown.
inline Pool& pool() {
  static Pool* the_pool = new Pool;
  return *the_pool;
}

}  // namespace fastrnn
