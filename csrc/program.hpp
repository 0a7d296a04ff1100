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

  int weigh(const Matrix<T>& m, bool transposed, long K, long units, long gates) {
    s.weight[s.n_weights] = {m.at, m.ld, transposed != m.transposed, K, units, gates, false, false, false, nullptr};
    return s.n_weights++;
  }

  // Gate blocks gate.. of U for a product from the left; for one from the right, backwards.
  int recurrent(int gate, int gates, bool one_block) {
    return one_block ? weigh(s.params.U.from(gate * H), false, s.S, gates * H, 1)
                     : weigh(s.params.U.from(gate * H), false, s.S, H, gates);
  }
  int recurrent_back(int gate, int gates) { return weigh(s.params.U.from(gate * H), true, gates * H, s.S, 1); }

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

  // Where W multiplies x; a table has been multiplied by it before.
  void start(bool transposed) {
    s.segments = s.ops = s.n_weights = s.gradients = s.reductions = s.late_gradients = 0;
    if (s.interleaved) return start_interleaved();
    if (cell.name == Cell::GRU_ && transposed && takes_gap()) {
      s.segment[s.segments++] = {0, 0, 3, 2};
    } else if (cell.name == Cell::GRU_) {
      s.segment[s.segments++] = {0, 0, 2};
      s.segment[s.segments++] = {2, 3, 1};
    } else {
      s.segment[s.segments++] = {0, 0, cell.gates};
    }
    for (int k = 0; k < s.segments && !s.codes; ++k) {
      const Matrix<T> part = s.params.W.from(s.segment[k].gate * H);
      const long columns = s.segment[k].gates * H;
      const int w = weigh(part, transposed, transposed ? columns : s.D, transposed ? s.D : columns, 1);
      s.weight[w].back = transposed;
    }
  }

  // Whether one product makes the gradient of x of all gates, where m stands between them in da.
  bool takes_gap() const {
    if (s.blas || s.codes || cell.normed) return false;
    const long unit = s.kernels->gap_unit(width, s.D);
    return unit > 0 && 2 * H % unit == 0;
  }

  // The same with W's panels as U's: a segment for every STEP that reads pre.
  void start_interleaved() {
    if (cell.name == Cell::GRU_BEFORE) {
      s.segment[s.segments++] = {0, 0, 2};
      s.segment[s.segments++] = {2, 2, 1};
    } else {
      s.segment[s.segments++] = {0, 0, cell.gates};
    }
    for (int k = 0; k < s.segments; ++k)
      weigh(s.params.W.from(s.segment[k].gate * H), false, s.D, H, s.segment[k].gates);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Forward

  // The step of gate blocks gate..gate+gates: product and elementwise step in one, or apart with a normalisation
  // between them.
  void gates_step(int epilogue, int group, int gate, int gates, Place left) {
    if (!cell.normed) {
      step(epilogue, recurrent(gate, gates, false), left, gate, PRE);
      s.op[s.ops - 1].input = s.interleaved ? (gate > 0) : -1;
      return;
    }
    product(recurrent(gate, gates, true), left, 0, RAW, gate, false);
    for (int g = group; g < cell.norms && cell.norm[g][1] <= gate + gates; ++g) {
      Op& op = rows(NORMALISE, RAW, PRE);
      op.left_block = op.out_block = cell.norm[g][0], op.add = true, op.group = g;
    }
    step(epilogue);
  }

  void forward() {
    start(false);
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
    if (cell.full) product(weigh(s.params.P, false, H, early * H, 1), C_PREV, 0, PRE, 0, true);
    gates_step(cell.coupled ? COUPLED_CELL : LSTM_CELL, 0, 0, cell.gates, LEFT);
    if (cell.normed) rows(NORMALISE, C_NEW, SQUASHED);
    const int peep = cell.full ? weigh(s.params.P.from(early * H), false, H, H, 1) : -1;
    step(cell.coupled ? COUPLED_OUTPUT : LSTM_OUTPUT, peep, C_NEW, o_block, GATES);
    if (cell.projected) product(weigh(s.params.W_proj, false, H, s.S, 1), INNER, 0, H_NEW, 0, false);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Backward

  void backward() {
    start(true);
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
    if (cell.projected) product(weigh(s.params.W_proj, true, s.S, H, 1), TOTAL, 0, DINNER, 0, false);
    if (cell.normed) rows(NORMALISE, C_NEW, SQUASHED);
    step(cell.coupled ? COUPLED_OUTPUT : LSTM_OUTPUT);
    if (cell.normed) rows(NORMALISE_BACK, DSQUASHED, DC).add = true;
    if (cell.full) product(weigh(s.params.P.from(early * H), true, H, H, 1), DA, o_block, DC, 0, true);
    step(cell.coupled ? COUPLED_CELL : LSTM_CELL);
    if (cell.full) product(weigh(s.params.P, true, early * H, H, 1), DA, 0, DC, 0, true);
    if (s.new_c) rows(ADD, DC_LAST, DC);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The gradients of the parameters, after a chunk of steps

  void gradient(Place b, int block, long columns, Place left0, const Matrix<T>& out0, Place left1, const Matrix<T>& out1,
                T* sums) {
    if (left0 && left1 && out0.transposed != out1.transposed) {
      gradient(b, block, columns, left0, out0, sums);
      gradient(b, block, columns, left1, out1, nullptr);
      return;
    }
    s.gradient[s.gradients++] = {b, block, columns, {left0, left1}, {left0 ? out0 : Matrix<T>{}, out1}, sums};
  }
  void gradient(Place b, int block, long columns, Place left, const Matrix<T>& out, T* sums) {
    gradient(b, block, columns, left, out, NOTHING, {}, sums);
  }
  void reduce(Place a, int a_block, Place b, int b_block, int blocks, T* sums) {
    s.reduction[s.reductions++] = {a, a_block, b, b_block, blocks * H, sums};
  }

  void sums() {
    Params<T>& d = s.grads;
    const Place x = s.codes ? NOTHING : X;
    if (cell.normed) {
      apart();
    } else {
      switch (cell.name) {
        case Cell::GRU_:
          gradient(PRE, 0, 2 * H, x, d.W, LEFT, d.U, d.b);
          gradient(PRE, 2, H, LEFT, d.U.from(2 * H), d.b_rec);
          gradient(PRE, 3, H, x, d.W.from(2 * H), d.b + 2 * H);
          break;
        case Cell::GRU_BEFORE:
          gradient(PRE, 0, 2 * H, x, d.W, LEFT, d.U, d.b);
          gradient(PRE, 2, H, x, d.W.from(2 * H), INNER, d.U.from(2 * H), d.b + 2 * H);
          break;
        default: gradient(PRE, 0, width, x, d.W, LEFT, d.U, d.b);
      }
    }
    if (cell.projected) gradient(TOTAL, 0, s.S, INNER, d.W_proj, nullptr);
    if (cell.full) {
      gradient(PRE, 0, early * H, C_PREV, d.P, nullptr);
      gradient(PRE, o_block, H, C_NEW, d.P.from(early * H), nullptr);
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
      gradient(DU, 0, 2 * H, LEFT, d.U, nullptr);
      gradient(DU, 2, H, INNER, d.U.from(2 * H), nullptr);
    } else {
      gradient(DU, 0, width, LEFT, d.U, nullptr);
    }
    if (cell.name == Cell::LSTM_) {
      reduce(DSQUASHED, 0, C_HAT, 0, 1, d.gain_c);
      reduce(DSQUASHED, 0, NOTHING, 0, 1, d.bias_c);
    }
  }

  void late() {
    for (int k = 0; k < s.segments; ++k, ++s.late_gradients) {
      const auto& part = s.segment[k];
      gradient(PRE, part.block, part.gates * H, X, s.grads.W.from(part.gate * H), nullptr);
    }
  }
};

template <class T> void compose(Scan<T>* s, bool backward) {
  Composer<T> composer{*s};
  backward ? composer.backward() : composer.forward();
}

}  // namespace fastrnn
