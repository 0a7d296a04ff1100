// Rows by number: an input that is a table's rows, and the sums over the rows that share a number.
#pragma once

#include <cstring>

#include "scan.hpp"

namespace fastrnn {

// out[codes[r]] += rows[r] for n rows of some columns, one after the other; a row of code -1 counts nowhere. With `numbers`
// rows[numbers[r]] stands for rows[r].
template <class T>
void add_rows(const Kernels<T>& kernels, const T* rows, const int64_t* numbers, long rows_ld, const int64_t* codes, long n,
              T* out, long out_ld, long columns) {
  Rows<T> work{};
  work.width = columns;
  for (long r = 0; r < n; ++r) {
    if (codes[r] < 0) continue;
    work.in = rows + (numbers ? numbers[r] : r) * rows_ld, work.out = out + codes[r] * out_ld;
    kernels.rows(ADD, &work, 0, 1);
  }
}

// pre of a share of the chunk whose packed rows begin with row low.
template <class T> void look_up(const Scan<T>& s, long low, const Share& share) {
  const long H = s.H, width = s.cell.gates * H, ld = s.cell.blocks * H;
  for (long k = share.first; k < share.last; ++k)
    for (int p = 0; p < s.segments; ++p) {
      const long r = share.numbers ? share.numbers[k] : k;
      const auto& part = s.segment[p];
      std::memcpy(s.pre + k * ld + part.block * H, s.x + s.codes[low + r] * width + part.gate * H,
                  part.gates * H * sizeof(T));
    }
}

// Add da of n packed rows from row low on to the table's gradient, columns column0..column1 of it.
template <class T>
void add_to_table(const Scan<T>& s, const Share& share, long low, long n, long column0, long column1) {
  const long H = s.H, width = s.cell.gates * H, ld = s.cell.blocks * H;
  for (int p = 0; p < s.segments; ++p) {
    const auto& part = s.segment[p];
    const long begin = part.gate * H, end = begin + part.gates * H;
    const long first = column0 > begin ? column0 : begin, last = column1 < end ? column1 : end;
    if (first < last)
      add_rows(*s.kernels, s.pre + (part.block - part.gate) * H + first, share.numbers ? s.turned : nullptr, ld,
               s.codes + low, n, s.dx + first, width, last - first);
  }
}

}  // namespace fastrnn
