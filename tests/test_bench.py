"""The benchmark's own arithmetic, its order of events, and its reports."""

from __future__ import annotations

import doctest
import importlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastrnn

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # bench is a folder of the project, not of the installed package

agreement = importlib.import_module("bench.agreement")
bars = importlib.import_module("bench.bars")
contest = importlib.import_module("bench.contest")
limits = importlib.import_module("bench.limits")
problem = importlib.import_module("bench.problem")
readme = importlib.import_module("bench.readme")
report = importlib.import_module("bench.report")
results = importlib.import_module("bench.results")
runners = importlib.import_module("bench.runners")
timing = importlib.import_module("bench.timing")
whole = importlib.import_module("bench.whole")


def run_bench(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``python -m bench`` from the project root; ``path`` goes in front of the modules that it finds."""
    environment = {**os.environ, "PYTHONPATH": str(path or "")}
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def samples(*seconds: float) -> Any:
    return timing.Samples(list(seconds), 1)


@pytest.mark.parametrize("name", ["agreement", "bars", "problem", "report", "timing"])
def test_examples(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"bench.{name}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_geometric_mean() -> None:
    assert bars.geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert bars.geometric_mean([3.0, 3.0, 3.0]) == pytest.approx(3.0)
    with pytest.raises(ValueError, match="values must not be empty"):
        bars.geometric_mean([])


def test_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians() -> None:
    other, ours = [1.0, 10.0, 30.0], [1.0, 2.0, 30.0]
    assert timing.pairwise_ratio(other, ours) == 1.0
    assert np.median(other) / np.median(ours) == 5.0
    assert timing.pairwise_ratio([4.0], [2.0, 1.0, 1.0]) == 2.0


def test_the_best_peer_decides_the_ratio() -> None:
    found = contest.compare(
        {
            "fastrnn-cython": samples(1.0, 1.0),
            "fastrnn-numpy": samples(0.5, 0.5),
            "torch": samples(3.0, 3.0),
            "jax": samples(2.0, 2.0),
        },
        "fastrnn-cython",
    )
    assert found["ratios"] == {"fastrnn-numpy": 0.5, "torch": 3.0, "jax": 2.0}
    assert (found["best_peer"], found["ratio"]) == ("jax", 2.0)
    alone = contest.compare({"fastrnn-numpy": samples(1.0)}, "fastrnn-numpy")
    assert (alone["best_peer"], alone["ratio"]) == (None, None)


def test_tasks_take_turns_and_a_slow_one_leaves() -> None:
    calls: list[str] = []
    tasks = {
        name: runners.Task(lambda name=name: calls.append(name), lambda result: {}, max_rounds=most)
        for name, most in (("A", None), ("B", 1))
    }
    found = timing.race(tasks, timing.Schedule(rounds=3, seconds=0.0, sample=0.0))
    turns = [name for k, name in enumerate(calls) if k == 0 or calls[k - 1] != name]
    assert "".join(turns) == "ABABA"  # calibrate A, calibrate B, A, B, then A alone
    assert [len(found[name].seconds) for name in "AB"] == [3, 1]


def test_a_sample_lasts_as_long_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only the task moves: another program's turn while it is calibrated would make samples short."""
    now = [0.0]

    def call() -> None:
        now[0] += 9e-6

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    task = runners.Task(call, lambda result: {})
    repeats = timing.calibrate(task, 2e-3)
    assert 2e-3 <= repeats * 9e-6 <= 4e-3
    found = timing.race({"it": task}, timing.Schedule(rounds=2, seconds=0.0, sample=2e-3))["it"]
    assert found.seconds == pytest.approx([9e-6, 9e-6])
    assert found.repeats * 9e-6 >= 2e-3


def test_settling_waits_for_a_busy_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """On clocks that only sleeping moves: beside other programs a real thread may get no turn, and seem idle."""
    now, busy_until = [0.0], 0.2
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: min(now[0], busy_until))
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    assert timing.settle(5.0, interval=0.02)
    assert busy_until <= now[0] <= busy_until + 2 * 0.02
    busy_until = 10.0
    assert not timing.settle(5.0, interval=0.02)
    assert now[0] == pytest.approx(5.2, abs=0.05)
    assert not timing.settle(0.0)


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """CPUs that are whole and near each other at every look, unless a test says otherwise."""
    monkeypatch.setattr(whole, "speeds", lambda *_: [100.0, 100.0])
    monkeypatch.setattr(whole, "interpreter_speeds", lambda: [30.0, 30.0])
    monkeypatch.setattr(whole, "far_apart", lambda: False)
    monkeypatch.setattr(whole, "PAUSE_SECONDS", 0.001)
    return monkeypatch


def test_samples_wait_for_whole_cpus(undisturbed: pytest.MonkeyPatch) -> None:
    looks = iter([[100, 99], [95, 55], [52, 52], [90, 85], [110, 100], [60, 105], [60, 105]])
    undisturbed.setattr(whole, "speeds", lambda *_: next(looks))
    watch = whole.Watch(patience=30.0)
    assert watch.shared is None
    watch.wait()  # for the fourth look
    assert (watch.peak, watch.shared) == (100.0, 0.0)
    watch.wait()
    watch._patience = 0.0
    watch.wait()
    assert (watch.peak, watch.shared, watch.far) == (110.0, 1 / 3, 0.0)
    assert list(looks) == [[60, 105]]


def test_samples_wait_for_cpus_beside_which_nobody_works(undisturbed: pytest.MonkeyPatch) -> None:
    looks = iter([[20, 28], [18, 29], [30, 18], [30, 29], [31, 18]])
    undisturbed.setattr(whole, "interpreter_speeds", lambda: next(looks))
    watch = whole.Watch(patience=30.0)
    watch.wait()  # for the fourth look
    assert watch.shared == 0.0
    watch._patience = 0.0
    watch.wait()
    assert watch.shared == 0.5 and not list(looks)


def test_samples_wait_for_near_cpus(undisturbed: pytest.MonkeyPatch) -> None:
    looks = iter([True, True, False, True])
    undisturbed.setattr(whole, "far_apart", lambda: next(looks))
    watch = whole.Watch(patience=30.0)
    watch.wait()  # for the third look
    assert watch.far == 0.0
    watch._patience = 0.0
    watch.wait()
    assert (watch.shared, watch.far) == (0.0, 0.5)
    assert not list(looks)


def limit(shape: str, mode: str, threads: int = 1, peak: float | None = 100.0) -> Any:
    """In microseconds, of an LSTM."""
    found = limits.seconds(problem.make_problem("lstm", problem.Shape.parse(shape)), mode, threads, peak)
    return found if found is None else pytest.approx(found * 1e6)


def test_the_time_that_the_machine_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "reading_speed", lambda size: 1e11 if size >= 200_000 else 2e11)
    monkeypatch.setattr(fastrnn, "get_isa", lambda: "avx512")
    weights = 4 * 128 * 512  # bytes of U
    projecting = 100 * weights / 2 / 1e5
    assert limit("N1T100D128H128", "forward") == projecting + 100 * weights / 1e5
    assert limit("N1T100D128H128", "forward", threads=2) == projecting / 2 + 100 * weights / 2 / 2e5
    assert limit("N1T100D128H128", "training") == 2 * (projecting + 100 * weights / 1e5) + 2 * projecting
    assert limit("N1T1D128H128", "step") == 2 * weights / 1e5
    assert limit("N16T50D128H128", "forward") == 2 * 16 * 50 * weights / 2 / 1e5  # multiply-adds alone
    assert limit("N16T50D128H128", "training") == 6 * 16 * 50 * weights / 2 / 1e5
    assert limit("N1T100D128H128", "forward", peak=None) is None
    monkeypatch.setattr(fastrnn, "get_isa", lambda: "amx")
    assert limit("N1T100D128H128", "forward") is None


@pytest.mark.usefixtures("compiled")
def test_the_fastest_reading_seen_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = importlib.import_module("fastrnn.kernels")
    monkeypatch.setattr(limits, "_fastest", {})
    assert limits.reading_speed(100) > 1e8  # bytes per second, of as few as are measured
    assert list(limits._fastest) == [limits.SMALLEST]
    looks = iter([3.0, 5.0, 4.0, 2.0, 1.0, 4.5, 1.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(kernels, "read_peak", lambda size: next(looks))
    assert [limits.reading_speed(8192), limits.reading_speed(8192)] == [5e9, 5e9]


@pytest.mark.usefixtures("compiled")
def test_a_barrier_of_all_threads_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = importlib.import_module("fastrnn.kernels")
    before = fastrnn.get_num_threads()
    try:
        fastrnn.set_num_threads(2)
        assert 0 < kernels.barrier_seconds() < 0.01
        monkeypatch.setattr(whole, "FAR_SECONDS", 1.0)
        assert not whole.far_apart()
        monkeypatch.setattr(whole, "FAR_SECONDS", 0.0)
        assert whole.far_apart()
        fastrnn.set_num_threads(1)
        assert not whole.far_apart()
    finally:
        fastrnn.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs affinity")
@pytest.mark.usefixtures("compiled")
def test_the_speed_of_every_cpu_is_measured() -> None:
    before = os.sched_getaffinity(0)
    found, turns = whole.speeds(2), whole.interpreter_speeds()
    assert len(found) == 2 * len(before) and len(turns) == len(before)
    assert min(found) > 0.1 and 0.1 < min(turns) < 1000
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/stat")
def test_the_work_of_other_processes_is_seen() -> None:
    task = runners.Task(lambda: time.sleep(0.01), lambda result: {})
    command = [sys.executable, "-c", "import time; end = time.time() + 30\nwhile time.time() < end: pass"]
    with subprocess.Popen(command) as busy:
        try:
            _, conditions = contest.watched_race({"sleep": task}, timing.Schedule(rounds=20, seconds=0.0))
        finally:
            busy.kill()
    assert conditions["others_cpus"] > 0.2


class Liar(runners.Runner):
    """Agrees in everything but one element of y."""

    name = "liar"
    packages = ()

    def forward(self, given: Any, threads: int) -> Any:
        outputs = agreement.reference(given, "forward")
        outputs["y"][-1, -1, -1] += 1e-3 * np.abs(outputs["y"]).max()
        return runners.Task(lambda: outputs, lambda result: result)


def test_a_runner_that_disagrees_is_named_and_not_timed() -> None:
    given = problem.make_problem("lstm", problem.Shape(2, 3, 4, 5))
    field = {"fastrnn-numpy": runners.RUNNERS["fastrnn-numpy"], "liar": Liar()}
    record = contest.contest(given, "forward", field, 1, timing.Schedule(rounds=1, seconds=0.0, sample=0.0))
    assert list(record["runners"]) == ["fastrnn-numpy"]
    assert "y is off by 1.0e-03" in record["failed"]["liar"]


def test_nan_and_missing_outputs_disagree() -> None:
    expected = {"y": np.ones(3)}
    with pytest.raises(agreement.DisagreementError, match="does not compute y"):
        agreement.check(runners.Task(dict, lambda result: result), expected)
    with pytest.raises(agreement.DisagreementError, match="y is off by nan"):
        agreement.check(runners.Task(dict, lambda result: {"y": np.full(3, np.nan)}), expected)


def test_flops() -> None:
    full = problem.make_problem("gru", problem.Shape(4, 6, 8, 16))
    assert full.flops("forward") == 2 * 4 * 6 * (8 + 16) * 3 * 16
    assert full.flops("training") == 3 * full.flops("forward")
    ragged = problem.make_problem("gru", problem.Shape(4, 6, 8, 16), ragged=True)
    assert ragged.flops("forward") == full.flops("forward") * ragged.lengths.sum() / 24


def grid_run(ratio: float, quick: bool = False, rivals: tuple[str, ...] = ("torch", "onnxruntime", "jax")) -> Any:
    """A run of the whole grid, forward, in which every cell has the same ratio."""
    records = [
        {
            "cell": cell,
            **vars(shape),
            "mode": "forward",
            "ratio": ratio,
            "best_peer": "torch",
            "ours": "fastrnn-cython",
            "share": None,
            "ratios": {"torch": ratio},
            "failed": {},
            "runners": {name: {"median": 1.0} for name in ("fastrnn-cython", *rivals)},
        }
        for cell in problem.GRID_CELLS
        for shape in problem.GRID_SHAPES
    ]
    return {"threads": 1, "settings": {"quick": quick}, "records": records}


def verdict(sections: Any, name: str = "forward, best peer over ours, every cell") -> Any:
    return next(bar for bar in bars.judge(sections) if bar["name"] == name)


def test_bars() -> None:
    one, two = grid_run(2.0), {**grid_run(2.0), "threads": 2}
    assert verdict({"grid": [one, two]})["status"] == "pass"
    assert verdict({"grid": [one]})["status"] == "incomplete"
    assert verdict({})["status"] == "not measured"
    assert verdict({"grid": [grid_run(2.0, quick=True)] * 2})["status"] == "not measured"
    assert verdict({"grid": [grid_run(2.0, rivals=("torch",))] * 2})["status"] == "incomplete"
    two["records"][3]["ratio"] = 0.9
    lost = verdict({"grid": [one, two]})
    assert (lost["status"], lost["value"]) == ("fail", 0.9)
    assert lost["worst"].startswith("rnn_tanh N1 T100 D512 H512 forward, 2 threads")


def test_bar_of_a_geometric_mean() -> None:
    one, two = grid_run(2.0), {**grid_run(8.0), "threads": 2}
    mean = verdict({"grid": [one, two]}, "forward, best peer over ours")
    assert (mean["status"], mean["value"]) == ("pass", pytest.approx(4.0))


def test_a_bar_says_what_it_would_be_at_the_machines_limits() -> None:
    one, two = grid_run(2.0), {**grid_run(8.0), "threads": 2}
    name = "forward, best peer over ours"
    assert verdict({"grid": [one, two]}, name)["at_limit"] is None  # of a machine without
    for record in one["records"] + two["records"]:
        record["limit"] = 0.5  # seconds, of our 1.0
    assert verdict({"grid": [one, two]}, name)["at_limit"] == pytest.approx(8.0)
    one["records"][3]["limit"] = 0.8
    assert verdict({"grid": [one, two]}, f"{name}, every cell")["at_limit"] == pytest.approx(2.5)
    one["records"][3]["limit"] = None
    assert verdict({"grid": [one, two]}, name)["at_limit"] is None
    step = {
        "cell": "gru",
        "N": 1,
        "T": 1,
        "D": 32,
        "H": 32,
        "runners": {"fastrnn-cython": {"median": 2e-6}},
        "limit": 5e-7,
    }
    found = verdict({"step": [{**one, "records": [step]}]}, "streaming step, H32, µs")
    assert (found["value"], found["at_limit"]) == (pytest.approx(2.0), pytest.approx(0.5))


def test_bar_of_scaling() -> None:
    run = {**grid_run(2.0), "threads": 2}
    for record in run["records"]:
        record["one_over_all"] = 1.6 if record["N"] == 1 else 1.9
    name = "2 threads over 1, N = 1, H ≥ 256"
    found = verdict({"threads": [run]}, name)
    assert (found["value"], found["status"]) == (1.6, "incomplete")  # training is not there
    run["records"] += [{**record, "mode": "training"} for record in run["records"]]
    assert verdict({"threads": [run]}, name)["status"] == "pass"
    run["records"][0]["one_over_all"] = 0.5  # H32
    assert verdict({"threads": [run]}, name)["status"] == "pass"
    run["records"][2]["one_over_all"] = 1.4
    assert verdict({"threads": [run]}, name)["status"] == "fail"
    assert verdict({"threads": [{**run, "threads": 1}]}, name)["status"] == "not measured"


def test_losing_cells_and_missing_runners_stay_in_the_report(tmp_path: Path) -> None:
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "torch.py").write_text("raise ImportError('no torch today')\n")
    out = tmp_path / "out"
    done = run_bench(
        "--quick", "--threads", "1", "--runners", "fastrnn-numpy,torch", "--cells", "gru", "--out", str(out), path=shim
    )
    assert done.returncode == 0, done.stderr
    found = results.load(out / "results.json")
    assert found["sections"]["grid"][0]["missing"] == {"torch": "ImportError: no torch today"}
    assert "Missing: torch** (ImportError: no torch today)" in (out / "results.md").read_text()

    record = found["sections"]["grid"][0]["records"][0]
    record["others_cpus"] = 0.5
    assert "Disturbed**: gru N1 T10 D16 H16 forward: other processes used 0.50 CPUs" in report.markdown(found)
    record["others_cpus"], record["shared_cpus"] = 0.0, 0.25
    assert "Disturbed**: gru N1 T10 D16 H16 forward: 25% of the samples began on CPUs" in report.markdown(found)
    record["shared_cpus"], record["far_cpus"] = 0.0, 0.5
    assert "50% of the samples began on CPUs that were far apart" in report.markdown(found)
    record.update(ratio=0.25, best_peer="torch")
    assert "gru N1 T10 D16 H16 forward: 0.25 of torch" in report.markdown(found)


def test_a_quick_run_of_all_runners(tmp_path: Path) -> None:
    done = run_bench("--quick", "--threads", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = results.load(tmp_path / "results.json")
    (run,) = found["sections"]["grid"]
    present = [name for name in runners.RUNNERS if name not in run["missing"]]
    assert "fastrnn-numpy" in present
    assert len(run["records"]) == 2 * len(problem.GRID_CELLS) * len(problem.QUICK_SHAPES)
    for record in run["records"]:
        able = [name for name in present if record["mode"] in runners.RUNNERS[name].modes]
        assert list(record["runners"]) == able
        assert record["failed"] == {}
        for entry in record["runners"].values():
            assert entry["error"] <= agreement.TOLERANCE
            assert all(0 < second < 1 for second in entry["samples"])
            assert math.isclose(entry["gflops"], record["flops"] / entry["median"] / 1e9)
    assert run["environment"]["threads"] == 1
    assert run["environment"]["variables"]["OMP_NUM_THREADS"] == "1"
    assert all(bar["status"] == "not measured" for bar in found["bars"])
    text = (tmp_path / "results.md").read_text()
    assert text.count("| lstm | N1 T10 D16 H16 |") == 2
    for name, reason in run["missing"].items():
        assert f"Missing: {name}** ({reason})" in text


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_terminated_run_takes_its_worker_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--threads", "1", "--runners", "fastrnn-numpy", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert "grid, 1 thread" in run.stderr.readline()
        (worker,) = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        run.terminate()
        run.wait(timeout=30)
    assert run.returncode != 0
    assert not Path(f"/proc/{worker}").exists()


def test_sections_merge_into_one_file(tmp_path: Path) -> None:
    ours = ("--quick", "--runners", "fastrnn-numpy", "--threads", "1", "--out", str(tmp_path))
    for section in ("step", "ragged", "import", *(["memory"] if sys.platform == "linux" else [])):
        done = run_bench(section, *ours)
        assert done.returncode == 0, done.stderr
    sections = results.load(tmp_path / "results.json")["sections"]
    assert {record["mode"] for record in sections["step"][0]["records"]} == {"step"}
    assert all(record["ragged_over_padded"]["fastrnn-numpy"] > 0 for record in sections["ragged"][0]["records"])
    imported = {record["module"]: record for record in sections["import"][0]["records"]}
    assert imported["scipy.linalg"]["over_scipy_linalg"] == 1.0
    assert 0 < imported["fastrnn"]["median"] < 60
    if sys.platform == "linux":
        assert all(0 <= record["peak_bytes"] < 1e8 for record in sections["memory"][0]["records"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shapes", "N1T0D3H4"], "shape must look like"),
        (["--runners", "numpy"], "must be of fastrnn-cython"),
        (["step", "--quick", "--shapes", "N1T3D4H5"], "shapes of a step must have T1"),
        (["plot", "nothing.json"], "nothing.json"),
        (["import", "--cells", "gru"], "unrecognized arguments"),
    ],
)
def test_bad_options(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run_bench(*arguments, "--out", str(tmp_path))
    assert done.returncode != 0
    assert message in done.stderr


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for text in ("[]", json.dumps({"schema": 99}), "{"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"results\.json"):
            results.load(path)


def test_readme_table_holds_every_ratio_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    records = [
        {"cell": cell, "mode": mode, "N": s.N, "T": s.T, "D": s.D, "H": s.H, "ratio": None if s.H == 512 else 2.0}
        for cell in problem.GRID_CELLS
        for mode in ("forward", "training")
        for s in problem.GRID_SHAPES
    ]
    environment = {"cpu": {"model": "a CPU"}, "versions": {"torch": "2.0"}}
    run = {"threads": 1, "environment": environment, "records": records}
    path = tmp_path / "README.md"
    path.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    readme.write({"sections": {"grid": [run]}}, path)
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| N1 T100 D32 H32 | 2.00 | 2.00 | 2.00 |" in text
    assert "| N64 T50 D512 H512 | - | - | - |" in text
    assert "| geometric mean | - | - | - |" in text  # no mean over a grid with holes
    with pytest.raises(ValueError, match="must hold the lines"):
        path.write_text("nothing")
        readme.write({"sections": {"grid": [run]}}, path)
