# What comes in from Python: a cell as the numbers of csrc/scan.hpp, arrays as pointers into them.


cdef inline void* memory(array) noexcept:
    """The array's memory, or null for None."""
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline void* placed(array, const int64_t** at) noexcept:
    """The memory of an array, and where the packed rows stand in it: null for an array in packed order."""
    at[0] = NULL
    if type(array) is not Placed:
        return memory(array)
    at[0] = <int64_t*>memory(array.at)
    return memory(array.array)


cdef dict _kinds = {name: k for k, name in enumerate((
    "tanh", "sigmoid", "relu", "linear", "softsign", "softplus", "hard_sigmoid", "leaky_relu", "thresholded_relu",
    "scaled_tanh", "affine", "elu",
))}
cdef tuple _names = ("rnn", "lstm", "gru", "gru_before")
_TANH, _SIGMOID, _RELU = _kinds["tanh"], _kinds["sigmoid"], _kinds["relu"]


cdef class Description:
    """What the loops know of a `fastrnn.cells.Cell`."""
    cdef object of
    cdef Cell cell
    cdef Rules[double] rules

    def __cinit__(self, cell):
        cdef Cell* c = &self.cell
        cdef Rules[double]* r = &self.rules
        self.of = cell
        c.name = _names.index(cell.kind)
        c.diagonal, c.full = cell.peephole == "diagonal", cell.peephole == "full"
        c.coupled, c.projected, c.normed = cell.coupled, cell.proj_size is not None, cell.layer_norm
        set_function(&r.activation, cell.activation)
        set_function(&r.recurrent, cell.recurrent_activation)
        set_function(&r.output, cell.output_activation)
        r.clip = 0 if cell.clip is None else cell.clip
        c.any = (
            c.diagonal or c.full or c.coupled or c.projected or c.normed or r.clip != 0 or cell.zoneout
            or r.recurrent.kind != _SIGMOID or r.output.kind != _TANH
            or r.activation.kind != _TANH and not (c.name == 0 and r.activation.kind == _RELU)
        )
        describe_cell(c)


cdef int set_function(Function[double]* f, function) except -1:
    f.kind, f.alpha, f.beta = _kinds[function.name], function.alpha, function.beta
    return 0


cdef dict _descriptions = {}  # by a cell's identity


cdef Description described(cell):
    """The cell's description, made once for every object."""
    found = _descriptions.get(id(cell))
    if found is None or (<Description>found).of is not cell:
        found = _descriptions[id(cell)] = Description(cell)
    return found


cdef int set_cell(Scan[floating]* s, cell) except -1:
    cdef Description description = described(cell)
    s.cell = description.cell
    convert(description.rules, &s.rules)
    s.rules.p = s.params.p
    return 0


cdef int set_matrix(Matrix[floating]* m, cnp.ndarray array) except -1:
    """Point at a matrix that lies in order by rows, or else by columns; at nothing for None."""
    if array is None:
        return 0
    m.at, m.transposed = <floating*>cnp.PyArray_DATA(array), not cnp.PyArray_IS_C_CONTIGUOUS(array)
    m.ld = array.shape[0] if m.transposed else array.shape[1]
    return 0


cdef int set_params(Params[floating]* p, params) except -1:
    """Point at arrays by their names."""
    set_matrix[floating](&p.W, params["W"])
    set_matrix[floating](&p.U, params["U"])
    p.b = <floating*>memory(params["b"])
    if len(params) > 3:
        set_matrix[floating](&p.P, params.get("P"))
        set_matrix[floating](&p.W_proj, params.get("W_proj"))
        p.b_rec, p.p = <floating*>memory(params.get("b_rec")), <floating*>memory(params.get("p"))
        p.gain_W, p.gain_U = <floating*>memory(params.get("gain_W")), <floating*>memory(params.get("gain_U"))
        p.gain_c, p.bias_c = <floating*>memory(params.get("gain_c")), <floating*>memory(params.get("bias_c"))
    return 0


cdef int describe(
    Scan[floating]* s, cell, params, x, h0, c0, noise, start, rows, trace, bint keep,
) except -1:
    """The arguments that both directions share."""
    cdef cnp.ndarray W = params["W"], states = h0
    if isinstance(x, Lookup):
        s.codes, x = <int64_t*>memory(x.codes), x.table
    s.D = 0 if s.codes != NULL else W.shape[0]
    s.kernels, s.keep = table(<floating*>NULL), keep
    set_params(&s.params, params)
    set_noise(s, noise)
    set_cell(s, cell)
    s.steps, s.N, s.S = len(rows), states.shape[0], states.shape[1]
    s.H = W.shape[1] // s.cell.gates
    s.start, s.rows = <int64_t*>memory(start), <int64_t*>memory(rows)
    s.x, s.h0, s.c0 = <floating*>placed(x, &s.x_at), <floating*>memory(h0), <floating*>memory(c0)
    # BLAS reads rows in order: x is not where another thread has chosen BLAS since the call began
    s.blas = _blas and s.x_at == NULL
    s.y = <floating*>placed(trace.y, &s.y_at)
    s.c, s.gates = <floating*>memory(trace.c), <floating*>memory(trace.gates)
    if s.cell.any:
        s.c_new = <floating*>memory(trace.c_new)
        s.x_hat, s.u_hat = <floating*>memory(trace.x_hat), <floating*>memory(trace.u_hat)
        s.x_scale, s.u_scale = <floating*>memory(trace.x_scale), <floating*>memory(trace.u_scale)
    return 0


cdef long row_distance(array):
    """Elements from row to row; 0 where one row stands for all."""
    if array is None or array.shape[0] == 1:
        return 0
    return array.shape[1]


cdef int set_noise(Scan[floating]* s, noise) except -1:
    if noise is SILENT:
        return 0
    s.mask = <floating*>memory(noise.mask)
    s.new_h, s.new_c = <floating*>memory(noise.new_h), <floating*>memory(noise.new_c)
    s.new_h_ld, s.new_c_ld = row_distance(noise.new_h), row_distance(noise.new_c)
    return 0
