"""The benchmark: fastrnn beside PyTorch, ONNX Runtime and JAX, in one process, interleaved, agreement first.

Run it from the project root: ``python -m bench`` (the grid), ``python -m bench threads | step | ragged | memory |
import`` (one more measurement each, merged into the same file), ``python -m bench all`` (everything), ``python -m bench
plot RESULTS.json``. Results go to ``--out`` (default ``bench/results``): ``results.json`` and ``results.md``.

What is timed
-------------
``forward``
    Inference of one layer over (T, N, D): y and the final state from x and an initial state.
``training``
    Forward, then backward from dy: y, final state, dx, dW, dU, db (and the GRU's db_rec), gradients of the initial
    state.
``step``
    One streaming step of one row (T = 1, N = 1), the state carried from call to call.

Rules
-----
Every runner gets its input in its natural layout, prepared outside the timing, and is first compared with the float64
NumPy reference: one that differs by more than 1e-4 of an array's scale is named and not timed. Then every runner is
warmed up, an inner repeat count is calibrated so that a sample lasts 5 ms, and the runners take turns, A B C A B C.
Reported are medians over the rounds, and ratios as the median of the round-by-round ratios. ``ratio`` is peer time
over our time against the best peer: above 1 we are faster. Each thread count has a process of its own, pinned to as
many CPUs. Peers are optional: one that is missing is named in the report.

results.json
------------
::

    {"schema": 1,
     "sections": {"grid" | "threads" | "step" | "ragged" | "memory" | "import": [run, ...]},
     "bars": [{"name", "bar", "value", "at_limit", "worst", "measured", "expected",
               "status": "pass" | "fail" | "incomplete" | "not measured"}, ...]}

    run = {"threads": int,
           "settings": {...},              # the options it ran with
           "environment": {...},           # CPU, flags, caches, pinning, versions, fastrnn.show_config()
           "missing": {runner: reason},
           "records": [record, ...]}

A record of grid and step::

    {"cell": "rnn_tanh" | "lstm" | "gru", "N", "T", "D", "H", "mode", "flops",
     "runners": {runner: {"median", "best", "samples": [s, ...],   # seconds per call, one sample per round
                          "repeats",                               # calls per sample
                          "gflops", "error"}},                     # largest scaled difference from the reference
     "failed": {runner: reason},           # disagreed or raised: not timed
     "others_cpus": CPUs that other processes kept busy meanwhile, on average, or null,
     "shared_cpus": share of samples that began on CPUs that were not whole (see bench/whole.py), or null,
     "far_cpus": on CPUs that were far apart, or null,
     "ours": runner or null, "ratios": {other runner: ratio},
     "best_peer": runner or null, "ratio": float or null,
     "fma_peak": GFLOP/s of one core, the best seen, or null, "share": of the peak of all threads or null,
     "limit": seconds that the machine allows (see bench/limits.py), or null}

A record of threads has ``runners`` "one" and "all", and ``one_over_all``, the ratio of their times or null.

A record of ragged has the same keys; its runners are labelled "NAME padded" and "NAME ragged", ``flops`` counts valid
steps, and ``ragged_over_padded`` maps each name to its ratio of times. A record of memory: ``runner, cell, N, T, D, H,
peak_bytes`` (growth of the peak resident set during the call), ``y_bytes, scratch_bytes``. A record of import:
``module, median, samples`` (seconds), ``over_scipy_linalg``.
"""
