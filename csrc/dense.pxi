# Products of whole matrices: what layers without a scan are made of.

cdef class Affine:
    """y = x W + b, or x W', with W packed once; see `fastrnn.reference_flat.Affine`. ``unpacked``: as it lies, for few
    rows."""
    cdef Block block
    cdef object W, b
    cdef bint is_float, transposed, unpacked, blas, narrow
    cdef const Isa* isa
    cdef long K, columns

    def __cinit__(self, W, b, bint transposed=False, bint unpacked=False):
        self.is_float, self.transposed, self.blas, self.isa = W.dtype == np.float32, transposed, _blas, _isa
        self.unpacked = unpacked
        self.K, self.columns = W.shape[::-1] if transposed else W.shape
        self.W, self.b = W, b
        if self.is_float:
            pack_affine(&self.isa.f32, self, <float*>memory(W))
        else:
            pack_affine(&self.isa.f64, self, <double*>memory(W))

    def run(self, x, y):
        """Write y (R, columns) for x (R, K)."""
        if self.is_float:
            run_affine(&self.isa.f32, self, <float*>memory(x), <float*>memory(y), len(x))
        else:
            run_affine(&self.isa.f64, self, <double*>memory(x), <double*>memory(y), len(x))


cdef int pack_affine(const Kernels[floating]* k, Affine a, const floating* W) except -1:
    if a.blas or a.unpacked:
        return 0
    a.narrow = k.narrow(a.K, FORWARD_ROWS)
    a.block = Block(k.packed_size(a.K, a.columns, 1) * sizeof(floating))
    with nogil:
        k.pack(<floating*>a.block.start, W, a.K, a.columns, 1, a.narrow, 1 if a.transposed else a.columns,
               a.K if a.transposed else 1, 0, 0, a.columns)
    a.W = None
    return 0


cdef int run_affine(const Kernels[floating]* k, Affine a, const floating* x, floating* y, long R) except -1:
    cdef Product[floating] product
    cdef const floating* b = <floating*>memory(a.b)
    cdef const floating* W = <floating*>memory(a.W) if a.blas or a.unpacked else <floating*>a.block.start
    cdef long K = a.K, columns = a.columns, r
    cdef int threads = 1 if a.blas else team(R * K * columns, CALL_PER_THREAD)
    cdef Seats seats
    if a.blas:
        with nogil:
            for r in range(R if b != NULL else 0):
                memcpy(y + r * columns, b, columns * sizeof(floating))
            gemm(False, a.transposed, R, columns, K, x, K, W, K if a.transposed else columns, b != NULL, y, columns)
        return 0
    product.K, product.columns, product.a, product.row_stride, product.k_stride = K, columns, x, K, 1
    product.panels, product.matrix_ld = W, columns if a.unpacked else 0
    product.narrow, product.bias, product.out, product.ld, product.add = a.narrow, b, y, columns, False
    if R * K * columns < SHORT_STEP:
        k.product(&product, 0, R, 0, columns)
        return 0
    if threads == 1:
        with nogil:
            k.product(&product, 0, R, 0, columns)
        return 0
    seats.take(0)
    with nogil, parallel(num_threads=threads):
        seats.take(threadid())
        k.product(&product, R * threadid() // team_size(), R * (threadid() + 1) // team_size(), 0, columns)
    return 0


def affine(x, W, b, y, bint transposed=False):
    """y = x W + b, or x W'; see `fastrnn.reference_flat.affine`."""
    cdef long rows = _isa.f32.packed_rows if W.dtype == np.float32 else _isa.f64.packed_rows
    Affine(W, b, transposed, not transposed and len(x) < rows_to_pack(rows, W.size)).run(x, y)


def add_outer(x, d, dW, db):
    """dW += x' d, db += column sums of d; see `fastrnn.reference_flat.add_outer`."""
    if x.dtype == np.float32:
        add_outer_of(&_isa.f32, x, d, dW, <float*>memory(db))
    else:
        add_outer_of(&_isa.f64, x, d, dW, <double*>memory(db))


cdef int add_outer_of(const Kernels[floating]* k, x, d, dW, floating* db) except -1:
    cdef Outer[floating] outer
    cdef ColumnSums[floating] sums
    cdef long R = x.shape[0], M = x.shape[1], columns = d.shape[1], unit = k.lanes, shared, size
    cdef floating* left = <floating*>memory(x)
    cdef floating* right = <floating*>memory(d)
    cdef floating* start
    cdef bint blas = _blas  # which other threads may change
    cdef int threads = 1 if blas else team(R * M * columns, CALL_PER_THREAD)
    cdef Seats seats
    cdef Block scratch
    cdef floating* out = <floating*>memory(dW)
    if blas:
        with nogil:
            gemm(True, False, M, columns, R, left, M, right, columns, True, out, columns)
    outer.R, outer.ld, outer.M[1] = R, columns, 0
    outer.transposed = outer.exchanged = threads > 1 and columns < M  # threads share the longer side
    if outer.transposed:
        outer.a[0], outer.M[0], outer.b, outer.ldb, outer.columns = right, columns, left, M, M
    else:
        outer.a[0], outer.M[0], outer.b, outer.ldb, outer.columns = left, 0 if blas else M, right, columns, columns
    outer.out[0], outer.sums = out, <floating*>NULL if outer.transposed else db
    sums.R, sums.a, sums.lda, sums.b, sums.ldb, sums.sums = R, right, columns, <floating*>NULL, 0, db
    shared, size = outer.columns, k.outer_scratch(outer.M[0], 0, outer.columns if outer.transposed else 0)
    scratch = Block(threads * size * sizeof(floating))
    start = <floating*>scratch.start
    if threads == 1:
        with nogil:
            k.outer(&outer, 1, 0, 1, start)
        return 0
    seats.take(0)
    with nogil, parallel(num_threads=threads):
        seats.take(threadid())
        k.outer(&outer, 1, threadid(), team_size(), start + threadid() * size)
        if outer.transposed and db != NULL:
            k.column_sums(&sums, split(columns, unit, threadid(), team_size()),
                          split(columns, unit, threadid() + 1, team_size()))
    return 0
