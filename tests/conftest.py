"""Fixtures: what a test runs on. A test that takes one of them runs once for every choice this machine offers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import fastrnn

collect_ignore_glob = ["goldens/*"]  # the scripts that record them need their frameworks, which the tests do not


def _offered(kind: str, names: tuple[str, ...]) -> list[str | None]:
    """The ``names`` that ``fastrnn.set_<kind>`` accepts here; [None] where there is nothing to choose."""
    choose, chosen = (getattr(fastrnn, f"{verb}_{kind}", None) for verb in ("set", "get"))
    if choose is None or chosen is None:
        return [None]
    before = chosen()
    offered: list[str | None] = []
    for name in names:
        try:
            choose(name)
        except (ImportError, ValueError, RuntimeError):
            continue
        offered.append(name)
    if offered:
        choose(before)
    return offered or [None]


def _chosen(kind: str, name: str | None) -> Iterator[str | None]:
    if name is None:
        yield None
        return
    choose, before = getattr(fastrnn, f"set_{kind}"), getattr(fastrnn, f"get_{kind}")()
    choose(name)
    yield name
    choose(before)


@pytest.fixture(params=fastrnn.available_backends())
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every backend that is there."""
    with fastrnn.use_backend(request.param):
        yield request.param


@pytest.fixture
def compiled() -> Iterator[None]:
    """The compiled backend."""
    if "cython" not in fastrnn.available_backends():
        pytest.skip("the compiled backend is not installed")
    with fastrnn.use_backend("cython"):
        yield


@pytest.fixture
def simd(compiled: None) -> Iterator[None]:
    """The packed kernels, which alone promise the same bits for any chunks."""
    before = fastrnn.get_gemm()
    fastrnn.set_gemm("simd")
    yield
    fastrnn.set_gemm(before)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Both dtypes of parameters."""
    return request.param


@pytest.fixture(params=_offered("isa", ("baseline", "avx2", "avx512", "amx")), ids=lambda name: name or "isa-default")
def isa(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Every instruction set that the compiled backend has here."""
    yield from _chosen("isa", request.param)


@pytest.fixture(params=_offered("gemm", ("simd", "blas")), ids=lambda name: name or "gemm-default")
def gemm(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Every way in which the compiled backend multiplies."""
    yield from _chosen("gemm", request.param)


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore the number of threads."""
    before = fastrnn.get_num_threads()
    yield
    fastrnn.set_num_threads(before)
