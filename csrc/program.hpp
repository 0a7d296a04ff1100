// What a step of each cell does, forward and backward: the compiled side of fastrnn/cells.py.
//
// A plain cell is one product and one elementwise step (the reset-before GRU two of each). Options put products and work
// on rows around them.
#pragma once

#include "scan.hpp"

namespace fastrnn {

inline void describe_cell(Cell* c) {
  const bool gru = c->name == Cell::GRU_ || c->name == Cell::GRU_BEFORE;
  c->gates = c->name == Cell::RNN ? 1 : gru || c->coupled ? 3 : 4;
  c->blocks = c->name == Cell::GRU_ ? 4 : c->gates;
  c->saved = c->name == Cell::RNN ? c->any : c->blocks;
  c->carries = gru;
  c->has_inner = c->name == Cell::GRU_BEFORE || c->projected;
  c->gates_in_inference = c->name == Cell::GRU_BEFORE || (c->name == Cell::LSTM_ && c->any);
  c->norms = c->normed ? (gru ? 2 : 1) : 0;
  c->norm[0][1] = gru ? 2 : c->gates;
  c->norm[1][0] = 2, c->norm[1][1] = 3;
}

// The same rules in the type of a scan.
template <class T> void convert(const Rules<double>& from, Rules<T>* to) {
  auto function = [](const Function<double>& f) { return Function<T>{f.kind, T(f.alpha), T(f.beta)}; };
  to->activation = function(from.activation), to->recurrent = function(from.recurrent);
  to->output = function(from.output);
  to->clip = T(from.clip);
}

template <class T> struct Composer {
  Scan<T>& s;
  const Cell& cell = s.cell;
  const long H = s.H, width = cell.gates * s.H;
  const int o_block = cell.gates - 1, early = cell.coupled ? 1 : 2;  // LSTM's blocks that see c before the step

  int weigh(const T* source, long ld, bool transposed, long K, long units, long gates) {
    s.weight[s.n_weights] = {source, ld, transposed, K, units, gates, nullptr};
    return s.n_weights++;
  }

  // Gate blocks gate.. of U for a product from the left; for one from the right, backwards.
  int recurrent(int gate, int gates, bool one_block) {
    return one_block ? weigh(s.params.U + gate * H, width, false, s.S, gates * H, 1)
                     : weigh(s.params.U + gate * H, width, false, s.S, H, gates);
  }
  int recurrent_back(int gate, int gates) { return weigh(s.params.U + gate * H, width, true, gates * H, s.S, 1); }

  Op& add(Op op) { return s.op[s.ops++] = op; }
  void step(int epilogue, int weight = -1, Place left = NOTHING, int block = 0, Place out = NOTHING) {
    Op op{Op::STEP, epilogue};
    op.weight = weight, op.left = left, op.left_block = out == NOTHING ? block : 0;
    op.out = out, op.out_block = block;
    add(op);
  }
  void product(int weight, Place left, int left_block, Place out, int out_block, bool adds) {
    Op op{Op::PRODUCT, 0};
    op.weight = weight, op.left = left, op.left_block = left_block, op.out = out, op.out_block = out_block;
    op.add = adds;
    add(op);
  }
  Op& rows(int work, Place in, Place out, Place other = NOTHING, Place old = NOTHING) {
    Op op{Op::ROWS, work};
    op.left = in, op.out = out, op.other = other, op.old = old;
    return add(op);
  }

  void start() {
    s.segments = s.ops = s.n_weights = s.gradients = s.reductions = s.late_gradients = 0;
    if (cell.name == Cell::GRU_) {
      s.segment[s.segments++] = {0, 0, 2};
      s.segment[s.segments++] = {2, 3, 1};
    } else {
      s.segment[s.segments++] = {0, 0, cell.gates};
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Forward

  // The step of gate blocks gate..gate+gates: product and elementwise step in one, or apart with a normalisation
  // between them.
  void gates_step(int epilogue, int group, int gate, int gates, Place left) {
    if (!cell.normed) return step(epilogue, recurrent(gate, gates, false), left, gate, PRE);
    product(recurrent(gate, gates, true), left, 0, RAW, gate, false);
    for (int g = group; g < cell.norms && cell.norm[g][1] <= gate + gates; ++g) {
      Op& op = rows(NORMALISE, RAW, PRE);
      op.left_block = op.out_block = cell.norm[g][0], op.add = true, op.group = g;
    }
    step(epilogue);
  }

  void forward() {
    start();
    for (int k = 0; k < s.segments; ++k)
      weigh(s.params.W + s.segment[k].gate * H, width, false, s.D, s.segment[k].gates * H, 1);
    if (s.mask) rows(TIMES, H_PREV, LEFT, MASK);
    switch (cell.name) {
      case Cell::RNN:
        gates_step(cell.any ? RNN_ANY : s.rules.activation.kind == RELU ? RNN_RELU : RNN_TANH, 0, 0, 1, LEFT);
        break;
      case Cell::GRU_: gates_step(cell.any ? GRU_ANY : GRU, 0, 0, 3, LEFT); break;
      case Cell::GRU_BEFORE:
        gates_step(cell.any ? GRU_BEFORE_GATES_ANY : GRU_BEFORE_GATES, 0, 0, 2, LEFT);
        gates_step(cell.any ? GRU_BEFORE_OUTPUT_ANY : GRU_BEFORE_OUTPUT, 1, 2, 1, INNER);
        break;
      case Cell::LSTM_: cell.any ? lstm_forward() : gates_step(LSTM, 0, 0, 4, LEFT); break;
    }
    if (s.new_h) rows(BLEND, H_NEW, H_NEW, SHARE_H, H_PREV);
    if (s.new_c) rows(BLEND, C_NEW, C_LAST, SHARE_C, C_PREV);
  }

  void lstm_forward() {
    const long ld = (early + 1) * H;
    if (cell.full) product(weigh(s.params.P, ld, false, H, early * H, 1), C_PREV, 0, PRE, 0, true);
    gates_step(cell.coupled ? COUPLED_CELL : LSTM_CELL, 0, 0, cell.gates, LEFT);
    if (cell.normed) rows(NORMALISE, C_NEW, SQUASHED);
    const int peep = cell.full ? weigh(s.params.P + early * H, ld, false, H, H, 1) : -1;
    step(cell.coupled ? COUPLED_OUTPUT : LSTM_OUTPUT, peep, C_NEW, o_block, GATES);
    if (cell.projected) product(weigh(s.params.W_proj, s.S, false, H, s.S, 1), INNER, 0, H_NEW, 0, false);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Backward

  void backward() {
    start();
    for (int k = 0; k < s.segments; ++k)
      weigh(s.params.W + s.segment[k].gate * H, width, true, s.segment[k].gates * H, s.D, 1);
    if (s.mask) rows(TIMES, H_PREV, LEFT, MASK);
    if (s.dcells) rows(ADD, DCELLS, DC);
    const int h_gates = cell.name == Cell::GRU_BEFORE ? 2 : cell.gates;
    const int through_U = recurrent_back(0, h_gates);
    if (cell.any) {
      step(ACCUMULATE, through_U, DA_NEXT);
      if (s.new_h) rows(SPLIT, TOTAL, TOTAL, SHARE_H, DH);
      if (s.new_c) rows(SPLIT, DC, DC, SHARE_C, DC_LAST);
    }
    const int w = cell.any ? -1 : through_U;
    const Place left = cell.any ? NOTHING : DA_NEXT;
    switch (cell.name) {
      case Cell::RNN:
        step(cell.any ? RNN_ANY : s.rules.activation.kind == RELU ? RNN_RELU : RNN_TANH, w, left);
        break;
      case Cell::GRU_: step(cell.any ? GRU_ANY : GRU, w, left); break;
      case Cell::GRU_BEFORE:
        step(cell.any ? GRU_BEFORE_OUTPUT_ANY : GRU_BEFORE_OUTPUT, w, left);
        normalised_back(1);
        step(cell.any ? GRU_BEFORE_GATES_ANY : GRU_BEFORE_GATES, recurrent_back(2, 1), cell.normed ? DU : DA, 2);
        break;
      case Cell::LSTM_: cell.any ? lstm_backward() : step(LSTM, w, left); break;
    }
    for (int g = 0; g < cell.norms; ++g)
      if (g == 0 || cell.name != Cell::GRU_BEFORE) normalised_back(g);
    sums();
  }

  // du from da.
  void normalised_back(int g) {
    if (!cell.normed) return;
    Op& op = rows(NORMALISE_BACK, DA, DU);
    op.left_block = op.out_block = cell.norm[g][0], op.group = g;
  }

  void lstm_backward() {
    const long ld = (early + 1) * H;
    if (cell.projected) product(weigh(s.params.W_proj, s.S, true, s.S, H, 1), TOTAL, 0, DINNER, 0, false);
    if (cell.normed) rows(NORMALISE, C_NEW, SQUASHED);
    step(cell.coupled ? COUPLED_OUTPUT : LSTM_OUTPUT);
    if (cell.normed) rows(NORMALISE_BACK, DSQUASHED, DC).add = true;
    if (cell.full) product(weigh(s.params.P + early * H, ld, true, H, H, 1), DA, o_block, DC, 0, true);
    step(cell.coupled ? COUPLED_CELL : LSTM_CELL);
    if (cell.full) product(weigh(s.params.P, ld, true, early * H, H, 1), DA, 0, DC, 0, true);
    if (s.new_c) rows(ADD, DC_LAST, DC);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The gradients of the parameters, after a chunk of steps

  void gradient(Place b, int block, int blocks, Place left0, T* out0, Place left1, T* out1, long ld, T* sums) {
    s.gradient[s.gradients++] = {b, block, blocks * H, {left0, left1}, {out0, out1}, ld, sums};
  }
  void reduce(Place a, int a_block, Place b, int b_block, int blocks, T* sums) {
    s.reduction[s.reductions++] = {a, a_block, b, b_block, blocks * H, sums};
  }

  void sums() {
    Params<T>& d = s.grads;
    if (cell.normed) {
      apart();
    } else {
      switch (cell.name) {
        case Cell::GRU_:
          gradient(PRE, 0, 2, X, d.W, LEFT, d.U, width, d.b);
          gradient(PRE, 2, 1, NOTHING, nullptr, LEFT, d.U + 2 * H, width, d.b_rec);
          gradient(PRE, 3, 1, X, d.W + 2 * H, NOTHING, nullptr, width, d.b + 2 * H);
          break;
        case Cell::GRU_BEFORE:
          gradient(PRE, 0, 2, X, d.W, LEFT, d.U, width, d.b);
          gradient(PRE, 2, 1, X, d.W + 2 * H, INNER, d.U + 2 * H, width, d.b + 2 * H);
          break;
        default: gradient(PRE, 0, cell.gates, X, d.W, LEFT, d.U, width, d.b);
      }
    }
    if (cell.projected) s.gradient[s.gradients++] = {TOTAL, 0, s.S, {INNER, NOTHING}, {d.W_proj, nullptr}, s.S, nullptr};
    if (cell.full) {
      gradient(PRE, 0, early, C_PREV, d.P, NOTHING, nullptr, (early + 1) * H, nullptr);
      gradient(PRE, o_block, 1, C_NEW, d.P + early * H, NOTHING, nullptr, (early + 1) * H, nullptr);
    }
    if (cell.diagonal) {
      for (int k = 0; k < early; ++k) reduce(PRE, k, C_PREV, 0, 1, d.p + k * H);
      reduce(PRE, o_block, C_NEW, 0, 1, d.p + early * H);
    }
    if (cell.normed) late();
  }

  // With layer normalisation W's and U's products have gradients of their own.
  void apart() {
    Params<T>& d = s.grads;
    for (int k = 0; k < s.segments; ++k) {
      const auto& part = s.segment[k];
      reduce(PRE, part.block, NOTHING, 0, part.gates, d.b + part.gate * H);
      reduce(PRE, part.block, X_HAT, part.gate, part.gates, d.gain_W + part.gate * H);
    }
    if (cell.name == Cell::GRU_) reduce(PRE, 2, NOTHING, 0, 1, d.b_rec);
    reduce(PRE, 0, HAT, 0, cell.gates, d.gain_U);
    if (cell.name == Cell::GRU_BEFORE) {
      gradient(DU, 0, 2, NOTHING, nullptr, LEFT, d.U, width, nullptr);
      gradient(DU, 2, 1, NOTHING, nullptr, INNER, d.U + 2 * H, width, nullptr);
    } else {
      gradient(DU, 0, cell.gates, NOTHING, nullptr, LEFT, d.U, width, nullptr);
    }
    if (cell.name == Cell::LSTM_) {
      reduce(DSQUASHED, 0, C_HAT, 0, 1, d.gain_c);
      reduce(DSQUASHED, 0, NOTHING, 0, 1, d.bias_c);
    }
  }

  void late() {
    for (int k = 0; k < s.segments; ++k, ++s.late_gradients) {
      const auto& part = s.segment[k];
      gradient(PRE, part.block, part.gates, X, s.grads.W + part.gate * H, NOTHING, nullptr, width, nullptr);
    }
  }
};

// -----------------------------------------------------------------------------------------------------------------------
// Where things stand at one step

// Arrays of step t, whose chunk's packed rows begin with row low. Forward.
template <class T> void find_forward(const Scan<T>& s, long t, long low, At<T>* at) {
  const long H = s.H, S = s.S, width = s.cell.gates * H, now = s.start[t], before = t ? s.start[t - 1] : 0;
  auto borrowed = [](const T* p) { return const_cast<T*>(p); };
  at[PRE] = {s.pre + (now - low) * s.cell.blocks * H, s.cell.blocks * H};
  at[GATES] = {fastrnn::at(s.gates, s.keep ? now * s.cell.saved * H : 0), s.cell.saved * H};
  at[H_PREV] = {t ? s.y + before * S : borrowed(s.h0), S};
  at[LEFT] = s.mask ? At<T>{s.left, S} : at[H_PREV];
  at[H_NEW] = {s.y + now * S, S};
  at[C_PREV] = {t ? fastrnn::at(s.c, s.keep ? before * H : 0) : borrowed(s.c0), H};
  at[C_LAST] = {fastrnn::at(s.c, s.keep ? now * H : 0), H};
  at[C_NEW] = s.new_c ? At<T>{s.c_new + (s.keep ? now * H : 0), H} : at[C_LAST];
  at[INNER] = {s.inner, H};
  if (!s.cell.any && !s.mask) return;
  at[RAW] = {s.raw, width};
  at[HAT] = s.keep ? At<T>{fastrnn::at(s.u_hat, now * width), width} : at[RAW];
  at[SQUASHED] = s.cell.normed ? At<T>{s.squashed, H} : at[C_NEW];
  at[C_HAT] = {s.c_hat, H};
  at[MASK] = {borrowed(s.mask), S};
  at[SHARE_H] = {borrowed(fastrnn::at(s.new_h, now * s.new_h_ld)), s.new_h_ld};
  at[SHARE_C] = {borrowed(fastrnn::at(s.new_c, now * s.new_c_ld)), s.new_c_ld};
}

template <class T> void fill(const Scan<T>& s, const At<T>* at, Forward<T>* step) {
  step->H = s.H, step->rules = &s.rules;
  step->backwards = !step->backwards;
  step->pre = at[PRE].at, step->pre_ld = at[PRE].ld;
  step->gates = at[GATES].at, step->gates_ld = at[GATES].ld;
  step->h_prev = at[H_PREV].at, step->left = at[LEFT].at;
  step->c_prev = at[C_PREV].at, step->c = at[C_NEW].at, step->squashed = at[SQUASHED].at;
  step->h = s.cell.projected ? at[INNER].at : at[H_NEW].at;
  step->rh = at[INNER].at;
}

// Backward; DA_NEXT stays as it is.
template <class T> void find_backward(const Scan<T>& s, long t, long low, At<T>* at) {
  const long H = s.H, S = s.S, width = s.cell.gates * H, blocks = s.cell.blocks * H;
  const long now = s.start[t], before = t ? s.start[t - 1] : 0, row = now - low;
  auto borrowed = [](const T* p) { return const_cast<T*>(p); };
  at[DA] = {s.pre + row * blocks, blocks};
  at[GATES] = {fastrnn::at(s.gates, now * s.cell.saved * H), s.cell.saved * H};
  at[H_PREV] = {t ? s.y + before * S : borrowed(s.h0), S};
  at[LEFT] = s.mask ? At<T>{s.left + row * S, S} : at[H_PREV];
  at[H_NEW] = {s.y + now * S, S};
  at[C_PREV] = {t ? fastrnn::at(s.c, before * H) : borrowed(s.c0), H};
  at[C_NEW] = {fastrnn::at(s.c_new ? s.c_new : s.c, now * H), H};
  at[INNER] = {fastrnn::at(s.inner, row * H), H};
  at[DH] = {s.dh, S};
  at[DC] = {s.dc, H};
  at[DCELLS] = {borrowed(fastrnn::at(s.dcells, now * H)), H};
  at[MASK] = {borrowed(s.mask), S};
  if (!s.cell.any) return;
  at[DU] = {fastrnn::at(s.du, row * blocks), blocks};
  at[HAT] = {fastrnn::at(s.u_hat, now * width), width};
  at[SQUASHED] = s.cell.normed ? At<T>{s.squashed, H} : at[C_NEW];
  at[C_HAT] = {fastrnn::at(s.c_hat, row * H), H};
  at[TOTAL] = {s.total + row * S, S};
  at[DC_LAST] = {s.dc_last, H};
  at[DINNER] = {s.dinner, H};
  at[DSQUASHED] = {fastrnn::at(s.dsquashed, row * H), H};
  at[SHARE_H] = {borrowed(fastrnn::at(s.new_h, now * s.new_h_ld)), s.new_h_ld};
  at[SHARE_C] = {borrowed(fastrnn::at(s.new_c, now * s.new_c_ld)), s.new_c_ld};
}

template <class T> void fill(const Scan<T>& s, const At<T>* at, const T* dy, Backward<T>* step) {
  step->H = s.H, step->rules = &s.rules;
  step->dy = dy, step->dh = s.dh, step->dc = s.dc;
  step->gates = at[GATES].at, step->gates_ld = at[GATES].ld;
  step->y = at[H_NEW].at, step->h_prev = at[H_PREV].at, step->left = at[LEFT].at;
  step->c = at[C_NEW].at, step->c_prev = at[C_PREV].at;
  step->da = at[DA].at, step->da_ld = at[DA].ld;
  step->rh = at[INNER].at;
  step->total = s.cell.projected ? at[DINNER].at : at[TOTAL].at;
  step->squashed = at[SQUASHED].at, step->dsquashed = s.cell.normed ? at[DSQUASHED].at : nullptr;
  step->keep_carry = s.new_h;
  step->mask = s.mask;
}

// Arrays of a chunk's packed rows, from row low on, for the gradients of the parameters.
template <class T> void find_chunk(const Scan<T>& s, long low, At<T>* at) {
  const long H = s.H, width = s.cell.gates * H, blocks = s.cell.blocks * H;
  at[NOTHING] = {nullptr, 0};
  at[X] = {const_cast<T*>(s.x) + low * s.D, s.D};
  at[PRE] = {s.pre, blocks};
  at[LEFT] = {s.left, s.S};
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

template <class T> void compose(Scan<T>* s, bool backward) {
  Composer<T> composer{*s};
  backward ? composer.backward() : composer.forward();
}

}  // namespace fastrnn
