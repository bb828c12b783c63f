"""Whatever bytes arrive: the one exception that was promised, in bounded time and memory."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import fuzz
import pytest
from hypothesis import strategies as st

SOAK_S = 120.0
SAMPLED = 30  # examples in the default suite, each with forty changed copies


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Refusals are logged, thousands of them."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_what_once_broke_a_reader_does_not_any_more(name: str) -> None:
    target = fuzz.load(name)
    for data in (*target.seeds, *target.corpus().values()):
        target.run(data)


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_some_examples_break_no_reader(name: str, tmp_path: Path) -> None:
    assert fuzz.fuzz(fuzz.load(name), tmp_path / name, examples=SAMPLED) >= SAMPLED


def long_run(name: str, found: Path, seconds: float) -> int:
    """In a process of its own."""
    logging.disable(logging.WARNING)
    return fuzz.fuzz(fuzz.load(name), found, seconds)


@pytest.fixture(scope="module")
def long_runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, soak_scale: float
) -> Iterator[dict[str, Future[int]]]:
    """Those that were asked for, two at a time: each is busy on one processor."""
    asked = [item for item in request.session.items if isinstance(item, pytest.Function)]
    names = [item.callspec.params["name"] for item in asked if "long_runs" in item.fixturenames]
    folder = tmp_path_factory.mktemp("found")
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield {name: pool.submit(long_run, name, folder / name, SOAK_S * soak_scale) for name in names}
        pool.shutdown(cancel_futures=True)


@pytest.mark.soak
@pytest.mark.timeout(86_400)
@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_two_minutes_of_examples_break_no_reader(
    name: str, long_runs: dict[str, Future[int]], soak_scale: float, record_property: Callable[[str, object], None]
) -> None:
    count = long_runs[name].result()
    record_property("examples", count)
    print(f"{name}: {count} inputs")
    assert count > 1000 * min(1.0, soak_scale)


def test_every_corpus_belongs_to_a_target() -> None:
    assert {path.name for path in fuzz.CORPUS.iterdir()} <= set(fuzz.TARGETS)


def test_a_reader_that_breaks_its_promise_is_found(tmp_path: Path) -> None:
    """The fuzzer itself: what fails is kept as bytes."""

    def check(data: bytes) -> None:
        if b"\x7f" in data:
            raise IndexError

    target = fuzz.Target("header", check, (b"abc",), fuzz.bytes_of((b"abc",)))
    with pytest.raises(IndexError):
        fuzz.fuzz(target, tmp_path / "found")
    assert b"\x7f" in (tmp_path / "found").read_bytes()


def test_the_time_counts_however_slow_a_reader_is(tmp_path: Path) -> None:
    """A round of Hypothesis would be 500 examples with 40 changed copies each: 6 minutes of this reader."""
    target = fuzz.Target("header", lambda data: time.sleep(0.02), (b"abc",), fuzz.bytes_of((b"abc",)))
    began_s = time.monotonic()
    assert 1 <= fuzz.fuzz(target, tmp_path / "found", 0.5) <= 26
    assert time.monotonic() - began_s < 60


def test_what_fails_in_the_last_moment_is_still_made_small(tmp_path: Path) -> None:
    """Shrinking goes on when the time is over: what fails once and then never again would be called flaky."""

    def check(data: bytes) -> None:
        time.sleep(0.01)
        if len(data) > 1:
            raise IndexError

    target = fuzz.Target("header", check, (b"abc",), st.binary(max_size=20), mutants=0)
    with pytest.raises(IndexError):
        fuzz.fuzz(target, tmp_path / "found", 0.3)
    assert len((tmp_path / "found").read_bytes()) == 2


def test_a_reader_that_takes_too_much_is_found(tmp_path: Path) -> None:
    target = fuzz.Target(
        "header", lambda data: bytearray(1 << 20).clear(), (b"a",), fuzz.bytes_of((b"a",)), most_mb=0.5
    )
    with pytest.raises(AssertionError, match="1 bytes took 1 MB"):
        target.run(b"a")
