// Matrices in the panels that products read: which units threads share, how wide panels are, and the packing itself.
#pragma once

#include "product.hpp"
#include "vec.hpp"

namespace {

template <class T> long first_unit(long n, long G, bool narrow, int thread, int threads) {
  const Layout layout = layout_of<T>(int(G), narrow, n);
  return thread == threads ? n : smaller(n, layout.groups(layout.units) * thread / threads * layout.group() * width<T>);
}

// Narrow panels are for more rows than a tile of wide ones has. With 16 registers either tile holds twelve sums, and batches
// come by fours rather than by threes: forward N4 and N16 take 4 to 14 % less time (AVX2, H64 to H256). With 32, wide panels
// are as fast as long as they stay in L1 (48 KB).
bool narrow(long K, long rows) { return rows > tile_rows(MAX_VECTORS) && (FASTRNN_REGISTERS == 16 || K >= 192); }

template <class T> long packed_size(long K, long H, long G) {
  const Layout layout = layout_of<T>(int(G), false, H);
  return layout.vectors(0, layout.units) * width<T> * K;
}

// One vector of units: row k of dst, `ld` from the next, is column k of n rows of src; lanes past n are zero.
template <class T> void pack_transposed(T* dst, long ld, const T* src, long src_ld, long K, int n) {
  constexpr int V = width<T>;
  Vec<T> square[V];
  for (long k = 0; k < K; k += V) {
    const int some = int(smaller(V, K - k));
    for (int l = 0; l < V; ++l) square[l] = l < n ? load<T>(src + l * src_ld + k, some) : Vec<T>{};
    transpose<T>(square);
    for (int l = 0; l < some; ++l) store<T>(dst + (k + l) * ld, square[l]);
  }
}

// A panel of whole vectors, in the order of its memory.
template <class T, int NV> void pack_whole(T* panel, const T* const* from, long k_stride, long K) {
  const T* block[NV];
  for (int v = 0; v < NV; ++v) block[v] = from[v];
  for (long k = 0; k < K; ++k, panel += NV * width<T>) {
    Vec<T> x[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) x[v] = load<T>(block[v] + k * k_stride);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) store<T>(panel + v * width<T>, x[v]);
  }
}

// A vector of units that stand together, gate after gate, n of each: those from the `first` on.
template <class T>
void pack_together(T* dst, long ld, const T* src, long rows, int first, int G, int n, long k_stride, long unit_stride,
                   long gate_stride) {
  for (int l = 0, gate = first / n, unit = first % n; l < width<T>; ++l) {
    const T* from = src + unit * unit_stride + gate * gate_stride;
    for (long k = 0; k < rows; ++k) dst[k * ld + l] = gate < G ? from[k * k_stride] : T(0);
    if (++unit == n) unit = 0, ++gate;
  }
}

// Some rows of a panel: NV vectors of a group, from its vector v0 on. `units` of the group's units exist.
template <class T>
void pack_panel(T* panel, const T* src, long rows, int v0, int NV, int G, long units, long k_stride, long unit_stride,
                long gate_stride) {
  constexpr int V = width<T>;
  // where each vector of the panel is, and how many of its units there are
  const T* block[MAX_VECTORS];
  int n[MAX_VECTORS];
  bool whole = true;
  for (int v = 0; v < NV; ++v) {
    const long unit = smaller((v0 + v) / G, (units - 1) / V) * V;  // the last ones' vectors may be of several gates
    block[v] = src + unit * unit_stride;
    n[v] = int(smaller(V, units - unit));
    if (n[v] == V) block[v] += (v0 + v) % G * gate_stride;
    whole = whole && n[v] == V;
  }
  if (unit_stride == 1 && NV == 4 && whole) return pack_whole<T, 4>(panel, block, k_stride, rows);
  if (unit_stride == 1 && NV == 3 && whole) return pack_whole<T, 3>(panel, block, k_stride, rows);
  for (int v = 0; v < NV; ++v) {
    if (n[v] < V && G > 1) {
      const int first = v0 + v - int(units / V) * G;
      pack_together<T>(panel + v * V, NV * V, block[v], rows, first * V, G, n[v], k_stride, unit_stride, gate_stride);
      continue;
    }
    if (unit_stride != 1) {
      pack_transposed<T>(panel + v * V, NV * V, block[v], unit_stride, rows, n[v]);
      continue;
    }
    for (long k = 0; k < rows; ++k) store<T>(panel + (k * NV + v) * V, load<T>(block[v] + k * k_stride, n[v]));
  }
}

// A matrix is packed in the order of its own memory, so some rows of all panels at a time where they follow one another: as
// many as make 16 pieces of memory with the gates, each walked in its own order. All rows, or 64, take a third more time (H256
// and H512), and 16 with four gates up to half more (H512, 1 MB of L2).
template <class T>
void pack(T* dst, const T* src, long K, long H, long gates, bool narrow, long k_stride, long unit_stride, long gate_stride,
          long first, long last) {
  constexpr int V = width<T>;
  const int G = int(gates);
  const Layout layout = layout_of<T>(G, narrow, H);
  const long u0 = first / V, u1 = vectors<T>(last), groups = layout.groups(u1 - u0);
  const long rows = unit_stride == 1 ? 16 / G : K;
  for (long k = 0; k < K; k += rows)
    for (long g = 0; g < groups; ++g) {
      const long u = u0 + g * layout.group();
      const Group group(layout, u, layout.end(g, u0, u1));
      for (int v = 0, NV; v < group.vectors; v += NV) {
        NV = int(smaller(group.most, group.vectors - v));
        pack_panel<T>(dst + ((u * G + v) * K + k * NV) * V, src + k * k_stride + u * V * unit_stride, smaller(rows, K - k), v,
                      NV, G, H - u * V, k_stride, unit_stride, gate_stride);
      }
    }
}

}  // namespace
