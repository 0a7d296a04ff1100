# Rows of an array by number: what brings rows into packed order and back.

cdef extern from *:
    """
    // Bytes that make a thread's share of a copy worth while.
    static const long COPY_PER_THREAD = 64 * 1024;
    // Rows that are fetched ahead of a copy that jumps.
    static const long ROWS_AHEAD = 4;
    static inline void fetch(const char* row, long bytes) {
      for (long k = 0; k < bytes; k += 64) __builtin_prefetch(row + k);
    }
    static inline void fetch_to_write(char* row, long bytes) {
      for (long k = 0; k < bytes; k += 64) __builtin_prefetch(row + k, 1);
    }
    """
    const long COPY_PER_THREAD, ROWS_AHEAD
    void fetch(const char* row, long bytes) nogil
    void fetch_to_write(char* row, long bytes) nogil


cdef void gather_share(
    const char* source, const int64_t* index, char* out, long row_bytes, long first, long last,
) noexcept nogil:
    cdef long r, begin = first
    while begin < last:  # rows that follow one another at once: long stretches need not be read before they are written
        r = begin + 1
        if index[begin] < 0:
            while r < last and index[r] < 0:
                r += 1
            memset(out + begin * row_bytes, 0, (r - begin) * row_bytes)
        else:
            while r < last and index[r] == index[r - 1] + 1:
                r += 1
            memcpy(out + begin * row_bytes, source + index[begin] * row_bytes, (r - begin) * row_bytes)
        begin = r


cdef void gather_few(
    const char* source, const int64_t* index, char* out, long row_bytes, long first, long last,
) noexcept nogil:
    """out[r] = source[index[r]] for a few rows, which are not to stay in order for long."""
    cdef long r
    for r in range(first, min(first + ROWS_AHEAD, last)):
        fetch(source + index[r] * row_bytes, row_bytes)
    for r in range(first, last):
        if r + ROWS_AHEAD < last:
            fetch(source + index[r + ROWS_AHEAD] * row_bytes, row_bytes)
        memcpy(out + r * row_bytes, source + index[r] * row_bytes, row_bytes)


cdef void scatter_few(
    const char* source, const int64_t* index, char* out, long row_bytes, long first, long last,
) noexcept nogil:
    """out[index[r]] = source[r] for a few rows, which have just been made."""
    cdef long r
    for r in range(first, min(first + ROWS_AHEAD, last)):
        fetch_to_write(out + index[r] * row_bytes, row_bytes)
    for r in range(first, last):
        if r + ROWS_AHEAD < last:
            fetch_to_write(out + index[r + ROWS_AHEAD] * row_bytes, row_bytes)
        memcpy(out + index[r] * row_bytes, source + r * row_bytes, row_bytes)


cdef void clear_share(char* out, const int64_t* index, long row_bytes, long first, long last) noexcept nogil:
    """Zeros in the rows of these numbers."""
    cdef long r, begin = first
    while begin < last:
        r = begin + 1
        while r < last and index[r] == index[r - 1] + 1:
            r += 1
        memset(out + index[begin] * row_bytes, 0, (r - begin) * row_bytes)
        begin = r


def blank(shape, dtype, cnp.ndarray index):
    """Like `empty`, with zeros in the rows of these numbers."""
    cdef cnp.ndarray out = empty(shape, dtype)
    clear_rows(out, index)
    return out


cdef void clear_rows(cnp.ndarray out, cnp.ndarray index):
    """Zeros in the rows of these numbers."""
    cdef const int64_t* numbers = <const int64_t*>cnp.PyArray_DATA(index)
    cdef char* to = <char*>cnp.PyArray_DATA(out)
    cdef long n = index.shape[0], row_bytes = out.shape[1] * out.itemsize
    cdef int threads = team(n * row_bytes, COPY_PER_THREAD)
    cdef Seats seats
    with nogil:
        if threads == 1:
            clear_share(to, numbers, row_bytes, 0, n)
        else:
            seats.take(0)
            with parallel(num_threads=threads):
                seats.take(threadid())
                clear_share(to, numbers, row_bytes, split(n, 1, threadid(), team_size()),
                            split(n, 1, threadid() + 1, team_size()))


def gather(cnp.ndarray source, cnp.ndarray index):
    """Rows of ``source`` (M, .) in the order of ``index`` (R,); zeros for -1. Fresh (R, .)."""
    cdef cnp.ndarray out = empty((index.shape[0], source.shape[1]), source.dtype)
    cdef const char* rows = <const char*>cnp.PyArray_DATA(source)
    cdef const int64_t* numbers = <const int64_t*>cnp.PyArray_DATA(index)
    cdef char* to = <char*>cnp.PyArray_DATA(out)
    cdef long n = index.shape[0], row_bytes = source.shape[1] * source.itemsize
    cdef int threads = team(n * row_bytes, COPY_PER_THREAD)
    cdef Seats seats
    with nogil:
        if threads == 1:
            gather_share(rows, numbers, to, row_bytes, 0, n)
        else:
            seats.take(0)
            with parallel(num_threads=threads):
                seats.take(threadid())
                gather_share(rows, numbers, to, row_bytes, split(n, 1, threadid(), team_size()),
                             split(n, 1, threadid() + 1, team_size()))
    return out


cdef void add_share(
    const Kernels[floating]* kernels, floating* out, const int64_t* index, const floating* rows, long n, long width,
    int thread, int threads,
) noexcept nogil:
    """A thread's share of the columns."""
    cdef long first, last
    first, last = split(width, kernels.lanes, thread, threads), split(width, kernels.lanes, thread + 1, threads)
    add_rows_by_number(kernels[0], rows + first, NULL, width, index, n, out + first, width, last - first)


cdef void add_all(floating* out, const int64_t* index, const floating* rows, long n, long width) noexcept:
    cdef const Kernels[floating]* kernels = table(out)
    cdef int threads = team(n * width * sizeof(floating), COPY_PER_THREAD)
    cdef Seats seats
    with nogil:
        if threads == 1:
            add_share(kernels, out, index, rows, n, width, 0, 1)
        else:
            seats.take(0)
            with parallel(num_threads=threads):
                seats.take(threadid())
                add_share(kernels, out, index, rows, n, width, threadid(), team_size())


def add_rows(cnp.ndarray out, cnp.ndarray index, cnp.ndarray rows):
    """Add row r of ``rows`` (R, .) to row index[r] of ``out`` (M, .), one after the other; -1: to none."""
    cdef const int64_t* numbers = <const int64_t*>cnp.PyArray_DATA(index)
    cdef void* to = cnp.PyArray_DATA(out)
    cdef const void* source = cnp.PyArray_DATA(rows)
    if out.dtype == np.float32:
        add_all[float](<float*>to, numbers, <const float*>source, index.shape[0], out.shape[1])
    else:
        add_all[double](<double*>to, numbers, <const double*>source, index.shape[0], out.shape[1])
