# The plan of a call: threads and their shares, steps per chunk, scratch.

cdef extern from *:
    """
    // Bytes of projected input (or of da) that a chunk of time may fill: half an L2, so that it is still there when
    // the chunk's steps run; but at least as many rows as make good use of a weight once it is read. Where W is small
    // and soon read again, fewer bytes, of each thread, leave the steps' weights more of L2: a call with one row of 16
    // inputs takes 2 to 10 % less time (every cell; H128, H256; one thread).
    static const long CHUNK_BYTES = 512 * 1024;
    static const long LEAST_CHUNK_BYTES = 128 * 1024;
    static const long FORWARD_ROWS = 64;
    static const long GRADIENT_ROWS = 512;
    // Rows that make a thread's share worth while; below, units are split. Multiply-adds of a step for each thread
    // beside the first: they take more than to meet after it (SimpleRNN H128, N1: 31 % less time on two threads; H80,
    // with the 6 K that they are spared, none). And of a thread's share of the whole call, below which it is over
    // before a second thread has noticed.
    static const long ROWS_PER_THREAD = 4;
    static const long STEP_PER_THREAD = 16 * 1024;
    static const long CALL_PER_THREAD = 256 * 1024;
    // What a step costs a thread besides the work on its rows, in rows: its weights come from L2.
    static const long ROWS_PER_STEP = 3;
    // Bytes of gates that caches no longer hold when the backward pass comes to them. Where they are written past the
    // caches, a training step takes 1 to 7 % less time (GRU, LSTM; N64 T50 H512); with 3 MB, 3 % more. Where weights
    // leave L2 room, steps that fetch the tape's lines before they write them are faster still: see fetches_ahead().
    static const long STREAM_BYTES = 8 * 1024 * 1024;
    // Steps that repay the packing of recurrent weights. A call of one row and 10 steps takes 5 to 35 % less time
    // without (H128 to H512, one thread). A small matrix is packed in no time: for any steps, for as few rows at once.
    static const long PACKED_STEPS = 20;
    static const long SMALL_MATRIX = 16 * 1024;
    // Bytes of packed weights that each thread makes for itself, where it has rows of its own: lines that one packed
    // and the other read are slow to write again. Training takes 1 % less time (LSTM, GRU; N16 H64; two threads), 6 %
    // where these run on two chips; with 384 KB, 2 % more (GRU, N16 H128).
    static const long OWN_WEIGHTS = 128 * 1024;
    """
    const long CHUNK_BYTES, LEAST_CHUNK_BYTES, FORWARD_ROWS, GRADIENT_ROWS, ROWS_PER_THREAD, STEP_PER_THREAD
    const long CALL_PER_THREAD, ROWS_PER_STEP, STREAM_BYTES, PACKED_STEPS, SMALL_MATRIX, OWN_WEIGHTS


cdef void plan(Scan[floating]* s, bint backward) noexcept nogil:
    """Fill in what a call decides before it starts: threads and how they split, steps per chunk."""
    cdef long row_bytes = s.cell.blocks * s.H * sizeof(floating), rows
    share_out(s, call_work(s))
    if backward:
        rows = max(GRADIENT_ROWS, CHUNK_BYTES // row_bytes)
    else:
        # as many bytes as half of W has
        rows = 0 if s.codes != NULL else s.D // 2
        rows = max(min(rows, FORWARD_ROWS),
                   min(max(rows * row_bytes, s.threads * LEAST_CHUNK_BYTES), CHUNK_BYTES) // row_bytes)
    s.chunk = min(max(1, rows // max(1, s.N)), max(1, s.steps))
    if not s.packed:
        choose_panels(s)


cdef void interleave(Scan[floating]* s) noexcept nogil:
    """Decide, before the program is composed, whether W's panels lie as U's do: where threads split units each then
    projects the input of its own."""
    share_out(s, call_work(s))
    s.interleaved = s.threads > 1 and not s.by_rows and s.codes == NULL and not s.cell.normed and not s.cell.full


cdef bint projects_own_units(Scan[floating]* s) noexcept nogil:
    return s.interleaved and not s.by_rows


cdef long call_work(Scan[floating]* s) noexcept nogil:
    """How many threads a whole call has work enough for."""
    return step_work(s) * s.steps // CALL_PER_THREAD


cdef void choose_panels(Scan[floating]* s) noexcept nogil:
    """Fill in which panels are narrow: those of products of many rows, which threads share by rows."""
    cdef Weight[floating]* w
    cdef long k, rows, K
    for k in range(s.n_weights):
        w = &s.weight[k]
        rows, K = s.N, w.K
        if k < s.segments and s.codes == NULL:
            if s.interleaved:
                K = s.S  # W's panels are cut as U's are
            else:
                rows *= s.chunk  # which is projected at once
        w.narrow = not w.back and rows >= s.threads * ROWS_PER_THREAD and s.kernels.narrow(K, rows)


cdef void leave_unpacked(Scan[floating]* s) noexcept nogil:
    """Fill in which matrices a call forward reads as they lie, since its rows do not repay packing: W and those of
    steps, if they lie by rows. Threads that split units read pieces of rows, and repay it with half the steps."""
    cdef long rows = all_rows(s), steps = s.steps if s.by_rows else 2 * s.steps, k
    cdef Weight[floating]* w
    for k in range(s.segments if s.codes == NULL else 0):
        w = &s.weight[k]
        w.unpacked = not w.transposed and rows < rows_to_pack(s.kernels.packed_rows, w.K * w.units * w.gates)
    for k in range(s.ops):
        if s.op[k].action == STEP and s.op[k].weight >= 0:
            w = &s.weight[s.op[k].weight]
            w.unpacked = (not w.transposed and rows < s.kernels.packed_rows and steps < PACKED_STEPS
                          and w.K * w.units * w.gates > SMALL_MATRIX)


cdef bint has_own_weights(Scan[floating]* s) noexcept nogil:
    """Whether each thread packs the weights for itself; see OWN_WEIGHTS."""
    cdef long size = 0, k
    for k in range(s.n_weights):
        size += 0 if s.weight[k].unpacked else packed_size(s, &s.weight[k])
    return s.apart and not s.blas and not s.packed and size * <long>sizeof(floating) <= OWN_WEIGHTS


cdef long rows_to_pack(long rows, long size) noexcept nogil:
    """Rows at once from which on a matrix of this size is packed; ``rows``: a large one."""
    return min(rows, PACKED_STEPS) if size <= SMALL_MATRIX else rows


cdef bint streams_gates(Scan[floating]* s) noexcept nogil:
    """Whether gates are written past the caches: many, which no step of this call reads, and where registers end."""
    if not s.keep or s.cell.gates_in_inference or s.H % s.kernels.lanes or <size_t>s.gates % 64:
        return False
    return not fetches_ahead(s) and all_rows(s) * s.cell.saved * s.H * <long>sizeof(floating) > STREAM_BYTES


cdef bint fetches_ahead(Scan[floating]* s) noexcept nogil:
    """Whether a step fetches what the next one will write or read, and of x what the next chunk will, since L2 does not
    hold it: where the recurrent weights leave it room there, and threads have rows of their own. So does dx's product
    what those of the weight gradients will read.

    Training takes 1 to 9 % less time (every cell; N16 to N128, H128; N32 H256; one thread), inference 2 to 3 % (N128
    H128); with arrays that a thread's L2 holds 1 % more.
    """
    cdef long size = sizeof(floating), row = ((s.cell.saved * s.H if s.keep else 0) + 2 * s.S) * size
    if not s.by_rows or s.N < ROWS_PER_THREAD or s.blas:
        return False
    if 2 * s.cell.gates * s.H * s.S * size > l2_bytes():
        return False
    return all_rows(s) * row > s.threads * l2_bytes()


cdef long all_rows(Scan[floating]* s) noexcept nogil:
    """Packed rows of all steps."""
    cdef long t, rows = 0
    for t in range(s.steps):
        rows += s.rows[t]
    return rows


cdef long step_work(Scan[floating]* s) noexcept nogil:
    """Multiply-adds of a step's recurrent products."""
    return s.N * s.S * s.H * s.cell.gates


cdef void share_out(Scan[floating]* s, long most) noexcept nogil:
    """Fill in how many threads share a call, ``most`` at most, and how they do it."""
    cdef long threads = 1
    if not s.blas and not _has_forked_team and built_with_openmp():
        threads = max(1, min(_threads, min(1 + step_work(s) // STEP_PER_THREAD, most)))
    share_between(s, <int>threads)


cdef void share_between(Scan[floating]* s, int threads) noexcept nogil:
    while (threads > 1 and s.N < ROWS_PER_THREAD * threads
           and s.kernels.first_unit(s.H, s.cell.gates, False, 1, threads) == 0):
        threads -= 1  # there are fewer panels
    s.threads = threads
    s.by_rows = threads == 1 or s.N >= ROWS_PER_THREAD * threads
    s.apart = s.by_rows and threads > 1 and not s.cell.normed


cdef long chunk_end(Scan[floating]* s, long t0, long row0, long row1) noexcept nogil:
    """The step after a chunk of rows row0..row1 that begins with step t0, forward: where rows have ended, a chunk has
    more steps."""
    cdef long t = t0, n = 0
    while t < s.steps:
        n += min(row1, s.rows[t]) - min(row0, s.rows[t])
        if n > s.chunk * (row1 - row0):
            break
        t += 1
    return t


cdef long row_split(Scan[floating]* s, long t0, long t1, int thread, int threads) noexcept nogil:
    """First row of a thread's share of steps t0..t1: shares cost the same, whatever rows' lengths."""
    cdef long t, row, share = 1
    cdef long long have = 0, rest = 0, first, life
    if thread == 0:
        return 0
    if thread == threads:
        return s.rows[t0]
    if s.rows[t1 - 1] == s.rows[t0]:
        return s.rows[t0] * thread // threads
    for t in range(t0, t1):
        rest += s.rows[t]
    # rows are ordered by falling length: row `row` lives for t - t0 steps, and its share for as many as its first row
    t = t1
    first = t1 - t0
    for row in range(s.rows[t0]):
        while t > t0 and s.rows[t - 1] <= row:
            t -= 1
        life = t - t0
        # have: steps of the rows of this share so far; rest: of this row and those after. With this row the share would
        # cost more than each of the others without it
        if (have + life + ROWS_PER_STEP * first) * (threads - share) > rest + ROWS_PER_STEP * life * (threads - share):
            if share == thread:
                return row
            share += 1
            have, first = 0, life
        have += life
        rest -= life
    return s.rows[t0]


cdef long split(long n, long unit, int thread, int threads) noexcept nogil:
    """First of a thread's share of n things that come in groups of ``unit``."""
    return min(n, (n + unit - 1) // unit * thread // threads * unit)


cdef long first_unit(
    Scan[floating]* s, const Weight[floating]* w, long units, int thread, int threads,
) noexcept nogil:
    """First of a thread's share of the units of a matrix, or of any where there is none."""
    if w == NULL:
        return s.kernels.first_unit(units, 1, False, thread, threads)
    return s.kernels.first_unit(units, w.gates, w.narrow, thread, threads)


cdef long first_row(Scan[floating]* s, long t0, long t1) noexcept nogil:
    """First packed row of the chunk of steps t0..t1; the reverse direction walks memory backwards."""
    return min(s.start[t0], s.start[t1 - 1])


cdef long last_row(Scan[floating]* s, long t0, long t1) noexcept nogil:
    return max(s.start[t0] + s.rows[t0], s.start[t1 - 1] + s.rows[t1 - 1])


cdef Share share_of(
    Scan[floating]* s, const int64_t* places, long t0, long t1, long row0, long row1, int thread, int threads,
) noexcept nogil:
    """A thread's packed rows of steps t0..t1; ``places``: where packed rows stand in x or dx.

    Where threads are apart these are its own, rows row0..row1 of every step: what it makes of them is in its own L2.
    They stand together, so that no CPU prefetches what another one writes: forward takes 2 to 10 % less time (N16).
    """
    cdef Share share
    cdef long low = first_row(s, t0, t1), n = last_row(s, t0, t1) - low, t, r, number
    share.numbers = NULL
    share.places = offset(places, low)
    if not s.apart:
        share.first, share.last = n * thread // threads, n * (thread + 1) // threads
        return share
    if s.chunk == 1 and t1 - t0 == 1:
        share.first, share.last = min(row0, s.rows[t0]), min(row1, s.rows[t0])
        return share
    share.numbers = s.numbers
    share.places = s.numbers if places == NULL else s.places
    share.first = share.last = row0 * s.chunk
    for t in range(t0, t1):
        for r in range(min(row0, s.rows[t]), min(row1, s.rows[t])):
            number = s.start[t] - low + r
            s.numbers[share.last] = number
            if s.turned != NULL:
                s.turned[number] = share.last
            if places != NULL:
                s.places[share.last] = places[s.start[t] + r]
            share.last += 1
    return share


cdef long outer_scratch(Scan[floating]* s) noexcept nogil:
    """Elements of a thread's scratch for weight gradients."""
    cdef long columns = 0, k
    for k in range(s.gradients):
        if s.gradient[k].transposed():
            columns = max(columns, s.gradient[k].columns)
    return s.kernels.outer_scratch(max(s.D, s.H), max(s.S, s.H), columns)


cdef long packed_size(Scan[floating]* s, const Weight[floating]* w) noexcept nogil:
    """Elements of a packed matrix, in whole cache lines."""
    cdef long line = 64 // sizeof(floating), size
    size = s.kernels.back_size(w.K, w.units) if w.back else s.kernels.packed_size(w.K, w.units, w.gates)
    return (size + line - 1) // line * line


cdef size_t carve(Scan[floating]* s, char* base, bint backward) noexcept nogil:
    """Lay out the scratch of a call in one block; return its size. One vector of slack follows pre: see cells.hpp."""
    cdef Arena arena
    cdef const Cell* cell = &s.cell
    cdef long N = s.N, H = s.H, S = s.S, rows = s.chunk * N, width = cell.blocks * H, k
    cdef const Kernels[floating]* kernels = s.kernels
    cdef bint is_lstm = s.c0 != NULL, peeps = cell.diagonal or cell.full
    arena.base = base
    arena.used = 0
    if not s.blas and not s.packed:
        for k in range(s.n_weights):
            arena.take_if(not s.weight[k].unpacked, s.weight[k].packed,
                          packed_size(s, &s.weight[k]) * (s.threads if s.own_weights else 1))
    arena.take(s.pre, rows * width + kernels.lanes)
    arena.take_if(s.dy_apart, s.dy_rows, (N if s.by_rows else rows) * S)
    arena.take_if(s.out != NULL and s.y == NULL, s.h, 2 * N * S)
    arena.take_if(cell.has_inner, s.inner, (rows if backward else N) * H)
    arena.take_if(s.mask != NULL or backward, s.left, (rows if backward else N) * S)
    arena.take_if(cell.normed, s.scale, 3 * N)
    arena.take_if(cell.normed and is_lstm, s.squashed, N * H)
    arena.take_if(cell.normed and is_lstm, s.c_hat, (rows if backward else N) * H)
    arena.take_if(s.blas or (not backward and s.steps < PACKED_STEPS), s.product, N * max(S, cell.gates * H))
    if s.apart and s.steps > 1:
        arena.take(s.numbers, rows)
        arena.take(s.places, rows)
        arena.take_if(backward, s.turned, rows)
    if backward:
        arena.take(s.edge, N * width)
        arena.take(s.outer, s.threads * outer_scratch(s))
        arena.take_if(cell.any, s.total, rows * S)
        arena.take_if(cell.projected, s.dinner, N * H)
        arena.take_if(peeps, s.c_prev, rows * H)
        arena.take_if(s.new_c != NULL, s.dc_last, N * H)
        arena.take_if(cell.normed, s.du, rows * width)
        arena.take_if(cell.normed and is_lstm, s.dsquashed, rows * H)
    else:
        arena.take_if(cell.normed, s.raw, N * width)
        if not s.keep:
            arena.take_if(cell.gates_in_inference, s.gates, N * cell.saved * H)
            arena.take_if(s.new_c != NULL, s.c_new, N * H)
            arena.take_if(cell.normed, s.chunk_scale, rows * cell.norms)
    return arena.used


def chunk_steps(cell, long N, long D, long H, dtype):
    """Steps whose weight gradients are summed at a time; see `fastrnn.reference`."""
    cdef Scan[float] s32
    cdef Scan[double] s64
    if dtype == np.float32:
        return chunk_of(&s32, cell, N, H)
    return chunk_of(&s64, cell, N, H)


cdef long chunk_of(Scan[floating]* s, cell, long N, long H) except -1:
    s.N, s.H, s.S, s.steps, s.kernels, s.blas = N, H, H, 1 << 30, table(<floating*>NULL), _blas
    set_cell(s, cell)
    plan(s, True)
    return s.chunk
