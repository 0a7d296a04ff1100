# What a streaming session keeps of one recurrent layer: a scan planned for one step, its weights packed for good.

cdef extern from *:
    """
    // Multiply-adds of a step that keeps to one thread, since to wait for another would take longer.
    static const long LONE_STEP = 32 * 1024;
    // And of one that keeps to the GIL, since to wait for that would take longer.
    static const long SHORT_STEP = 256 * 1024;
    // Multiply-adds of a thread's share of a long step, which takes longer than to wake that thread (2 ms).
    static const long LONG_STEP = 16 * 1024 * 1024;
    """
    const long LONE_STEP, SHORT_STEP, LONG_STEP

from .orders import full_batch
from .reference_session import BUSY

cdef extern from "pace.hpp" namespace "fastrnn" nogil:
    cdef cppclass Pace:
        bint begin()
        void end(bint shared)
        @staticmethod
        void after_fork()

cdef extern from "turn.hpp" namespace "fastrnn" nogil:
    cdef cppclass Turn:
        bint take()
        void give()

cdef extern from "crew.hpp" namespace "fastrnn" nogil:
    cdef cppclass Crew:
        int muster(int threads, bint patient)
        void share[T](Scan[T]*, void (*)(Scan[T]*, Barrier*, int, int) noexcept nogil, int threads)
    Crew& crew()
    void hire_anew()


cdef bint can_read(x, cnp.ndarray like):
    if not cnp.PyArray_CheckExact(x):
        return False
    cdef cnp.ndarray array = x
    return (cnp.PyArray_TYPE(array) == cnp.PyArray_TYPE(like) and cnp.PyArray_ISCARRAY_RO(array)
            and cnp.PyArray_SAMESHAPE(array, like))


def fits(x, cnp.ndarray like not None):
    """Whether a kernel can read x in the place of ``like``; see `fastrnn.reference_session.fits`."""
    return can_read(x, like)


cdef class Stream:
    """N streams of one recurrent layer; see `fastrnn.reference_session.Stream`.

    The instruction set, and whether products run through BLAS, are those in use when it is made.
    """

    cdef Scan[float] f32
    cdef Scan[double] f64
    cdef Pace pace
    cdef bint is_float
    cdef int64_t start, rows
    cdef Block block  # packed weights and the scratch of one step
    cdef dict params
    cdef object noise
    cdef readonly tuple states

    def __cinit__(self, cell, params, noise, Py_ssize_t N):
        cdef cnp.ndarray W = params["W"]
        dtype, H = W.dtype, W.shape[1] // len(cell.gates)
        widths = (cell.output_size(H), H)
        self.is_float = dtype == np.float32
        self.start, self.rows = 0, N
        self.states = tuple([empty((N, width), dtype) for _, width in zip(cell.states, widths)])
        for state in self.states:
            state[...] = 0
        self.params, self.noise = {name: array.copy() for name, array in params.items()}, noise
        if self.is_float:
            open_stream(&self.f32, self, cell)
        else:
            open_stream(&self.f64, self, cell)

    def run(self, cnp.ndarray x not None, cnp.ndarray y not None):
        """Advance by the R/N steps of x (R, D), and write y (R, H)."""
        self.go(x, y)

    cdef go(self, cnp.ndarray x, cnp.ndarray y):
        if self.is_float:
            advance(&self.f32, &self.pace, x, y)
        else:
            advance(&self.f64, &self.pace, x, y)


cdef class Steps:
    """The parts of a session, one after the other; see `fastrnn.reference_session.Steps`."""

    cdef tuple parts, results
    cdef cnp.ndarray like
    cdef object door
    cdef bint odd
    cdef char *low[2]  # the memory of what the first part gives
    cdef char *high[2]
    cdef Turn turn

    def __cinit__(self, parts, results, like, door):
        cdef cnp.ndarray array
        cdef int k
        self.parts, self.like, self.door, self.odd = tuple(parts), like, door, True
        self.results = tuple([tuple(arrays) for arrays in results])
        for k in range(2):
            array = self.results[k][0]
            self.low[k] = <char*>cnp.PyArray_DATA(array)
            self.high[k] = self.low[k] + cnp.PyArray_NBYTES(array)

    cdef int begin(self) except -1:
        """Keep other threads out, until `end`."""
        if not self.turn.take():
            raise RuntimeError(BUSY)
        return 0

    cdef void end(self) noexcept:
        self.turn.give()

    def __enter__(self):
        self.begin()

    def __exit__(self, *error):
        self.end()

    def step(self, x_t, *, out=None):
        """See `fastrnn.session.Session.step`."""
        if self.like is None or not can_read(x_t, self.like):
            x_t = self.door.checked("x_t", x_t)
        if out is not None:
            self.door.check_out(out)
        self.begin()
        try:
            self.odd = not self.odd
            y = self.advance(x_t, <tuple>self.results[self.odd])
            if out is None:
                return y
            out[...] = y
            return out
        finally:
            self.end()

    cdef advance(self, y, tuple results):
        cdef Py_ssize_t k
        cdef char* x = <char*>memory(y)
        if self.low[self.odd] <= x < self.high[self.odd]:  # kernels write it before they have read all of x
            y = y.copy()
        for k in range(len(self.parts)):
            part, result = self.parts[k], results[k]
            if type(part) is Stream:
                (<Stream>part).go(y, result)
            else:
                part.run(y, result)
            y = result
        return y


cdef int open_stream(Scan[floating]* s, Stream stream, cell) except -1:
    """Describe a scan of one step, and pack its weights into the stream's block."""
    cdef cnp.ndarray x = np.empty((0, stream.params["W"].shape[0]), stream.params["W"].dtype)
    cdef cnp.ndarray c = stream.states[1] if len(stream.states) > 1 else None
    cdef size_t size
    one = np.empty(1, np.int64)
    describe(s, cell, stream.params, x, stream.states[0], c, stream.noise, one, one, Trace(x, c), False)
    s.start, s.rows = &stream.start, &stream.rows
    # of several rows, products by themselves of larger tiles take less time (a step 1 to 8 %, sequences up to 6 %)
    s.interleaved = s.N == 1 and not s.blas and not s.cell.normed and not s.cell.full
    compose(s, False)
    plan(s, False)
    size = carve(s, NULL, False)
    stream.block = Block(size)
    # lanes past H read the slack: what malloc left there may be denormal, which some CPUs compute 100 times slower
    memset(stream.block.start, 0, size)
    carve(s, stream.block.start, False)
    if not s.blas:
        pack(s, 0, 1)
        s.packed = True
        # a block of pre that steps which project their own input read, and none writes
        if s.params.b_rec != NULL:
            fill_inner(s, 0, s.N)
        # nobody reads the plain matrices again
        for name in ("W", "U", "P", "W_proj"):
            stream.params.pop(name, None)
    return 0


cdef int advance(Scan[floating]* s, Pace* pace, cnp.ndarray x, cnp.ndarray y) except -1:
    """Run the scan over x, of one step or of several, and keep the last h as the state."""
    cdef long steps = x.shape[0] // s.N, size = s.N * s.S
    if steps == 1:
        s.x, s.y = <floating*>memory(x), <floating*>memory(y)
        advance_one(s, pace)
    elif steps > 1:
        advance_many(s, x, y, steps)
    if steps > 0:
        memcpy(<floating*>s.h0, <floating*>memory(y) + (steps - 1) * size, size * sizeof(floating))
    return 0


cdef void advance_one(Scan[floating]* s, Pace* pace) noexcept:
    """One step in the stream's own scratch."""
    cdef long work = s.N * (s.D + s.S) * s.H * s.cell.gates
    s.backwards = not s.backwards
    if work < LONE_STEP:
        share_out(s, 1)
        run(s, False)
    elif work < SHORT_STEP:
        share_step(s, pace, work)
    else:
        with nogil:
            share_step(s, pace, work)


cdef void share_step(Scan[floating]* s, Pace* pace, long work) noexcept nogil:
    """One step, on as many threads as it is worth sharing between and are awake."""
    cdef bint long_step = work >= 2 * LONG_STEP
    if _threads == 1:
        share_between(s, 1)
        run(s, False)
        return
    share_out(s, _threads if pace.begin() else work // LONG_STEP)
    share_between(s, crew().muster(s.threads, long_step))
    if s.threads == 1:
        run(s, False)
    else:
        crew().share(s, forward_loop[floating], s.threads)
    pace.end(s.threads > 1)


cdef int advance_many(Scan[floating]* s, cnp.ndarray x, cnp.ndarray y, long steps) except -1:
    """Several steps, in scratch for as many as are projected at once."""
    cdef Scan[floating] many = s[0]
    order = full_batch(s.N, steps, True, False, False)
    cdef cnp.ndarray start = order.start, rows = order.rows
    many.steps, many.x, many.y = steps, <floating*>memory(x), <floating*>memory(y)
    many.start, many.rows = <int64_t*>cnp.PyArray_DATA(start), <int64_t*>cnp.PyArray_DATA(rows)
    execute(&many, False)
    return 0
