// Large blocks of memory that are kept for the next call.
//
// The arrays of a scan (y, the tape, scratch) are megabytes. The C library gives such blocks back to the system when
// they are freed, and the system clears every page again when they return: up to a tenth of a training step (measured
// on LSTM N64 T50 H512). A training loop asks for the same sizes over and over.
//
// Linux is asked to back them with huge pages: weights and tapes that outgrow the caches are read through fewer entries of
// the TLB, which takes 2 to 10 % off a call (H512 and H1024, on a virtual machine, where the first touch of a megabyte takes
// two to three times as long as in small pages: one more reason to keep them). Blocks of less than a megabyte share some:
// small pages stand in L2 wherever chance has put them, and a process in which they crowd there is slow all its life: of a
// dozen, the slowest gains 2 to 5 %, their mean 0.6 % (training, N16 H128).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace fastrnn {

class Pool {
 public:
  // An aligned block of at least `bytes`, or null. *size is what it holds: hand it back to give().
  char* take(size_t bytes, size_t* size) {
    *size = bytes = rounded(bytes, bytes < LARGE ? ALIGNMENT : HUGE_PAGE);
    if (bytes < SMALLEST) return block_of(new_area(bytes, ALIGNMENT), bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    int best = -1;
    for (int k = 0; k < count_; ++k)
      if (kept_[k].size >= bytes && kept_[k].size <= bytes + bytes / 4 && (best < 0 || kept_[k].size < kept_[best].size))
        best = k;
    if (best >= 0) {
      char* block = kept_[best].block;
      *size = kept_[best].size;
      remove(best);
      return block;
    }
    const size_t place = ++made_ % PLACES * PLACE;
    if (bytes >= LARGE) return block_of(new_area(place + bytes, HUGE_PAGE), bytes, place);
    if (!shared_ || shared_->end - shared_->next < ptrdiff_t(PLACE + bytes)) {
      if (shared_) let_go(shared_);
      shared_ = new_area(SHARED, HUGE_PAGE);
      if (shared_) shared_->users = 1;
    }
    return block_of(shared_, bytes, PLACE);
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
  static constexpr size_t LARGE = size_t(1) << 20;       // from here on, whole pages of
  static constexpr size_t HUGE_PAGE = size_t(2) << 20;
  static constexpr size_t SHARED = HUGE_PAGE;            // smaller blocks share an area of so many bytes
  static constexpr size_t SMALLEST = size_t(128) << 10;  // below, the C library keeps blocks itself
  static constexpr size_t LIMIT = size_t(256) << 20;     // bytes kept at most
  static constexpr int MOST = 16;
  static constexpr size_t PLACE = 5 * ALIGNMENT, PLACES = 12;  // where blocks begin: five lines do not divide those of a row

  struct Block {
    char* block;
    size_t size;
  };

  // Memory of the C library's that blocks are cut from: freed when nobody uses it any more. In front of a block stands whose
  // it is.
  struct Area {
    std::atomic<int> users;  // blocks, and the pool while it cuts more
    char *next, *end;
  };

  static constexpr size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

  static Area* new_area(size_t room, size_t unit) {
    void* memory = std::malloc(sizeof(Area) + sizeof(Area*) + unit + room);
    if (!memory) return nullptr;
    Area* area = new (memory) Area{{0}, nullptr, nullptr};
    area->next = reinterpret_cast<char*>(rounded(reinterpret_cast<uintptr_t>(area + 1) + sizeof area, unit));
    area->end = area->next + room;
#ifdef MADV_HUGEPAGE
    if (unit == HUGE_PAGE) madvise(area->next, room, MADV_HUGEPAGE);
#endif
    return area;
  }

  // The next bytes of an area, behind a gap.
  static char* block_of(Area* area, size_t bytes, size_t gap = 0) {
    if (!area) return nullptr;
    char* block = area->next + gap;
    area->next = block + bytes;
    std::memcpy(block - sizeof area, &area, sizeof area);
    area->users.fetch_add(1, std::memory_order_relaxed);
    return block;
  }

  static void let_go(Area* area) {
    if (area->users.fetch_sub(1, std::memory_order_acq_rel) == 1) std::free(area);
  }

  static void release(char* block) {
    Area* area;
    std::memcpy(&area, block - sizeof area, sizeof area);
    let_go(area);
  }

  void remove(int k) {
    total_ -= kept_[k].size;
    for (--count_; k < count_; ++k) kept_[k] = kept_[k + 1];
  }

  std::mutex mutex_;
  unsigned made_ = 0;
  Area* shared_ = nullptr;
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
