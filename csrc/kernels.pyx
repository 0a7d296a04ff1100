# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: embedsignature=True, binding=True
"""Backend "cython": the forward and the backward time loop.

Same functions, arguments and meaning as `fastrnn.reference`. Products run on packed SIMD kernels or through BLAS; both
share these loops and the elementwise steps of csrc/cells.hpp. A cell is a line of `cell_table` in csrc/scan.hpp.
"""

from cython cimport floating
from cython.parallel cimport parallel, threadid
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

cimport numpy as cnp

from time import perf_counter

import numpy as np

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
    _blas = blas


def set_threads(int n):
    """Use at most n threads."""
    global _threads
    _threads = n


def after_fork():
    """Tell the child of a fork that the OpenMP threads of its parent are gone."""
    global _has_forked_team
    _has_forked_team = _used_team


cdef void use_team(int threads):
    """Note that a call is about to start OpenMP's threads."""
    global _used_team
    _used_team = _used_team or threads > 1


def has_openmp():
    """True where this build can use more than one thread."""
    return built_with_openmp()


def fma_peak():
    """Float32 GFLOP/s of fused multiply-adds that touch no memory, on one core, in the instruction set in use."""
    cdef long n = 200_000, operations
    best = 0.0
    for _ in range(10):
        begin = perf_counter()
        with nogil:
            operations = _isa.fma_loop(n)
        best = max(best, operations / (perf_counter() - begin) / 1e9)
    return best


cdef int _n_cells
cdef const Cell* _cells = cell_table(&_n_cells)
cdef dict _cell_index = {_cells[k].name.decode(): k for k in range(_n_cells)}


def cells():
    """Name -> (gate blocks, saved blocks) of the compiled cell table."""
    return {name: (_cells[<int>k].gates, _cells[<int>k].saved) for name, k in _cell_index.items()}


include "math.pxi"


# ---------------------------------------------------------------------------------------------------------------------
# The plan of a call

cdef extern from *:
    """
    // Bytes of projected input (or of da) that a chunk of time may fill: half an L2, so that it is still there when
    // the chunk's steps run; but at least as many rows as make good use of a weight once it is read.
    static const long CHUNK_BYTES = 512 * 1024;
    static const long FORWARD_ROWS = 128;
    static const long GRADIENT_ROWS = 512;
    // Rows that make a thread's share worth while; below, units are split. Multiply-adds of a thread's share of a
    // step, and of the whole call, below which it is over before a second thread has noticed.
    static const long ROWS_PER_THREAD = 4;
    static const long STEP_PER_THREAD = 16 * 1024;
    static const long CALL_PER_THREAD = 256 * 1024;
    """
    const long CHUNK_BYTES, FORWARD_ROWS, GRADIENT_ROWS, ROWS_PER_THREAD, STEP_PER_THREAD, CALL_PER_THREAD


cdef void plan(Scan[floating]* s, bint backward) noexcept nogil:
    """Fill in what a call decides before it starts: threads and how they split, steps per chunk."""
    cdef long row_bytes = s.cell.blocks * s.H * sizeof(floating)
    cdef long rows = max(FORWARD_ROWS, CHUNK_BYTES // row_bytes)
    cdef long work = s.N * s.H * s.H * s.cell.gates
    if backward:
        rows = max(rows, GRADIENT_ROWS)
    s.chunk = min(max(1, rows // max(1, s.N)), max(1, s.steps))
    s.threads = 1
    if not s.blas and not _has_forked_team and built_with_openmp():
        s.threads = <int>max(1, min(_threads, min(work // STEP_PER_THREAD, work * s.steps // CALL_PER_THREAD)))
    s.by_rows = s.N >= ROWS_PER_THREAD * s.threads


cdef long row_split(Scan[floating]* s, int thread, int threads) noexcept nogil:
    """First row of a thread's share: shares hold the same number of steps, whatever the rows' lengths."""
    cdef long total = 0, t, row
    cdef long long want, have = 0
    if thread == 0:
        return 0
    if thread == threads:
        return s.N
    if s.steps == 0 or s.rows[s.steps - 1] == s.N:
        return s.N * thread // threads
    for t in range(s.steps):
        total += s.rows[t]
    want = <long long>total * thread // threads
    # rows are ordered by falling length: row `row` lives for as many steps as have rows[t] > row
    t = s.steps
    for row in range(s.N):
        if have >= want:
            return row
        while t > 0 and s.rows[t - 1] <= row:
            t -= 1
        have += t
    return s.N


cdef long split(long n, long unit, int thread, int threads) noexcept nogil:
    """First of a thread's share of n things that come in groups of ``unit``."""
    return min(n, (n + unit - 1) // unit * thread // threads * unit)


cdef long first_row(Scan[floating]* s, long t0, long t1) noexcept nogil:
    """First packed row of the chunk of steps t0..t1; the reverse direction walks memory backwards."""
    return min(s.start[t0], s.start[t1 - 1])


cdef long last_row(Scan[floating]* s, long t0, long t1) noexcept nogil:
    return max(s.start[t0] + s.rows[t0], s.start[t1 - 1] + s.rows[t1 - 1])


cdef size_t carve(Scan[floating]* s, char* base, bint backward) noexcept nogil:
    """Lay out the scratch of a call in one block; return its size. One vector of slack follows pre: see cells.hpp."""
    cdef Arena arena
    cdef long rows = s.chunk * s.N, width = s.cell.blocks * s.H
    cdef const Kernels[floating]* k = s.kernels
    cdef int p
    arena.base = base
    arena.used = 0
    if not s.blas and not s.packed:
        for p in range(s.cell.segments):
            if backward:
                arena.take(s.packed_W[p], k.packed_size(s.cell.segment[p].gates * s.H, s.D, 1))
            else:
                arena.take(s.packed_W[p], k.packed_size(s.D, s.cell.segment[p].gates * s.H, 1))
        for p in range(s.cell.phases):
            if backward:
                arena.take(s.packed_U[p], k.packed_size(s.cell.phase[p].gates * s.H, s.H, 1))
            else:
                arena.take(s.packed_U[p], k.packed_size(s.H, s.H, s.cell.phase[p].gates))
    arena.take(s.pre, rows * width + k.lanes)
    if backward:
        arena.take(s.edge, s.N * width)
        arena.take(s.h_prev, rows * s.H)
        arena.take(s.outer, s.threads * k.outer_scratch(s.D, s.H))
    if s.cell.phases == 2:
        arena.take(s.rh, rows * s.H)
        arena.take(s.drh, s.N * s.H)
    if not s.keep and s.cell.gates_in_inference:
        arena.take(s.gates, s.N * s.cell.saved * s.H)
    return arena.used


# ---------------------------------------------------------------------------------------------------------------------
# Forward

cdef void pack_forward(Scan[floating]* s, int thread, int threads) noexcept nogil:
    cdef const Kernels[floating]* k = s.kernels
    cdef long ld = s.cell.gates * s.H, n, unit
    cdef int p
    cdef Segment segment
    cdef Phase phase
    for p in range(s.cell.segments):
        segment = s.cell.segment[p]
        n, unit = segment.gates * s.H, k.panel_units(1)
        k.pack(s.packed_W[p], s.W + segment.gate * s.H, s.D, n, 1, ld, 1, 0,
               split(n, unit, thread, threads), split(n, unit, thread + 1, threads))
    for p in range(s.cell.phases):
        phase = s.cell.phase[p]
        unit = k.panel_units(phase.gates)
        k.pack(s.packed_U[p], s.U + phase.gate * s.H, s.H, s.H, phase.gates, ld, 1, s.H,
               split(s.H, unit, thread, threads), split(s.H, unit, thread + 1, threads))


cdef void fill_rows(floating* out, long ld, const floating* row, long n, long first, long last) noexcept nogil:
    cdef long r
    for r in range(first, last):
        memcpy(out + r * ld, row, n * sizeof(floating))


cdef void project(Scan[floating]* s, long t0, long t1, int thread, int threads) noexcept nogil:
    """pre = x W + b for the packed rows of steps t0..t1; a thread's share of the rows."""
    cdef long low = first_row(s, t0, t1), n = last_row(s, t0, t1) - low
    cdef long first = n * thread // threads, last = n * (thread + 1) // threads
    cdef long H = s.H, ld = s.cell.blocks * H, columns
    cdef Product[floating] product
    cdef Segment segment
    cdef int p
    for p in range(s.cell.segments):
        segment = s.cell.segment[p]
        columns = segment.gates * H
        if s.blas:
            fill_rows(s.pre + segment.block * H, ld, s.b + segment.gate * H, columns, 0, n)
            gemm(False, False, n, columns, s.D, s.x + low * s.D, s.D, s.W + segment.gate * H, s.cell.gates * H,
                 True, s.pre + segment.block * H, ld)
        else:
            product.K, product.columns = s.D, columns
            product.a, product.row_stride, product.k_stride = s.x + low * s.D, s.D, 1
            product.panels, product.bias = s.packed_W[p], s.b + segment.gate * H
            product.out, product.ld, product.add = s.pre + segment.block * H, ld, False
            s.kernels.product(&product, first, last, 0, columns)
    # BLAS adds to the block, so that every chunk starts afresh; the packed step only reads it
    if s.cell.b_rec >= 0 and (s.blas or t0 == 0):
        if t0 == 0:
            n = s.chunk * s.N
        fill_rows(s.pre + s.cell.b_rec * H, ld, s.b_rec, H, n * thread // threads, n * (thread + 1) // threads)


cdef void forward_loop(Scan[floating]* s, Barrier* barrier, int thread, int threads) noexcept nogil:
    """The scan. Every thread of a team runs it, on its share of rows or of units."""
    cdef const Cell* cell = s.cell
    cdef long H = s.H, ld = cell.blocks * H, saved = cell.saved * H
    cdef long t, t0, t1 = 0, low, n, row0 = 0, row1 = s.N, unit0 = 0, unit1 = H, unit
    cdef long my_row0 = row_split(s, thread, threads), my_row1 = row_split(s, thread + 1, threads)
    cdef Forward[floating] step
    cdef const floating* left
    cdef floating* pre
    cdef Phase phase
    cdef int p
    if not s.blas and not s.packed:
        pack_forward(s, thread, threads)
        barrier.wait(threads)
    while t1 < s.steps:
        t0, t1 = t1, min(t1 + s.chunk, s.steps)
        low = first_row(s, t0, t1)
        project(s, t0, t1, thread, threads)
        barrier.wait(threads)
        for t in range(t0, t1):
            n = s.rows[t]
            pre = s.pre + (s.start[t] - low) * ld
            step.H, step.pre, step.pre_ld, step.gates_ld = H, pre, ld, saved
            step.gates = at(s.gates, s.start[t] * saved if s.keep else 0)
            step.h_prev = <const floating*>s.y + s.start[t - 1] * H if t else s.h0
            step.h = s.y + s.start[t] * H
            step.c = at(s.c, s.start[t] * H if s.keep else 0)
            step.c_prev = <const floating*>at(s.c, s.start[t - 1] * H if s.keep else 0) if t else s.c0
            step.rh = s.rh
            for p in range(cell.phases):
                phase = cell.phase[p]
                left = <const floating*>s.rh if phase.reset else step.h_prev
                if s.blas:
                    gemm(False, False, n, phase.gates * H, H, left, H, s.U + phase.gate * H, cell.gates * H,
                         True, pre + phase.gate * H, ld)
                    step.K = 0
                else:
                    step.K, step.a, step.panels = H, left, s.packed_U[p]
                if s.by_rows:
                    row0, row1 = min(my_row0, n), min(my_row1, n)
                else:
                    unit = s.kernels.panel_units(phase.gates)
                    row1, unit0, unit1 = n, split(H, unit, thread, threads), split(H, unit, thread + 1, threads)
                s.kernels.forward(phase.epilogue, &step, row0, row1, unit0, unit1)
                if not s.by_rows:
                    barrier.wait(threads)
        barrier.wait(threads)


# ---------------------------------------------------------------------------------------------------------------------
# Backward

cdef void pack_backward(Scan[floating]* s, int thread, int threads) noexcept nogil:
    cdef const Kernels[floating]* k = s.kernels
    cdef long ld = s.cell.gates * s.H, unit = k.panel_units(1)
    cdef int p
    cdef Segment segment
    cdef Phase phase
    if s.dx != NULL:
        for p in range(s.cell.segments):
            segment = s.cell.segment[p]
            k.pack(s.packed_W[p], s.W + segment.gate * s.H, segment.gates * s.H, s.D, 1, 1, ld, 0,
                   split(s.D, unit, thread, threads), split(s.D, unit, thread + 1, threads))
    for p in range(s.cell.phases):
        phase = s.cell.phase[p]
        k.pack(s.packed_U[p], s.U + phase.gate * s.H, phase.gates * s.H, s.H, 1, 1, ld, 0,
               split(s.H, unit, thread, threads), split(s.H, unit, thread + 1, threads))


cdef void input_gradient(Scan[floating]* s, long low, long n, int thread, int threads) noexcept nogil:
    """dx of n packed rows from row low on; a thread's share of the rows."""
    cdef long H = s.H, ld = s.cell.blocks * H
    cdef Product[floating] product
    cdef Segment segment
    cdef int p
    for p in range(s.cell.segments):
        segment = s.cell.segment[p]
        if s.blas:
            gemm(False, True, n, s.D, segment.gates * H, s.pre + segment.block * H, ld, s.W + segment.gate * H,
                 s.cell.gates * H, p > 0, s.dx + low * s.D, s.D)
        else:
            product.K, product.columns = segment.gates * H, s.D
            product.a, product.row_stride, product.k_stride = s.pre + segment.block * H, ld, 1
            product.panels, product.bias = s.packed_W[p], <const floating*>NULL
            product.out, product.ld, product.add = s.dx + low * s.D, s.D, p > 0
            s.kernels.product(&product, n * thread // threads, n * (thread + 1) // threads, 0, s.D)


cdef void weight_gradients(Scan[floating]* s, long low, long n, int thread, int threads) noexcept nogil:
    """dW, dU, db and db_rec of n packed rows from row low on; a thread's share of the columns."""
    cdef const Kernels[floating]* k = s.kernels
    cdef long H = s.H, ld = s.cell.gates * H, unit = k.panel_units(1), columns
    cdef Outer[floating] outer
    cdef Gradient gradient
    cdef int p, side
    for p in range(s.cell.gradients):
        gradient = s.cell.gradient[p]
        columns = gradient.blocks * H
        outer.R, outer.columns, outer.b, outer.ldb = n, columns, s.pre + gradient.block * H, s.cell.blocks * H
        outer.M[0] = s.D if gradient.W >= 0 else 0
        outer.M[1] = H if gradient.U >= 0 else 0
        outer.a[0], outer.a[1] = s.x + low * s.D, s.rh if gradient.reset else s.h_prev
        outer.out[0], outer.out[1], outer.ld = s.dW + gradient.W * H, s.dU + gradient.U * H, ld
        outer.sums = s.db + gradient.W * H if gradient.W >= 0 else s.db_rec
        if s.blas:
            for side in range(2):
                gemm(True, False, outer.M[side], columns, n, outer.a[side], outer.M[side], outer.b, outer.ldb,
                     True, outer.out[side], ld)
                outer.M[side] = 0
        k.outer(&outer, split(columns, unit, thread, threads), split(columns, unit, thread + 1, threads),
                s.outer + thread * k.outer_scratch(s.D, H))


cdef void backward_product(
    Scan[floating]* s, Backward[floating]* step, int p, int epilogue, const floating* da, long row0, long row1,
    int thread, int threads,
) noexcept nogil:
    """One product with the transposed U of phase p and the elementwise step behind it; da is null for no product."""
    cdef long H = s.H, ld = s.cell.blocks * H, unit = s.kernels.panel_units(1), unit0 = 0, unit1 = H
    cdef Phase phase = s.cell.phase[p]
    cdef bint same_step = phase.reset
    step.K = 0
    if same_step:
        step.dy = NULL
    else:
        step.read_carry = s.cell.carry or da == NULL or s.blas
    if da != NULL and s.blas:
        da += row0 * ld
        gemm(False, True, row1 - row0, H, phase.gates * H, da + phase.gate * H, ld, s.U + phase.gate * H,
             s.cell.gates * H, not same_step and s.cell.carry, (s.drh if same_step else s.dh) + row0 * H, H)
        if same_step:
            step.dy = s.drh
    elif da != NULL:
        step.K, step.a, step.a_ld, step.panels = phase.gates * H, da + phase.gate * H, ld, s.packed_U[p]
    if not s.by_rows:
        unit0, unit1 = split(H, unit, thread, threads), split(H, unit, thread + 1, threads)
    s.kernels.backward(epilogue, step, row0, row1, unit0, unit1)


cdef void backward_loop(Scan[floating]* s, Barrier* barrier, int thread, int threads) noexcept nogil:
    """The adjoint of the scan. Every thread of a team runs it, on its share of rows or of units."""
    cdef const Cell* cell = s.cell
    cdef long H = s.H, ld = cell.blocks * H, saved = cell.saved * H
    cdef long t, t0, t1 = s.steps, low, rows, row0, row1, going_on
    cdef long my_row0 = 0, my_row1 = s.N
    cdef long copy0 = row_split(s, thread, threads), copy1 = row_split(s, thread + 1, threads)
    cdef Backward[floating] step
    cdef const floating* da_next = NULL
    if s.by_rows:
        my_row0, my_row1 = copy0, copy1
    if not s.blas:
        pack_backward(s, thread, threads)
        barrier.wait(threads)
    step.H, step.gates_ld, step.da_ld, step.dh, step.dc = H, saved, ld, s.dh, s.dc
    while t1 > 0:
        t0 = max(0, t1 - s.chunk)
        low = first_row(s, t0, t1)
        for t in range(t1 - 1, t0 - 1, -1):
            row0, row1 = min(my_row0, s.rows[t]), min(my_row1, s.rows[t])
            # rows that end here have no step after, and so no product
            going_on = min(max(s.rows[t + 1] if t + 1 < s.steps else 0, row0), row1)
            step.dy = at(s.dy, s.start[t] * H)
            step.gates = at(s.gates, s.start[t] * saved)
            step.y = s.y + s.start[t] * H
            step.h_prev = <const floating*>s.y + s.start[t - 1] * H if t else s.h0
            step.c = at(s.c, s.start[t] * H)
            step.c_prev = <const floating*>at(s.c, s.start[t - 1] * H) if t else s.c0
            step.da = s.pre + (s.start[t] - low) * ld
            step.rh = at(s.rh, (s.start[t] - low) * H)
            if going_on > row0:
                backward_product(s, &step, 0, cell.phase[cell.phases - 1].epilogue, da_next, row0, going_on,
                                 thread, threads)
            if row1 > going_on:
                backward_product(s, &step, 0, cell.phase[cell.phases - 1].epilogue, NULL, going_on, row1,
                                 thread, threads)
            if cell.phases == 2:
                if not s.by_rows:
                    barrier.wait(threads)
                if row1 > row0:
                    backward_product(s, &step, 1, cell.phase[0].epilogue, step.da, row0, row1, thread, threads)
            if not s.by_rows:
                barrier.wait(threads)
            da_next = step.da
            row0, row1 = min(copy0, s.rows[t]), min(copy1, s.rows[t])
            memcpy(s.h_prev + (s.start[t] - low + row0) * H, step.h_prev + row0 * H,
                   (row1 - row0) * H * sizeof(floating))
        barrier.wait(threads)
        rows = last_row(s, t0, t1) - low
        if s.dx != NULL:
            input_gradient(s, low, rows, thread, threads)
        weight_gradients(s, low, rows, thread, threads)
        # the chunk's first step is the one that follows the next chunk's last
        row0, row1 = min(copy0, s.rows[t0]), min(copy1, s.rows[t0])
        memcpy(s.edge + row0 * ld, s.pre + (s.start[t0] - low + row0) * ld, (row1 - row0) * ld * sizeof(floating))
        da_next = s.edge
        barrier.wait(threads)
        t1 = t0
    if s.steps > 0:
        row0, row1 = min(my_row0, s.rows[0]), min(my_row1, s.rows[0])
        if row1 > row0:
            step.dy = NULL
            backward_product(s, &step, 0, ACCUMULATE, da_next, row0, row1, thread, threads)


# ---------------------------------------------------------------------------------------------------------------------
# The backend

cdef void run(Scan[floating]* s, bint backward) noexcept nogil:
    cdef Barrier barrier
    if s.threads == 1:
        if backward:
            backward_loop(s, &barrier, 0, 1)
        else:
            forward_loop(s, &barrier, 0, 1)
        return
    with parallel(num_threads=s.threads):
        if backward:
            backward_loop(s, &barrier, threadid(), team_size())
        else:
            forward_loop(s, &barrier, threadid(), team_size())


cdef int execute(Scan[floating]* s, bint backward) except -1:
    """Plan, allocate the scratch, run the loop with the GIL released."""
    cdef Block scratch
    plan(s, backward)
    scratch = Block(carve(s, NULL, backward))
    use_team(s.threads)
    with nogil:
        carve(s, scratch.start, backward)
        # lanes past H read the slack: what lies there may be denormal, which some CPUs compute 100 times slower
        memset(s.pre + s.chunk * s.N * s.cell.blocks * s.H, 0, s.kernels.lanes * sizeof(floating))
        run(s, backward)
    return 0


cdef inline floating* data(cnp.ndarray array, floating* of_type) noexcept:
    """The array's memory, or null for None."""
    return <floating*>NULL if array is None else <floating*>cnp.PyArray_DATA(array)


cdef int describe(
    Scan[floating]* s, str cell, cnp.ndarray x, cnp.ndarray W, cnp.ndarray U, cnp.ndarray b_rec, cnp.ndarray h0,
    cnp.ndarray c0, cnp.ndarray start, cnp.ndarray rows, cnp.ndarray y, cnp.ndarray gates, cnp.ndarray c,
) except -1:
    """The arguments that both directions share."""
    cdef floating* t = NULL
    if floating is float:
        s.kernels = &_isa.f32
    else:
        s.kernels = &_isa.f64
    s.blas = _blas
    s.cell = &_cells[<int>_cell_index[cell]]
    s.steps, s.N, s.D, s.H = rows.shape[0], h0.shape[0], x.shape[1], U.shape[0]
    s.start, s.rows = <int64_t*>cnp.PyArray_DATA(start), <int64_t*>cnp.PyArray_DATA(rows)
    s.x, s.W, s.U, s.b_rec, s.h0, s.c0 = data(x, t), data(W, t), data(U, t), data(b_rec, t), data(h0, t), data(c0, t)
    s.y, s.gates, s.c = data(y, t), data(gates, t), data(c, t)
    return 0


cdef int forward_of(
    floating* t, str cell, cnp.ndarray x, cnp.ndarray W, cnp.ndarray U, cnp.ndarray b, cnp.ndarray b_rec,
    cnp.ndarray h0, cnp.ndarray c0, cnp.ndarray start, cnp.ndarray rows, cnp.ndarray y, cnp.ndarray gates,
    cnp.ndarray c, bint keep,
) except -1:
    cdef Scan[floating] s
    describe(&s, cell, x, W, U, b_rec, h0, c0, start, rows, y, gates, c)
    s.b, s.keep = data(b, t), keep
    return execute(&s, False)


def forward(cell, x, W, U, b, b_rec, h0, c0, start, rows, y, gates, c, keep):
    """Run the scan; see `fastrnn.reference.forward`."""
    if x.dtype == np.float32:
        forward_of[float](<float*>NULL, cell.name, x, W, U, b, b_rec, h0, c0, start, rows, y, gates, c, keep)
    else:
        forward_of[double](<double*>NULL, cell.name, x, W, U, b, b_rec, h0, c0, start, rows, y, gates, c, keep)


cdef int backward_of(
    floating* t, str cell, cnp.ndarray x, cnp.ndarray W, cnp.ndarray U, cnp.ndarray b_rec, cnp.ndarray h0,
    cnp.ndarray c0, cnp.ndarray start, cnp.ndarray rows, cnp.ndarray y, cnp.ndarray gates, cnp.ndarray c,
    cnp.ndarray dy, cnp.ndarray dh, cnp.ndarray dc, cnp.ndarray dx, cnp.ndarray dW, cnp.ndarray dU, cnp.ndarray db,
    cnp.ndarray db_rec,
) except -1:
    cdef Scan[floating] s
    describe(&s, cell, x, W, U, b_rec, h0, c0, start, rows, y, gates, c)
    s.keep = True
    s.rh = NULL
    s.dy, s.dh, s.dc, s.dx = data(dy, t), data(dh, t), data(dc, t), data(dx, t)
    s.dW, s.dU, s.db, s.db_rec = data(dW, t), data(dU, t), data(db, t), data(db_rec, t)
    return execute(&s, True)


def backward(cell, x, W, U, b_rec, h0, c0, start, rows, y, gates, c, dy, dh, dc, dx, dW, dU, db, db_rec):
    """Run the scan's adjoint; see `fastrnn.reference.backward`."""
    if x.dtype == np.float32:
        backward_of[float](<float*>NULL, cell.name, x, W, U, b_rec, h0, c0, start, rows, y, gates, c, dy, dh, dc, dx,
                           dW, dU, db, db_rec)
    else:
        backward_of[double](<double*>NULL, cell.name, x, W, U, b_rec, h0, c0, start, rows, y, gates, c, dy, dh, dc, dx,
                            dW, dU, db, db_rec)


include "session.pxi"
include "flat.pxi"
