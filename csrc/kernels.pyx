# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True, binding=True
"""Backend "cython": the forward and the backward time loop.

Same functions, arguments and meaning as `fastrnn.reference`. Products run on packed SIMD kernels or through BLAS; both
share these loops and the elementwise steps of csrc/cells.hpp. What a step of a cell does is the program that
csrc/program.hpp composes of them.
"""

from cython cimport floating
from cython.parallel cimport parallel, threadid
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

cimport numpy as cnp

from time import perf_counter

import numpy as np

from .lookup import Lookup
from .scan import SILENT, Placed, Trace, in_order

cnp.import_array()

include "gemm.pxi"
include "declarations.pxi"
include "memory.pxi"


# ---------------------------------------------------------------------------------------------------------------------
# What runs: instruction set, products, threads

cdef const Isa* _tables[8]
cdef int _n_tables = available(_tables, 8)
cdef const Isa* _isa = _tables[0]
cdef bint _blas = False
cdef int _threads = 1
cdef bint _has_forked_team = False
cdef bint _used_team = False


def available_isas():
    """Names of the instruction sets that this build holds and this CPU can run, best first."""
    return [_tables[k].name.decode() for k in range(_n_tables)]


def get_isa():
    """Name of the instruction set in use."""
    return _isa.name.decode()


def set_isa(str name):
    """Use the table of this name; it must be one of `available_isas`."""
    global _isa
    _isa = _tables[available_isas().index(name)]


def set_blas(bint blas):
    """Run products through BLAS (True) or the packed SIMD kernels (False)."""
    global _blas
    if blas:
        load_blas()
    _blas = blas


def set_threads(int n):
    """Use at most n threads."""
    global _threads
    _threads = n


def after_fork():
    """Tell the child of a fork that the OpenMP threads of its parent are gone."""
    global _has_forked_team
    _has_forked_team = _used_team
    Pace.after_fork()
    hire_anew()


cdef void use_team(int threads):
    """Note that a call is about to start OpenMP's threads."""
    global _used_team
    _used_team = _used_team or threads > 1


def has_openmp():
    """True where this build can use more than one thread."""
    return built_with_openmp()


include "measure.pxi"
include "math.pxi"
include "door.pxi"
include "plan.pxi"


# ---------------------------------------------------------------------------------------------------------------------
# What both directions are made of

cdef void pack(Scan[floating]* s, int thread, int threads) noexcept nogil:
    """Pack the matrices of all products; a thread's share of each, or its own copy."""
    cdef const Weight[floating]* w
    cdef long row, column, first, last, k
    if s.own_weights:
        thread, threads = 0, 1
    for k in range(s.n_weights):
        w = &s.weight[k]
        if w.unpacked:
            continue
        row, column = 1 if w.transposed else w.ld, w.ld if w.transposed else 1
        first, last = first_unit(s, w, w.units, thread, threads), first_unit(s, w, w.units, thread + 1, threads)
        if w.back:
            s.kernels.pack_back(w.packed, w.source, w.K, w.units, row, column, first, last)
        else:
            s.kernels.pack(w.packed, w.source, w.K, w.units, w.gates, w.narrow, row, column, w.units * column, first,
                           last)


cdef void multiply(
    Scan[floating]* s, const Weight[floating]* w, const floating* left, long left_ld, const floating* bias, bint add,
    floating* out, long ld, long row0, long row1, long column0, long column1, const int64_t* left_rows = NULL,
    const int64_t* out_rows = NULL, floating* scratch = NULL, long gap_at = 0, const Ahead[floating]* next = NULL,
) noexcept nogil:
    """out = left w + bias, or out += left w, for some rows and (but for BLAS, which does them all) columns.

    ``left_rows`` and ``out_rows`` number the rows of left and out; null: they are in order, as BLAS wants them. A
    weight packed for the gradient of the input takes a thread's ``scratch``, and a left side that leaves out a block of
    units from ``gap_at`` on; 0: it leaves out none. ``next`` is fetched meanwhile.
    """
    cdef Product[floating] product
    cdef long columns = w.units * w.gates, r
    if s.blas:
        if bias != NULL:
            for r in range(row0, row1):
                memcpy(out + r * ld, bias, columns * sizeof(floating))
        gemm(False, w.transposed, row1 - row0, columns, w.K, left + row0 * left_ld, left_ld, w.source, w.ld,
             add or bias != NULL, out + row0 * ld, ld)
        return
    product.K, product.columns = w.K, columns
    product.a, product.row_stride, product.k_stride = left, left_ld, 1
    product.panels, product.matrix_ld, product.narrow, product.bias = w.right(), w.matrix_ld(), w.narrow, bias
    product.out, product.ld, product.add = out, ld, add
    product.a_rows, product.out_rows, product.next = left_rows, out_rows, next
    if w.back:
        product.gap_at, product.gap = gap_at, s.H if gap_at > 0 else 0
        s.kernels.product_back(&product, row0, row1, column0, column1, scratch)
    else:
        s.kernels.product(&product, row0, row1, column0, column1)


cdef void run_beside(
    Scan[floating]* s, const Op* op, const At[floating]* at, long now, long row0, long row1, int thread, int threads,
) noexcept nogil:
    """A product or work on rows row0..row1 that stands beside the elementwise steps; ``now``: the first packed row.

    Where threads split units these are all rows, and each takes its share of the columns or of the rows.
    """
    cdef const Weight[floating]* w
    cdef long column0 = 0, column1, n = row1 - row0
    if op.action == ROWS:
        if not s.by_rows:
            row0, row1 = n * thread // threads, n * (thread + 1) // threads
        work_on_rows(s[0], op[0], at, now, row0, row1)
        return
    w = &s.weight[op.weight]
    column1 = w.units
    if not s.by_rows:
        column0, column1 = first_unit(s, w, w.units, thread, threads), first_unit(s, w, w.units, thread + 1, threads)
    multiply(s, w, <const floating*>at[op.left].at + op.left_block * s.H, at[op.left].ld, <const floating*>NULL,
             op.add, at[op.out].at + op.out_block * s.H, at[op.out].ld, row0, row1, column0, column1)


# ---------------------------------------------------------------------------------------------------------------------
# Forward

cdef void prepare(Scan[floating]* s, int thread, int threads) noexcept nogil:
    """What is made once for the whole scan; a thread's share of it."""
    cdef long rows = s.chunk * s.N
    if not s.blas and not s.packed:
        pack(s, thread, threads)
    if s.params.b_rec != NULL and not s.blas and not s.cell.normed:
        fill_inner(s, rows * thread // threads, rows * (thread + 1) // threads)


cdef void fill_inner(Scan[floating]* s, long row0, long row1) noexcept nogil:
    """Put the inner bias where the reset product is added to it: what adds in memory wants it afresh for every chunk,
    the fused steps only read it."""
    cdef long H = s.H, ld = s.cell.blocks * H, r
    for r in range(row0, row1):
        memcpy(s.pre + r * ld + 2 * H, s.params.b_rec, H * sizeof(floating))


cdef void project(Scan[floating]* s, const Share* share, long low, long n, int thread, int threads) noexcept nogil:
    """pre = x W + b for a chunk's n packed rows, from row low on: for a thread's share of them, or, of few, for all of
    them its share of the columns."""
    cdef long first = share.first, last = share.last, column0 = 0, column1
    cdef long H = s.H, p
    cdef bint by_columns = not s.apart and not s.cell.normed and (
        projects_own_units(s) or n < ROWS_PER_THREAD * threads)
    cdef Product[floating] product
    if s.codes != NULL:
        look_up(s[0], low, share[0])
    else:
        if by_columns:
            first, last = 0, n
        for p in range(s.segments):
            column1 = s.weight[p].units
            if by_columns:
                column0 = first_unit(s, &s.weight[p], column1, thread, threads)
                column1 = first_unit(s, &s.weight[p], column1, thread + 1, threads)
            if s.interleaved:
                set_projection(&product, s[0], p, low)
                product.a_rows = share.places
                s.kernels.product(&product, first, last, column0, column1)
                continue
            multiply(s, &s.weight[p], s.x + (0 if s.x_at else low * s.D), s.D,
                     <const floating*>NULL if s.cell.normed else s.params.b + s.segment[p].gate * H, False,
                     s.pre + s.segment[p].block * H, s.cell.blocks * H, first, last, column0, column1, share.places)
    if s.cell.normed:
        normalise_projection(s[0], False, low, first, last)
    if s.params.b_rec != NULL and (s.blas or s.cell.normed):
        fill_inner(s, share.first, share.last)


cdef bint makes_input(Scan[floating]* s) noexcept nogil:
    """Whether the steps project their own input: one step alone does, which saves a pass over pre and a barrier."""
    return s.interleaved and s.steps == 1 and not s.weight[0].unpacked


cdef void multiply_as_it_lies(
    Scan[floating]* s, const Weight[floating]* w, const floating* left, long row0, long row1, long unit0, long unit1,
) noexcept nogil:
    """A step's product with a matrix that is not packed."""
    cdef Product[floating] product
    set_step_product(&product, s[0], w[0], left)
    s.kernels.product(&product, row0, row1, unit0, unit1)


cdef void forward_with_input(
    Scan[floating]* s, const Op* op, Forward[floating]* step, long row0, long row1, long unit0, long unit1,
) noexcept nogil:
    """An elementwise step that projects its input."""
    cdef Product[floating] input
    set_projection(&input, s[0], op.input, 0)
    step.input = &input
    s.kernels.forward(op.what, step, row0, row1, unit0, unit1)
    step.input = NULL


cdef void forward_step(
    Scan[floating]* s, const Op* op, const At[floating]* at, Forward[floating]* step, long row0, long row1, int thread,
    int threads,
) noexcept nogil:
    """One elementwise step and the product in front of it, for rows row0..row1."""
    cdef long unit0 = 0, unit1 = s.H
    cdef const Weight[floating]* w = NULL
    step.K, step.narrow, step.sums = 0, False, <const floating*>NULL
    if op.weight >= 0:
        w = &s.weight[op.weight]
    if not s.by_rows:
        unit0, unit1 = first_unit(s, w, s.H, thread, threads), first_unit(s, w, s.H, thread + 1, threads)
    if w != NULL and s.blas:
        multiply(s, w, <const floating*>at[op.left].at, at[op.left].ld, <const floating*>NULL, True,
                 at[op.out].at + op.out_block * s.H, at[op.out].ld, row0, row1, 0, w.units)
    elif w != NULL and w.unpacked:
        step.sums, step.sums_ld = s.product, s.cell.gates * s.H
        multiply_as_it_lies(s, w, <const floating*>at[op.left].at, row0, row1, unit0, unit1)
    elif w != NULL:
        step.K, step.a, step.panels, step.narrow = w.K, at[op.left].at, w.packed, w.narrow
    if op.input >= 0 and makes_input(s):
        forward_with_input(s, op, step, row0, row1, unit0, unit1)
    else:
        s.kernels.forward(op.what, step, row0, row1, unit0, unit1)


cdef void put_out(
    Scan[floating]* s, const At[floating]* at, long now, long row0, long row1, int thread, int threads,
) noexcept nogil:
    """Bring h of rows row0..row1 of a step, which has just been made, to where the caller wants it."""
    if not s.by_rows:
        row0, row1 = row1 * thread // threads, row1 * (thread + 1) // threads
    scatter_few(<const char*>at[H_NEW].at, s.out_at + now, <char*>s.out, s.S * sizeof(floating), row0, row1)


cdef void forward_loop(Scan[floating]* s, Barrier* barrier, int thread, int threads) noexcept nogil:
    """The scan. Every thread of a team runs it, on its share of rows or of units."""
    cdef long t, t0, t1 = 0, low, row0, row1, place, k
    cdef long my_row0 = 0, my_row1 = s.N
    cdef bint fetches = fetches_ahead(s)
    cdef Share share
    cdef At[floating] at[PLACES]
    cdef Forward[floating] step
    memset(&share, 0, sizeof(share))
    begin(s[0], at, &step)
    if not s.packed or not makes_input(s):
        prepare(s, thread, threads)
        barrier.wait(threads)
    if s.apart:  # no thread waits for another: rows are shared for the whole scan
        my_row0, my_row1 = row_split(s, 0, s.steps, thread, threads), row_split(s, 0, s.steps, thread + 1, threads)
    while t1 < s.steps and (not s.apart or s.rows[t1] > my_row0):
        t0, t1 = t1, chunk_end(s, t1, my_row0, my_row1) if s.apart else chunk_end(s, t1, 0, s.N)
        low = first_row(s, t0, t1)
        if s.by_rows and not s.apart:
            my_row0, my_row1 = row_split(s, t0, t1, thread, threads), row_split(s, t0, t1, thread + 1, threads)
        if not makes_input(s):
            share = share_of(s, s.x_at, t0, t1, my_row0, my_row1, thread, threads)
            project(s, &share, low, last_row(s, t0, t1) - low, thread, threads)
        if not makes_input(s) and not s.apart and not projects_own_units(s):
            barrier.wait(threads)
        place = share.first
        for t in range(t0, t1):
            row0, row1 = min(my_row0, s.rows[t]), min(my_row1, s.rows[t])
            find(s[0], t, place - row0 if share.numbers != NULL else s.start[t] - low, at, &step)
            place += row1 - row0
            if fetches:
                memset(&step.next, 0, sizeof(step.next))
                if t + 1 < s.steps:
                    step.next = ahead_of(s[0], t + 1, min(my_row0, s.rows[t + 1]), min(my_row1, s.rows[t + 1]))
            for k in range(s.ops):
                if s.op[k].action == STEP:
                    forward_step(s, &s.op[k], at, &step, row0, row1, thread, threads)
                else:
                    run_beside(s, &s.op[k], at, s.start[t], row0, row1, thread, threads)
                if not s.by_rows and (k + 1 < s.ops or t + 1 < s.steps or s.out != NULL):
                    barrier.wait(threads)
            if s.out != NULL:
                put_out(s, at, s.start[t], row0, row1, thread, threads)
        if t1 < s.steps and s.by_rows and not s.apart:
            barrier.wait(threads)


# ---------------------------------------------------------------------------------------------------------------------
# Backward

include "gradients.pxi"


cdef void backward_step(
    Scan[floating]* s, const Op* op, const At[floating]* at, Backward[floating]* step, bint with_product, long row0,
    long row1, int thread, int threads,
) noexcept nogil:
    """One elementwise step and the product in front of it, for rows row0..row1."""
    cdef long units = s.S if op.what == ACCUMULATE else s.H
    cdef long unit0 = 0, unit1 = units, ld
    cdef const Weight[floating]* w = NULL
    cdef const floating* left
    if row0 >= row1:
        return
    step.H, step.K, step.narrow, step.extra = units, 0, False, <const floating*>NULL
    step.read_carry = s.cell.carries or s.new_h != NULL or not with_product
    if op.weight >= 0 and with_product:
        w = &s.weight[op.weight]
        left, ld = <const floating*>at[op.left].at + op.left_block * s.H, at[op.left].ld
        if s.blas:
            multiply(s, w, left, ld, <const floating*>NULL, False, s.product, units, row0, row1, 0, units)
            step.extra = s.product
        else:
            step.K, step.a, step.a_ld, step.panels, step.narrow = w.K, left, ld, w.packed, w.narrow
    if not s.by_rows:
        unit0, unit1 = first_unit(s, w, units, thread, threads), first_unit(s, w, units, thread + 1, threads)
    s.kernels.backward(op.what, step, row0, row1, unit0, unit1)


cdef void keep_left_sides(
    Scan[floating]* s, const At[floating]* at, bint keep_h, long t, long low, long row0, long row1,
) noexcept nogil:
    """Copy what stands to the left in the weight gradients' products, and is not in order elsewhere."""
    cdef long at_row = s.start[t] - low + row0, n = row1 - row0
    if keep_h:
        memcpy(s.left + at_row * s.S, at[H_PREV].at + row0 * s.S, n * s.S * sizeof(floating))
    if s.c_prev != NULL:
        memcpy(s.c_prev + at_row * s.H, at[C_PREV].at + row0 * s.H, n * s.H * sizeof(floating))


cdef void backward_loop(Scan[floating]* s, Barrier* barrier, int thread, int threads) noexcept nogil:
    """The adjoint of the scan. Every thread of a team runs it, on its share of rows or of units."""
    cdef long ld = s.cell.blocks * s.H, t, t0, t1 = s.steps, low, n, row0, row1, going_on, k
    cdef long my_row0 = 0, my_row1 = s.N, copy0, copy1, place, row_bytes = s.S * sizeof(floating)
    cdef bint add = s.add, fetches = fetches_ahead(s)
    cdef floating* lefts
    cdef At[floating] at[PLACES]
    cdef Backward[floating] step
    cdef Share share
    cdef Op initial
    begin_back(s[0], at, &step)
    if thread == 0 and not add:
        clear_sums(s)
    if not s.blas:
        pack(s, thread, threads)
        barrier.wait(threads)
    while t1 > 0:
        t0 = max(0, t1 - s.chunk)
        low = first_row(s, t0, t1)
        n = last_row(s, t0, t1) - low
        copy0, copy1 = row_split(s, t0, t1, thread, threads), row_split(s, t0, t1, thread + 1, threads)
        if s.by_rows:
            my_row0, my_row1 = copy0, copy1
        elif s.dy_apart:
            gather_few(<const char*>s.dy, s.dy_at + low, <char*>s.dy_rows, row_bytes, n * thread // threads,
                       n * (thread + 1) // threads)
            barrier.wait(threads)
        share = share_of(s, s.dx_at, t0, t1, my_row0, my_row1, thread, threads)
        lefts = lefts_in_y(s[0], t0, t1)
        place = share.last
        for t in range(t1 - 1, t0 - 1, -1):
            row0, row1 = min(my_row0, s.rows[t]), min(my_row1, s.rows[t])
            place -= row1 - row0
            find_back(s[0], t, low, place - row0 if share.numbers != NULL else s.start[t] - low,
                      dy_of(s[0], s.start[t], low), at, &step)
            if s.dy_apart and s.by_rows:
                gather_few(<const char*>s.dy, s.dy_at + s.start[t], <char*>s.dy_rows, row_bytes, row0, row1)
            step.fetched = fetches and t + 1 < s.steps
            if fetches:
                memset(&step.next, 0, sizeof(step.next))
                if t > 0:
                    step.next = ahead_back(
                        s[0], t - 1, <const floating*>NULL if s.dy_apart else dy_of(s[0], s.start[t - 1], low),
                        min(my_row0, s.rows[t - 1]), min(my_row1, s.rows[t - 1]))
            # rows that end here have no step after, and so no product with its gradient
            going_on = min(max(s.rows[t + 1] if t + 1 < s.steps else 0, row0), row1)
            for k in range(s.ops):
                if s.op[k].action != STEP:
                    run_beside(s, &s.op[k], at, s.start[t], row0, row1, thread, threads)
                elif s.op[k].left == DA_NEXT:
                    if s.op[k].what == ACCUMULATE:
                        step.total = at[TOTAL].at
                    backward_step(s, &s.op[k], at, &step, True, row0, going_on, thread, threads)
                    backward_step(s, &s.op[k], at, &step, False, going_on, row1, thread, threads)
                    if s.op[k].what == ACCUMULATE and s.cell.projected:
                        step.total = at[DINNER].at
                else:
                    backward_step(s, &s.op[k], at, &step, True, row0, row1, thread, threads)
                if not s.by_rows:
                    barrier.wait(threads)
            at[DA_NEXT].at = at[DU if s.cell.normed else DA].at
            keep_left_sides(s, at, lefts == NULL and s.mask == NULL, t, low, min(copy0, s.rows[t]),
                            min(copy1, s.rows[t]))
        barrier.wait(threads)
        # the chunk's first step is the one that follows the next chunk's last
        row0, row1 = min(copy0, s.rows[t0]), min(copy1, s.rows[t0])
        memcpy(s.edge + row0 * ld, at[DA_NEXT].at + row0 * ld, (row1 - row0) * ld * sizeof(floating))
        parameter_gradients(s, &share, barrier, low, n, s.left if lefts == NULL else lefts, add, fetches, thread,
                            threads)
        add = True
        at[DA_NEXT].at = s.edge
        barrier.wait(threads)
        t1 = t0
    if s.steps > 0:
        # the gradient of the initial state
        for k in range(s.ops):
            if s.op[k].left == DA_NEXT:
                initial = s.op[k]
        initial.what = ACCUMULATE
        step.dy, step.total = <const floating*>NULL, s.dh
        backward_step(s, &initial, at, &step, True, min(my_row0, s.rows[0]), min(my_row1, s.rows[0]), thread, threads)


# ---------------------------------------------------------------------------------------------------------------------
# The backend

cdef void run_thread(Scan[floating]* s, bint backward, Barrier* barrier, int thread, int threads) noexcept nogil:
    """A thread's part in a call."""
    if backward:
        backward_loop(s, barrier, thread, threads)
    else:
        forward_loop(s, barrier, thread, threads)


cdef void run_with_own_weights(
    Scan[floating] own, bint backward, Barrier* barrier, int thread, int threads,
) noexcept nogil:
    """The same, with the thread's copy of the weights."""
    cdef long k
    for k in range(own.n_weights):
        own.weight[k].packed += thread * packed_size(&own, &own.weight[k])
    run_thread(&own, backward, barrier, thread, threads)


cdef void run_team(Scan[floating]* s, bint backward) noexcept nogil:
    cdef Barrier barrier
    cdef Seats seats
    seats.take(0)
    with parallel(num_threads=s.threads):
        seats.take(threadid())
        if s.own_weights:
            run_with_own_weights(s[0], backward, &barrier, threadid(), team_size())
        else:
            run_thread(s, backward, &barrier, threadid(), team_size())


cdef void run(Scan[floating]* s, bint backward) noexcept nogil:
    cdef Barrier barrier
    if s.threads == 1:
        run_thread(s, backward, &barrier, 0, 1)
    else:
        run_team(s, backward)


cdef int execute(Scan[floating]* s, bint backward) except -1:
    """Plan, allocate the scratch, run the loop with the GIL released."""
    cdef Block scratch
    plan(s, backward)
    if not backward and not s.blas and not s.packed:
        leave_unpacked(s)
    s.own_weights = has_own_weights(s)
    s.stream = not backward and streams_gates(s)
    scratch = Block(carve(s, NULL, backward))
    use_team(s.threads)
    with nogil:
        carve(s, scratch.start, backward)
        # lanes past H read the slack: what lies there may be denormal, which some CPUs compute 100 times slower
        memset(s.pre + s.chunk * s.N * s.cell.blocks * s.H, 0, s.kernels.lanes * sizeof(floating))
        run(s, backward)
    return 0


cdef int forward_of(
    floating* t, cell, params, x, h0, c0, noise, start, rows, trace, bint keep, out,
) except -1:
    cdef Scan[floating] s
    describe(&s, cell, params, x, h0, c0, noise, start, rows, trace, keep)
    s.out = <floating*>placed(out, &s.out_at)
    interleave(&s)
    compose(&s, False)
    return execute(&s, False)


def forward(cell, params, x, h0, c0, noise, start, rows, trace, keep, out=None):
    """Run the scan; see `fastrnn.reference.forward`."""
    if _blas:
        x = in_order(x)
    if x.dtype == np.float32:
        forward_of[float](<float*>NULL, cell, params, x, h0, c0, noise, start, rows, trace, keep, out)
    else:
        forward_of[double](<double*>NULL, cell, params, x, h0, c0, noise, start, rows, trace, keep, out)


cdef int backward_of(
    floating* t, cell, params, x, h0, c0, noise, start, rows, trace, dy, dcells, dh, dc, dx, grads,
    bint add,
) except -1:
    cdef Scan[floating] s
    describe(&s, cell, params, x, h0, c0, noise, start, rows, trace, True)
    s.dy, s.dcells = <floating*>placed(dy, &s.dy_at), <floating*>memory(dcells)
    s.dy_apart = s.dy_at != NULL and not dy.together
    s.dh, s.dc, s.dx = <floating*>memory(dh), <floating*>memory(dc), <floating*>placed(dx, &s.dx_at)
    set_params(&s.grads, grads)
    s.add = add
    compose(&s, True)
    return execute(&s, True)


def backward(
    cell, params, x, h0, c0, noise, start, rows, trace, dy, dcells, dh, dc, dx, grads, bint add=True,
):
    """Run the scan's adjoint; see `fastrnn.reference.backward`."""
    wanted = dx
    if not add and x.shape[0] == 0:  # no step will write to them
        for array in grads.values():
            array.fill(0)
    if _blas:
        x = in_order(x)
        dx = empty(dx.shape, dx.dtype) if type(dx) is Placed else dx
    if x.dtype == np.float32:
        backward_of[float](<float*>NULL, cell, params, x, h0, c0, noise, start, rows, trace, dy, dcells, dh, dc, dx,
                           grads, add)
    else:
        backward_of[double](<double*>NULL, cell, params, x, h0, c0, noise, start, rows, trace, dy, dcells, dh, dc, dx,
                            grads, add)
    if dx is not wanted:
        wanted[:] = dx


include "session.pxi"
include "flat.pxi"
include "gather.pxi"
include "batch.pxi"
include "dense.pxi"
