# Full batches in arrays that kernels read as they lie, in one go: what fastrnn.ops does for any batch, without its
# steps in Python. After a scan has filled the caches with its arrays, each of those takes several times as long as in a
# loop of its own: training spent 13 to 23 % of its time there (N1 H128, N16 H64), and up to half (N1 H32).


cdef bint is_readable(cnp.ndarray array, int kind, long rows, long width) noexcept:
    """Whether a kernel can read the array as (rows, width) of this kind."""
    return (cnp.PyArray_TYPE(array) == kind and cnp.PyArray_ISCARRAY_RO(array) and cnp.PyArray_NDIM(array) == 2
            and array.shape[0] == rows and array.shape[1] == width)


cdef class Layout:
    """How the two outer axes of a caller's array stand for those of a full batch's packed rows."""
    cdef object order
    cdef long T, N
    cdef bint time_major

    def __cinit__(self, order):
        self.order, self.T, self.N, self.time_major = order, order.T, order.N, order.time_major

    cdef rows(self, value, int kind, long width):
        """The array's packed rows, in order or `Placed`; None where a kernel cannot read them there."""
        cdef cnp.ndarray array
        cdef long row, time, batch
        if type(value) is not np.ndarray:
            return None
        array = value
        if (cnp.PyArray_NDIM(array) != 3 or cnp.PyArray_TYPE(array) != kind or not cnp.PyArray_ISBEHAVED_RO(array)
                or array.shape[not self.time_major] != self.T or array.shape[self.time_major] != self.N
                or array.shape[2] != width or (width > 1 and array.strides[2] != array.itemsize)):
            return None
        row, time, batch = width * array.itemsize, array.strides[not self.time_major], array.strides[self.time_major]
        if (self.N == 1 or batch == row) and (self.T == 1 or time == self.N * row):
            return view_of(array, 2, self.T * self.N, width, 0)
        if time == row and batch == self.T * row:
            return Placed(view_of(array, 2, self.T * self.N, width, 0), self.order._at)
        return None

    cdef outer(self, cnp.ndarray rows, bint placed):
        """The opposite: the caller's axes for rows (R, width), which have the order of (N, T, width) where `placed`."""
        cdef long a = self.N if placed else self.T, b = self.T if placed else self.N
        cdef cnp.ndarray array = view_of(rows, 3, a, b, rows.shape[1])
        return cnp.PyArray_SwapAxes(array, 0, 1) if placed == self.time_major else array

    cdef cnp.ndarray last(self, cnp.ndarray rows):
        """A copy of the rows of the scan's last step."""
        cdef const int64_t* start = <int64_t*>memory(self.order.start)
        cdef long size = rows.shape[1] * rows.itemsize
        cdef cnp.npy_intp[2] dims
        dims[0], dims[1] = self.N, rows.shape[1]
        cdef cnp.ndarray final = cnp.PyArray_SimpleNew(2, dims, cnp.PyArray_TYPE(rows))
        memcpy(cnp.PyArray_DATA(final), <char*>cnp.PyArray_DATA(rows) + start[self.T - 1] * size, self.N * size)
        return final


cdef cnp.ndarray view_of(cnp.ndarray array, int axes, long a, long b, long c):
    """The array's memory, from its first element on, as (a, b) or (a, b, c)."""
    cdef cnp.npy_intp[3] dims
    dims[0], dims[1], dims[2] = a, b, c
    cdef cnp.ndarray view = cnp.PyArray_SimpleNewFromData(axes, dims, cnp.PyArray_TYPE(array), cnp.PyArray_DATA(array))
    cnp.set_array_base(view, array)
    return view


cdef tuple states_of(state, bint is_lstm, int kind, long N, long P, long H, bint copied):
    """h and c, or h alone, zeros for None; None where a kernel cannot read them."""
    cdef cnp.npy_intp[2] dims
    cdef cnp.ndarray part
    cdef list found = []
    parts = state if is_lstm and type(state) is tuple else (state,)
    if state is None:
        parts = (None,) * (1 + is_lstm)
    elif len(parts) != 1 + is_lstm:
        return None
    for k, value in enumerate(parts):
        dims[0], dims[1] = N, H if k else P
        if state is None:
            found.append(cnp.PyArray_ZEROS(2, dims, kind, 0))
            continue
        if type(value) is not np.ndarray:
            return None
        part = value
        if not is_readable(part, kind, N, dims[1]):
            return None
        found.append(cnp.PyArray_NewCopy(part, cnp.NPY_CORDER) if copied else part)
    return tuple(found)


def forward_at_once(cell, params, order, x, state, bint keep):
    """See `fastrnn.reference.forward_at_once`."""
    cdef Layout layout = Layout(order)
    cdef cnp.ndarray W = params["W"], U = params["U"], y
    cdef const Cell* c = &described(cell).cell
    cdef int kind = cnp.PyArray_TYPE(W)
    cdef long P = U.shape[0], H = W.shape[1] // c.gates, R = layout.T * layout.N
    cdef bint is_lstm = _names[c.name] == "lstm"
    if _blas or c.normed or R == 0:
        return None
    packed = layout.rows(x, kind, W.shape[0])
    states = states_of(state, is_lstm, kind, layout.N, P, H, False)
    if packed is None or states is None:
        return None
    h0, c0 = states[0], states[1] if is_lstm else None
    y = recycled(kind, 2, R, P)
    if keep:
        trace = Trace(y, recycled(kind, 2, R, H) if is_lstm else None,
                      recycled(kind, 2, R, c.saved * H) if c.saved else None)
    else:
        trace = Trace(y, cnp.PyArray_NewCopy(c0, cnp.NPY_CORDER) if is_lstm else None)
    if kind == cnp.NPY_FLOAT32:
        forward_of[float](<float*>NULL, cell, params, packed, h0, c0, SILENT, order.start, order.rows, trace, keep,
                          None)
    else:
        forward_of[double](<double*>NULL, cell, params, packed, h0, c0, SILENT, order.start, order.rows, trace, keep,
                           None)
    final = layout.last(y)
    if is_lstm:
        final = (final, layout.last(trace.c) if keep else trace.c)
    return layout.outer(y, False), final, (packed, h0, c0, trace) if keep else None


def backward_at_once(cell, params, order, x, h0, c0, trace, dy, dstate, bint input_gradient, grads, bint add):
    """See `fastrnn.reference.backward_at_once`."""
    cdef Layout layout = Layout(order)
    cdef cnp.ndarray W = params["W"], first = h0
    cdef int kind = cnp.PyArray_TYPE(W)
    cdef bint is_lstm = c0 is not None, placed = type(x) is Placed
    if _blas or layout.T * layout.N == 0:
        return None
    dy_rows = None if dy is None else layout.rows(dy, kind, first.shape[1])
    states = states_of(dstate, is_lstm, kind, layout.N, first.shape[1], W.shape[1] // described(cell).cell.gates, True)
    if dy_rows is None and dy is not None or states is None:
        return None
    dh, dc = states[0], states[1] if is_lstm else None
    rows = recycled(kind, 2, layout.T * layout.N, W.shape[0]) if input_gradient else None
    dx = Placed(rows, x.at) if placed and input_gradient else rows
    if kind == cnp.NPY_FLOAT32:
        backward_of[float](<float*>NULL, cell, params, x, h0, c0, SILENT, order.start, order.rows, trace, dy_rows, None,
                           dh, dc, dx, grads, add)
    else:
        backward_of[double](<double*>NULL, cell, params, x, h0, c0, SILENT, order.start, order.rows, trace, dy_rows,
                            None, dh, dc, dx, grads, add)
    return layout.outer(rows, placed) if input_gradient else None, states if is_lstm else dh
