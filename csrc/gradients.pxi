# What a chunk's steps leave to be made: dx, and the gradients of the parameters.

cdef void input_gradient(
    Scan[floating]* s, const Share* share, long low, long n, const Ahead[floating]* next, int thread, int threads,
) noexcept nogil:
    """dx of n packed rows from row low on: a thread's share of the rows, or of a table the columns. ``next`` is fetched
    meanwhile."""
    cdef long p, width = s.cell.gates * s.H, unit = s.kernels.lanes
    if s.dx == NULL:
        return
    if s.codes != NULL:
        add_to_table(s[0], share[0], low, n, split(width, unit, thread, threads),
                     split(width, unit, thread + 1, threads))
        return
    for p in range(s.segments):
        multiply(s, &s.weight[p], <const floating*>s.pre + s.segment[p].block * s.H, s.cell.blocks * s.H,
                 <const floating*>NULL, p > 0, s.dx + (0 if s.dx_at else low * s.D), s.D, share.first, share.last, 0,
                 s.D, NULL, share.places, s.outer + thread * outer_scratch(s), s.segment[p].gap_after * s.H,
                 next if p == 0 else NULL)


cdef void add_gradients(
    Scan[floating]* s, int first, int last, const At[floating]* at, long n, bint add, int thread, int threads,
) noexcept nogil:
    """The weight gradients first..last, of n packed rows; a thread's share of them.

    With ``add`` they are added to those that are there.
    """
    cdef Outer[floating] outers[MAX_OUTERS]
    cdef Outer[floating]* outer
    cdef const Gradient[floating]* g
    cdef int k, side
    for k in range(first, last):
        g, outer = &s.gradient[k], &outers[k - first]
        outer.R, outer.columns, outer.b, outer.ldb = n, g.columns, at[g.b].at + g.block * s.H, at[g.b].ld
        outer.b_rows = at[g.b].rows
        outer.transposed, outer.add, outer.sums = g.transposed(), add, g.sums
        outer.ld = max(g.out[0].ld, g.out[1].ld)
        for side in range(2):
            outer.a[side], outer.M[side], outer.out[side] = at[g.left[side]].at, at[g.left[side]].ld, g.out[side].at
            outer.a_rows[side] = at[g.left[side]].rows
            if s.blas and outer.transposed:
                gemm(True, False, g.columns, outer.M[side], n, outer.b, outer.ldb, outer.a[side], outer.M[side], add,
                     outer.out[side], outer.M[side])
            elif s.blas:
                gemm(True, False, outer.M[side], g.columns, n, outer.a[side], outer.M[side], outer.b, outer.ldb, add,
                     outer.out[side], outer.ld)
            if s.blas:
                outer.M[side] = 0
    s.kernels.outer(outers, last - first, thread, threads, s.outer + thread * outer_scratch(s))


cdef void clear_sums(Scan[floating]* s) noexcept nogil:
    """Zero the gradients that are sums over rows, and always added to."""
    cdef int k
    for k in range(s.gradients):
        if s.gradient[k].sums != NULL:
            memset(s.gradient[k].sums, 0, s.gradient[k].columns * sizeof(floating))
    for k in range(s.reductions):
        memset(s.reduction[k].sums, 0, s.reduction[k].columns * sizeof(floating))


cdef void parameter_gradients(
    Scan[floating]* s, const Share* share, Barrier* barrier, long low, long n, floating* lefts, bint add, bint fetches,
    int thread, int threads,
) noexcept nogil:
    """dx and the gradients of all parameters of n packed rows from row low on; ``lefts``: those of h before them;
    ``fetches``: `fetches_ahead`."""
    cdef At[floating] at[PLACES]
    cdef ColumnSums[floating] sums
    cdef const Reduction[floating]* r
    cdef long k, unit = s.kernels.lanes
    cdef Ahead[floating] next
    find_chunk(s[0], share[0], low, lefts, at)
    for k in range(s.reductions):
        r = &s.reduction[k]
        sums.R, sums.sums = n, r.sums
        sums.a, sums.lda, sums.a_rows = at[r.a].at + r.a_block * s.H, at[r.a].ld, at[r.a].rows
        sums.b, sums.ldb = <const floating*>NULL, 0
        if r.b != NOTHING:
            sums.b, sums.ldb = at[r.b].at + r.b_block * s.H, at[r.b].ld
        s.kernels.column_sums(&sums, split(r.columns, unit, thread, threads),
                              split(r.columns, unit, thread + 1, threads))
    if not s.cell.normed:
        next = ahead_of_weights(s[0], low, n, <const floating*>lefts)
        input_gradient(s, share, low, n, &next if fetches else NULL, thread, threads)
        add_gradients(s, 0, s.gradients, at, n, add, thread, threads)
        return
    add_gradients(s, 0, s.gradients - s.late_gradients, at, n, add, thread, threads)
    barrier.wait(threads)
    normalise_projection(s[0], True, low, n * thread // threads, n * (thread + 1) // threads)
    barrier.wait(threads)
    input_gradient(s, share, low, n, NULL, thread, threads)
    add_gradients(s, s.gradients - s.late_gradients, s.gradients, at, n, add, thread, threads)
