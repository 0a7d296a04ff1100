// Where the arrays of a step and of a chunk stand, and the work on rows that finds them there.
#pragma once

#include <algorithm>

#include "scan.hpp"

namespace fastrnn {

// h of step t, whose packed rows begin with row `now`: in y, or where there is none only the last two steps'.
template <class T> T* h_of(const Scan<T>& s, long t, long now) {
  if (!s.y) return s.h + t % 2 * s.N * s.S;
  return s.y + (s.y_at ? s.y_at[now] : now) * s.S;
}

// dy of that step; null where there is none.
template <class T> const T* dy_of(const Scan<T>& s, long now, long low) {
  if (s.dy_apart) return s.dy_rows + (s.by_rows ? 0 : now - low) * s.S;
  return at(s.dy, (s.dy_at ? s.dy_at[now] : now) * s.S);
}

// Arrays of a step, and what they are to it, as far as that is the same for all steps: of a lone row of few units, to find them
// takes a good part of a step, and to clear what nobody reads a good part of a session's.
template <class T> void begin(const Scan<T>& s, At<T>* at, Forward<T>* step) {
  const long H = s.H, S = s.S, width = s.cell.gates * H;
  if (s.cell.any || s.mask) std::fill_n(at, PLACES, At<T>{});
  step->next = {}, step->input = nullptr;
  at[PRE].ld = s.cell.blocks * H, at[GATES].ld = s.cell.saved * H;
  at[H_PREV].ld = at[LEFT].ld = at[H_NEW].ld = at[MASK].ld = S;
  at[C_PREV].ld = at[C_LAST].ld = at[C_NEW].ld = at[SQUASHED].ld = H;
  at[LEFT].at = s.left, at[MASK].at = const_cast<T*>(s.mask);
  at[INNER] = {s.inner, H};
  at[RAW] = {s.raw, width};
  at[HAT] = {s.raw, width};
  at[C_HAT] = {s.c_hat, H};
  at[SHARE_H].ld = s.new_h_ld, at[SHARE_C].ld = s.new_c_ld;
  step->H = step->block = step->where.ld = H, step->rules = &s.rules;
  step->where.pre_ld = at[PRE].ld, step->where.gates_ld = at[GATES].ld, step->stream = s.stream;
  step->h = step->rh = s.inner;
  step->backwards = s.backwards;
}

// The rest: of step t, whose row 0 is row `row` of pre, as far as it is the caller's.
template <class T> void find(const Scan<T>& s, long t, long row, At<T>* at, Forward<T>* step) {
  const long H = s.H, now = s.start[t], before = t ? s.start[t - 1] : 0;
  auto borrowed = [](const T* p) { return const_cast<T*>(p); };
  T* const h_prev = t ? h_of(s, t - 1, before) : borrowed(s.h0);
  T* const h = h_of(s, t, now);
  T* const c_prev = t ? fastrnn::at(s.c, s.keep ? before * H : 0) : borrowed(s.c0);
  T* const c_last = fastrnn::at(s.c, s.keep ? now * H : 0);
  T* const c = s.new_c ? s.c_new + (s.keep ? now * H : 0) : c_last;
  T* const gates = fastrnn::at(s.gates, s.keep ? now * at[GATES].ld : 0);
  T* const pre = s.pre + row * at[PRE].ld;
  step->where.pre = at[PRE].at = pre;
  step->where.gates = at[GATES].at = gates;
  step->h_prev = at[H_PREV].at = h_prev;
  step->c_prev = at[C_PREV].at = c_prev;
  step->c = at[C_NEW].at = c;
  at[C_LAST].at = c_last;
  at[H_NEW].at = h;
  if (!s.cell.projected) step->h = h;
  if (!s.mask) at[LEFT].at = h_prev;
  step->left = at[LEFT].at;
  step->backwards = !step->backwards;
  if (!s.cell.any && !s.mask) return;
  if (s.keep) at[HAT].at = fastrnn::at(s.u_hat, now * at[HAT].ld);
  step->squashed = at[SQUASHED].at = s.cell.normed ? s.squashed : c;
  at[SHARE_H].at = borrowed(fastrnn::at(s.new_h, now * s.new_h_ld));
  at[SHARE_C].at = borrowed(fastrnn::at(s.new_c, now * s.new_c_ld));
}

// The product that makes segment p of pre for packed rows from row low on. It is filled in where it stands: to return it would
// be to copy it in larger pieces than it has just been written in, and such a load waits for all stores before it.
template <class T> void set_projection(Product<T>* product, const Scan<T>& s, int p, long low) {
  const Segment& segment = s.segment[p];
  const Weight<T>& w = s.weight[p];
  const int m = s.cell.blocks > s.cell.gates ? 2 : MAX_GATES;  // the block of the GRU's reset product, which has no input
  product->K = s.D, product->columns = w.units;
  product->a = s.x + (s.x_at ? 0 : low * s.D), product->a_rows = at(s.x_at, low);
  product->row_stride = s.D, product->k_stride = 1;
  product->panels = w.right(), product->matrix_ld = w.matrix_ld(), product->narrow = w.narrow;
  product->bias = s.cell.normed ? nullptr : s.params.b + segment.gate * s.H;
  product->out = s.pre + segment.block * s.H, product->ld = s.cell.blocks * s.H, product->add = false;
  product->gates = int(w.gates);
  for (int g = 0; g < w.gates; ++g) product->block[g] = (g < m ? g : g + 1) * s.H;
}

// A step's product with a matrix as it lies, into `product`.
template <class T> void set_step_product(Product<T>* product, const Scan<T>& s, const Weight<T>& w, const T* left) {
  product->K = w.K, product->columns = w.units;
  product->a = left, product->row_stride = w.K, product->k_stride = 1;
  product->panels = w.right(), product->matrix_ld = w.matrix_ld(), product->narrow = false, product->bias = nullptr;
  product->out = s.product, product->ld = s.cell.gates * s.H, product->add = false;
  product->gates = int(w.gates);
  for (int g = 0; g < w.gates; ++g) product->block[g] = g * w.units;
}

// The same two backward, for a step of a chunk whose packed rows begin with row low. DA_NEXT is the loop's.
template <class T> void begin(const Scan<T>& s, At<T>* at, Backward<T>* step) {
  const long H = s.H, S = s.S, width = s.cell.gates * H, blocks = s.cell.blocks * H;
  if (s.cell.any || s.mask) std::fill_n(at, PLACES, At<T>{});
  step->next = {};
  step->backwards = false, step->squashed = nullptr, step->dsquashed = nullptr;
  at[DA].ld = at[DU].ld = at[DA_NEXT].ld = blocks, at[GATES].ld = s.cell.saved * H, at[HAT].ld = width;
  at[H_PREV].ld = at[LEFT].ld = at[H_NEW].ld = at[TOTAL].ld = S;
  at[C_PREV].ld = at[C_NEW].ld = at[INNER].ld = at[DCELLS].ld = at[SQUASHED].ld = at[C_HAT].ld = at[DSQUASHED].ld = H;
  at[DH] = {s.dh, S};
  at[DC] = {s.dc, H};
  at[MASK] = {const_cast<T*>(s.mask), S};
  at[DC_LAST] = {s.dc_last, H};
  at[DINNER] = {s.dinner, H};
  at[SHARE_H].ld = s.new_h_ld, at[SHARE_C].ld = s.new_c_ld;
  step->rules = &s.rules;
  step->dh = s.dh, step->dc = s.dc, step->mask = s.mask;
  step->gates_ld = at[GATES].ld, step->da_ld = blocks;
  step->total = s.dinner;
  step->keep_carry = s.new_h;
}

template <class T>
void find(const Scan<T>& s, long t, long low, long row_of_pre, const T* dy, At<T>* at, Backward<T>* step) {
  const long H = s.H, S = s.S, now = s.start[t], before = t ? s.start[t - 1] : 0, row = now - low;
  auto borrowed = [](const T* p) { return const_cast<T*>(p); };
  T* const h_prev = t ? h_of(s, t - 1, before) : borrowed(s.h0);
  T* const left = s.mask ? s.left + row * S : h_prev;
  T* const h = h_of(s, t, now);
  T* const c_prev = t ? fastrnn::at(s.c, before * H) : borrowed(s.c0);
  T* const c = fastrnn::at(s.c_new ? s.c_new : s.c, now * H);
  T* const gates = fastrnn::at(s.gates, now * at[GATES].ld);
  T* const inner = fastrnn::at(s.inner, row * H);
  T* const da = s.pre + row_of_pre * at[DA].ld;
  step->da = at[DA].at = da;
  step->gates = at[GATES].at = gates;
  step->h_prev = at[H_PREV].at = h_prev;
  step->left = at[LEFT].at = left;
  step->y = at[H_NEW].at = h;
  step->c_prev = at[C_PREV].at = c_prev;
  step->c = at[C_NEW].at = c;
  step->rh = at[INNER].at = inner;
  step->dy = dy;
  step->backwards = !step->backwards;
  at[DCELLS].at = borrowed(fastrnn::at(s.dcells, now * H));
  if (!s.cell.any) return;
  at[DU].at = fastrnn::at(s.du, row * at[DU].ld);
  at[HAT].at = fastrnn::at(s.u_hat, now * at[HAT].ld);
  at[C_HAT].at = fastrnn::at(s.c_hat, row * H);
  at[TOTAL].at = s.total + row * S;
  if (!s.cell.projected) step->total = at[TOTAL].at;
  step->squashed = at[SQUASHED].at = s.cell.normed ? s.squashed : c;
  at[DSQUASHED].at = fastrnn::at(s.dsquashed, row * H);
  if (s.cell.normed) step->dsquashed = at[DSQUASHED].at;
  at[SHARE_H].at = borrowed(fastrnn::at(s.new_h, now * s.new_h_ld));
  at[SHARE_C].at = borrowed(fastrnn::at(s.new_c, now * s.new_c_ld));
}

// What step t, backward, will read of rows row0..row1 that the step after it does not; dy: its own.
template <class T> Ahead<T> ahead_of(const Scan<T>& s, long t, const T* dy, long row0, long row1) {
  const long n = row1 - row0, saved = s.cell.saved * s.H, before = t ? s.start[t - 1] : 0, width = s.c ? s.H : s.S;
  const T* prev = s.c ? (t ? s.c + before * s.H : s.c0) : t ? h_of(s, t - 1, before) : s.h0;
  return {{at(s.gates, (s.start[t] + row0) * saved), prev + row0 * width, at(dy, row0 * s.S)},
          {s.gates ? n * saved : 0, n * width, dy ? n * s.S : 0}};
}

// What step t, forward, will write of rows row0..row1; and x of a step of the chunk after, which is projected at once.
template <class T> Ahead<T> ahead_of(const Scan<T>& s, long t, long row0, long row1) {
  const long n = row1 - row0, saved = s.cell.saved * s.H, now = s.start[t], later = t - 1 + s.chunk;
  const bool x = later < s.steps && !s.x_at && !s.codes;
  return {{at(s.gates, (now + row0) * saved), s.y ? h_of(s, t, now) + row0 * s.S : nullptr, at(s.c, (now + row0) * s.H),
           x ? s.x + (s.start[later] + row0) * s.D : nullptr},
          {s.keep && s.gates ? n * saved : 0, s.y ? n * s.S : 0, s.keep && s.c ? n * s.H : 0, x ? n * s.D : 0}};
}

// What the weight gradients of n packed rows from row low on will read and the steps have not; lefts: those of dU.
template <class T> Ahead<T> ahead_of(const Scan<T>& s, long low, long n, const T* lefts) {
  const bool x = !s.x_at && !s.codes;
  return {{x ? s.x + low * s.D : nullptr, lefts}, {x ? n * s.D : 0, s.c ? n * s.S : 0}};
}

// What stands to the left in the gradient of U of steps t0..t1, where it has the order of the chunk's packed rows already: in
// y, where h0 may stand before the first step or, of a scan that walks it backwards, behind the last row. Null where it has
// not. Not to copy it takes 1 to 2 % off training (SimpleRNN, N16, H64 and H128), on two threads 4 % (H64).
template <class T> T* lefts_in_y(const Scan<T>& s, long t0, long t1) {
  if (s.mask || s.y_at || s.steps == 1) return nullptr;
  const long step = t0 ? s.start[t0] - s.start[t0 - 1] : s.start[1] - s.start[0];
  if (t0 == 0 && s.h0 != s.y + (s.start[0] - step) * s.S) return nullptr;
  for (long t = std::max(t0, 1L); t < t1; ++t)
    if (s.rows[t] != s.rows[t - 1] || s.start[t] - s.start[t - 1] != step) return nullptr;
  return s.y + (std::min(s.start[t0], s.start[t1 - 1]) - step) * s.S;
}

// Arrays of a chunk's packed rows, from row low on, for the gradients of the parameters.
template <class T> void find_chunk(const Scan<T>& s, const Share& share, long low, T* lefts, At<T>* at) {
  const long H = s.H, width = s.cell.gates * H, blocks = s.cell.blocks * H;
  at[NOTHING] = {nullptr, 0};
  at[X] = {const_cast<T*>(s.x) + (s.x_at ? 0 : low * s.D), s.D, fastrnn::at(s.x_at, low)};
  at[PRE] = {s.pre, blocks, share.numbers ? s.turned : nullptr};
  at[LEFT] = {lefts, s.S};
  at[INNER] = {s.inner, H};
  at[DU] = {s.du, blocks};
  at[X_HAT] = {fastrnn::at(s.x_hat, low * width), width};
  at[HAT] = {fastrnn::at(s.u_hat, low * width), width};
  at[C_PREV] = {s.c_prev, H};
  at[C_NEW] = {fastrnn::at(s.c_new ? s.c_new : s.c, low * H), H};
  at[C_HAT] = {s.c_hat, H};
  at[DSQUASHED] = {s.dsquashed, H};
  at[TOTAL] = {s.total, s.S};
}

// -----------------------------------------------------------------------------------------------------------------------
// Work on rows

// Columns of an array that work goes over.
template <class T> long width_of(const Scan<T>& s, const Op& op) {
  if (op.group >= 0) return (s.cell.norm[op.group][1] - s.cell.norm[op.group][0]) * s.H;
  return op.left == H_PREV || op.left == H_NEW || op.left == TOTAL ? s.S : s.H;
}

// Rows row0..row1 of a step's work; ``now`` is the step's first packed row.
template <class T> void work_on_rows(const Scan<T>& s, const Op& op, const At<T>* at, long now, long row0, long row1) {
  const long H = s.H;
  Rows<T> rows{};
  rows.width = width_of(s, op);
  rows.in = at[op.left].at + op.left_block * H, rows.in_ld = at[op.left].ld;
  rows.out = at[op.out].at + op.out_block * H, rows.out_ld = at[op.out].ld;
  rows.other = at[op.other].at, rows.other_ld = at[op.other].ld;
  rows.old = at[op.old].at, rows.old_ld = at[op.old].ld;
  rows.add = op.add;
  if (op.group >= 0) {
    const long first = s.cell.norm[op.group][0] * H;
    rows.hat = at[HAT].at + first, rows.hat_ld = at[HAT].ld;
    rows.gain = s.params.gain_U + first;
    rows.scale = s.keep ? s.u_scale + now * s.cell.norms + op.group : s.scale + op.group;
    rows.scale_ld = s.keep ? s.cell.norms : 3;
  } else if (op.what == NORMALISE || op.what == NORMALISE_BACK) {
    rows.hat = at[C_HAT].at, rows.hat_ld = at[C_HAT].ld;
    rows.gain = s.params.gain_c, rows.bias = s.params.bias_c;
    rows.scale = s.scale + 2, rows.scale_ld = 3;
  }
  s.kernels->rows(op.what, &rows, row0, row1);
}

// Normalise the projected input of packed rows low + row0 .. low + row1, or undo that in their gradients.
template <class T> void normalise_projection(const Scan<T>& s, bool back, long low, long row0, long row1) {
  const long H = s.H, width = s.cell.gates * H, ld = s.cell.blocks * H;
  for (int g = 0; g < s.cell.norms; ++g) {
    const long first = s.cell.norm[g][0], block = s.segments == 2 && g == 1 ? 3 : first;
    Rows<T> rows{};
    rows.width = (s.cell.norm[g][1] - first) * H;
    rows.in = rows.out = s.pre + block * H;
    rows.in_ld = rows.out_ld = ld;
    rows.hat = s.keep ? s.x_hat + low * width + first * H : s.pre + block * H;
    rows.hat_ld = s.keep ? width : ld;
    rows.gain = s.params.gain_W + first * H, rows.bias = s.params.b + first * H;
    rows.scale = (s.keep ? s.x_scale + low * s.cell.norms : s.chunk_scale) + g, rows.scale_ld = s.cell.norms;
    s.kernels->rows(back ? NORMALISE_BACK : NORMALISE, &rows, row0, row1);
  }
}

}  // namespace fastrnn
