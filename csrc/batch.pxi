# Batches in arrays that kernels read as they lie, in one go: what fastrnn.ops does for any batch, without its steps in
# Python. After a scan has filled the caches with its arrays, each of those takes several times as long as in a loop of
# its own: training spent 13 to 23 % of its time there (N1 H128, N16 H64), and up to half (N1 H32).


cdef class Door:
    """How a caller's arrays stand for what kernels work on: the methods of a `fastrnn.orders.Batch` or `Ragged`."""
    cdef object order
    cdef int kind
    cdef long T, N, R, last_row
    cdef bint time_major, ragged, batch_first

    def __cinit__(self, order, cnp.ndarray like):
        self.order, self.kind = order, cnp.PyArray_TYPE(like)
        self.T, self.N, self.time_major, self.ragged = order.T, order.N, order.time_major, order.is_ragged
        self.R = len(order.at) if self.ragged else self.T * self.N
        if not self.ragged and self.T > 0:
            self.batch_first, self.last_row = order.batch_first, order.start[self.T - 1]

    cdef place(self, value, long width):
        """An array's packed rows, in order or `Placed`; None where a kernel cannot read them there."""
        cdef cnp.ndarray array
        cdef long row, time, batch
        cdef bint by_time, by_batch
        if type(value) is not np.ndarray:
            return None
        array = value
        if (cnp.PyArray_NDIM(array) != 3 or cnp.PyArray_TYPE(array) != self.kind or not cnp.PyArray_ISBEHAVED_RO(array)
                or array.shape[not self.time_major] != self.T or array.shape[self.time_major] != self.N
                or array.shape[2] != width or (width > 1 and array.strides[2] != array.itemsize)):
            return None
        row, time, batch = width * array.itemsize, array.strides[not self.time_major], array.strides[self.time_major]
        by_time = (self.N == 1 or batch == row) and (self.T == 1 or time == self.N * row)
        by_batch = (self.T == 1 or time == row) and (self.N == 1 or batch == self.T * row)
        rows = view_of(array, 2, self.T * self.N, width, 0)
        if self.ragged:
            as_axes_say = by_time if self.time_major else by_batch
            return Placed(rows, self.order.at, self.order.together) if as_axes_say else None
        return rows if by_time else Placed(rows, self.order._at) if by_batch else None

    cdef blank(self, long width):
        """Memory for what has the caller's order, zero where no step is."""
        cdef cnp.ndarray array = recycled(self.kind, 2, self.T * self.N, width)
        if not self.ragged:
            return Placed(array, self.order._at)
        clear_rows(array, self.order.padding)
        return Placed(array, self.order.at, self.order.together)

    cdef unpack(self, rows):
        """The caller's axes for what `place` or `blank` has the order of."""
        cdef bint by_batch = type(rows) is Placed and not (self.ragged and self.time_major)
        cdef cnp.ndarray array = rows.array if type(rows) is Placed else rows
        array = view_of(array, 3, self.N if by_batch else self.T, self.T if by_batch else self.N, array.shape[1])
        return cnp.PyArray_SwapAxes(array, 0, 1) if by_batch == self.time_major else array

    cdef tuple states(self, state, bint is_lstm, long P, long H):
        """h and c, or h alone, in the caller's order, zeros for None; None where a kernel cannot read them."""
        cdef cnp.npy_intp[2] dims
        cdef cnp.ndarray part
        cdef list found = []
        cdef tuple parts = state if is_lstm and type(state) is tuple else (state,)
        if state is None:
            parts = (None,) * (1 + is_lstm)
        elif len(parts) != 1 + is_lstm:
            return None
        for value in parts:
            dims[0], dims[1] = self.N, H if found else P
            if state is None:
                found.append(cnp.PyArray_ZEROS(2, dims, self.kind, 0))
                continue
            if type(value) is not np.ndarray:
                return None
            part = value
            if (cnp.PyArray_TYPE(part) != self.kind or not cnp.PyArray_ISCARRAY_RO(part) or cnp.PyArray_NDIM(part) != 2
                    or part.shape[0] != self.N or part.shape[1] != dims[1]):
                return None
            found.append(part)
        return tuple(found)

    cdef tuple with_outputs(self, cnp.ndarray h0):
        """A copy of a full batch's h0, and memory for y, 64-byte aligned: side by side, the state before the first step
        is where that of a step before would be. See lefts_in_y in places.hpp."""
        cdef long size = item_size(self.kind), width = h0.shape[1], state = self.N * width * size
        cdef bint is_behind = self.last_row == 0
        cdef long y_at = 0 if is_behind else (state + 63) // 64 * 64, bytes = self.R * width * size
        cdef Block block = Block(y_at + bytes + (state if is_behind else 0))
        copy = piece_of(block, bytes if is_behind else y_at - state, self.kind, 2, self.N, width)
        memcpy(memory(copy), cnp.PyArray_DATA(h0), state)
        return copy, piece_of(block, y_at, self.kind, 2, self.R, width)

    cdef sort(self, cnp.ndarray state):
        """A state in packed order."""
        return picked(state, self.order.order, None) if self.ragged and not self.order.is_sorted else state

    cdef sorted_copy(self, cnp.ndarray state):
        """The same, never ``state`` itself."""
        cdef object part = self.sort(state)
        return copy_of(state) if part is state else part

    cdef restore(self, cnp.ndarray state):
        """The opposite of `sort`."""
        return picked(state, self.order.inverse, None) if self.ragged and not self.order.is_sorted else state

    cdef last(self, rows, cnp.ndarray initial):
        """Each sequence's row of its last step, ``initial`` where it has none: in the caller's order."""
        cdef cnp.npy_intp[2] dims
        cdef cnp.ndarray final
        cdef long first = self.last_row, bytes
        if self.ragged:
            if type(rows) is Placed:
                return picked(rows.array, self.order.last_places, initial)
            return picked(rows, self.order.last_rows, initial)
        if type(rows) is Placed:
            return picked(rows.array, rows.at[first:first + self.N], initial)
        dims[0], dims[1] = self.N, initial.shape[1]
        final, bytes = cnp.PyArray_SimpleNew(2, dims, self.kind), dims[1] * initial.itemsize
        memcpy(cnp.PyArray_DATA(final), <char*>memory(rows) + first * bytes, self.N * bytes)
        return final


cdef Door door_of(order, cnp.ndarray like):
    """The door for arrays of this dtype; a full batch, which is made once, keeps it."""
    kept = order.door
    if type(kept) is Door and (<Door>kept).kind == cnp.PyArray_TYPE(like):
        return kept
    cdef Door door = Door(order, like)
    if not door.ragged:
        order.door = door
    return door


cdef cnp.ndarray copy_of(cnp.ndarray state):
    """A copy of a contiguous array: NumPy's own way is a long one."""
    cdef cnp.ndarray copy = cnp.PyArray_SimpleNew(2, state.shape, cnp.PyArray_TYPE(state))
    memcpy(cnp.PyArray_DATA(copy), cnp.PyArray_DATA(state), cnp.PyArray_NBYTES(state))
    return copy


cdef cnp.ndarray view_of(cnp.ndarray array, int axes, long a, long b, long c):
    """The array's memory, from its first element on, as (a, b) or (a, b, c)."""
    cdef cnp.npy_intp[3] dims
    dims[0], dims[1], dims[2] = a, b, c
    cdef cnp.ndarray view = cnp.PyArray_SimpleNewFromData(axes, dims, cnp.PyArray_TYPE(array), cnp.PyArray_DATA(array))
    cnp.set_array_base(view, array)
    return view


cdef cnp.ndarray picked(cnp.ndarray source, cnp.ndarray index, cnp.ndarray other):
    """A few rows of ``source`` by number; row r of ``other`` for number r where that is -1."""
    cdef cnp.npy_intp[2] dims
    dims[0], dims[1] = index.shape[0], source.shape[1]
    cdef cnp.ndarray out = cnp.PyArray_SimpleNew(2, dims, cnp.PyArray_TYPE(source))
    cdef const int64_t* numbers = <const int64_t*>cnp.PyArray_DATA(index)
    cdef long bytes = dims[1] * source.itemsize, r
    cdef const char* row
    for r in range(dims[0]):
        row = <char*>memory(other) + r * bytes if numbers[r] < 0 else <char*>memory(source) + numbers[r] * bytes
        memcpy(<char*>cnp.PyArray_DATA(out) + r * bytes, row, bytes)
    return out


def forward_at_once(cell, params, order, x, state, bint keep):
    """See `fastrnn.reference.forward_at_once`."""
    cdef cnp.ndarray W = params["W"], U = params["U"]
    cdef Door door = door_of(order, W)
    cdef const Cell* c = &described(cell).cell
    cdef long P = U.shape[0], H = W.shape[1] // c.gates
    cdef bint is_lstm = _names[c.name] == "lstm"
    if _blas or c.normed or door.R == 0:
        return None
    packed = door.place(x, W.shape[0])
    initial = door.states(state, is_lstm, P, H)
    if packed is None or initial is None:
        return None
    h0, c0 = door.sort(initial[0]), door.sort(initial[1]) if is_lstm else None
    y, out = None, door.blank(P) if door.ragged or door.batch_first else None
    if out is not None and out.together:
        y, out = out, None
    elif keep and not door.ragged:
        h0, y = door.with_outputs(h0)
    elif out is None or keep:
        y = recycled(door.kind, 2, door.R, P)
    if keep:
        trace = Trace(y, recycled(door.kind, 2, door.R, H) if is_lstm else None,
                      recycled(door.kind, 2, door.R, c.saved * H) if c.saved else None)
    else:
        trace = Trace(y, copy_of(c0) if is_lstm else None)
    if door.kind == cnp.NPY_FLOAT32:
        forward_of[float](<float*>NULL, cell, params, packed, h0, c0, SILENT, order.start, order.rows, trace, keep,
                          out)
    else:
        forward_of[double](<double*>NULL, cell, params, packed, h0, c0, SILENT, order.start, order.rows, trace, keep,
                           out)
    final = door.last(out if y is None else y, initial[0])
    if is_lstm:
        final = (final, door.last(trace.c, initial[1]) if keep else door.restore(trace.c))
    return door.unpack(y if out is None else out), final, (packed, h0, c0, trace) if keep else None


def backward_at_once(cell, params, order, x, h0, c0, trace, dy, dstate, bint input_gradient, grads, bint add):
    """See `fastrnn.reference.backward_at_once`."""
    cdef cnp.ndarray W = params["W"], first = h0
    cdef Door door = door_of(order, W)
    cdef bint is_lstm = c0 is not None
    if _blas or door.R == 0:
        return None
    rows = None if dy is None else door.place(dy, first.shape[1])
    final = door.states(dstate, is_lstm, first.shape[1], W.shape[1] // described(cell).cell.gates)
    if rows is None and dy is not None or final is None:
        return None
    dh, dc, dx = final[0], final[1] if is_lstm else None, None
    if dstate is not None:
        dh, dc = door.sorted_copy(dh), door.sorted_copy(dc) if is_lstm else None
    if input_gradient:
        dx = door.blank(W.shape[0]) if type(x) is Placed else recycled(door.kind, 2, door.R, W.shape[0])
    if door.kind == cnp.NPY_FLOAT32:
        backward_of[float](<float*>NULL, cell, params, x, h0, c0, SILENT, order.start, order.rows, trace, rows, None,
                           dh, dc, dx, grads, add)
    else:
        backward_of[double](<double*>NULL, cell, params, x, h0, c0, SILENT, order.start, order.rows, trace, rows, None,
                            dh, dc, dx, grads, add)
    dstart = (door.restore(dh), door.restore(dc)) if is_lstm else door.restore(dh)
    return None if dx is None else door.unpack(dx), dstart
