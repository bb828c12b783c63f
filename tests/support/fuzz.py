"""Fuzzing: bytes from outside against what reads them, with the one exception that was promised and bounds besides.

A target is a file in `fuzz_targets/`: what reads, examples of what is right, and how to make some that are nearly
right. What once broke a reader lies in `tests/corpus/<target>/` and is read again by every run. `bytes_of` changes
examples by bits, by pieces and by crossing two; a run of minutes goes on until its time has passed.

    python tests/support/fuzz.py TARGET [SECONDS]      the same guided by coverage, with atheris (pip install atheris)
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import os
import random
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from edged.core.errors import EdgedError

TARGETS = ("wire", "header", "codec", "control", "manifest", "bundle", "journal")
CORPUS = Path(__file__).parents[1] / "corpus"
LONGEST_ERROR = 3000  # characters
MOST_CPU_S = 2.0  # an input here is at most some 100 KB; the slowest takes a tenth of this
ROUND = 500  # examples of one call of Hypothesis: it slows down with each that it remembers
# What breaks those who count: the ends of the integers, of msgpack's and zip's lengths, of text.
NUMBERS = tuple(
    value.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for value in (0, 1, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1, (1 << 8 * size) - 1)
    for order in ("little", "big")
)
WORDS = (*NUMBERS, b"\0" * 8, b"\xff" * 9, b"NaN", b"-1", b"1e999", b"\xed\xa0\x80", b"[" * 2000, b"\x91" * 2000, b"\n")


@dataclass(frozen=True)
class Target:
    """`check` reads the bytes and lets pass what was promised alone. `seeds`: bytes that are right.

    `nearly`: more bytes that are nearly so. `most_mb`: memory that one input may take at its peak. `mutants`:
    changed copies of each example.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    nearly: st.SearchStrategy[bytes]
    most_mb: float = 16.0
    mutants: int = 40

    def corpus(self) -> dict[str, bytes]:
        """What broke a reader once, by name."""
        return {path.name: path.read_bytes() for path in sorted((CORPUS / self.name).glob("*"))}

    def run(self, data: bytes) -> None:
        """Read `data` within the bounds; raises whatever was not promised, AssertionError for what costs too much."""
        tracemalloc.start()
        try:
            began_s = time.process_time()
            self.check(data)
            took_s, took_mb = time.process_time() - began_s, tracemalloc.get_traced_memory()[1] / 1e6
        finally:
            tracemalloc.stop()
        assert took_s < MOST_CPU_S, f"{len(data)} bytes took {took_s:.1f} s"
        assert took_mb < self.most_mb, f"{len(data)} bytes took {took_mb:.0f} MB"

    def examples(self) -> st.SearchStrategy[bytes]:
        """Bytes to try."""
        seeds = (*self.seeds, *self.corpus().values())
        return st.one_of(self.nearly, bytes_of(seeds), changed(self.nearly), st.binary(max_size=300))


def in_memory(name: str) -> Path:
    """A folder for this process alone, where nothing has to wait for a disk; gone when the process ends."""
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix=name, dir=memory if os.access(memory, os.W_OK) else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def check_helpful(error: EdgedError) -> None:
    """An error says what is wrong and what to do, so that it can be shown: not for pages, and a terminal obeys none."""
    text = str(error)
    assert error.fact
    assert error.remedy
    assert len(text) < LONGEST_ERROR, text
    assert text.isprintable()


def load(name: str) -> Target:
    """The target of this name."""
    target = importlib.import_module(f"fuzz_targets.{name}").TARGET
    assert isinstance(target, Target)
    return target


Edit = tuple[int, int, int, bytes]
_PUT = st.sampled_from(WORDS) | st.binary(max_size=9)
_EDITS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1 << 20), st.integers(0, 1 << 12), _PUT), max_size=6)


def edited(data: bytes, edits: Sequence[Edit], other: bytes) -> bytes:
    """`data` with bits turned, pieces put in, over, away, twice, or from `other`."""
    made = bytearray(data)
    for kind, where, size, word in edits:
        at = where % (len(made) + 1)
        match kind:
            case 0 if at < len(made):
                made[at] ^= 1 << size % 8
            case 1:
                made[at:at] = word
            case 2:
                made[at : at + len(word)] = word
            case 3:
                del made[at : at + size]
            case 4:
                made[at:at] = made[at : at + size]
            case 5:
                del made[at:]
            case 6:
                made[at:] = other[where % (len(other) + 1) :]
    return bytes(made)


def changed(these: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Some of `these`, changed."""
    return st.builds(edited, these, _EDITS, these)


def bytes_of(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Changed examples."""
    return changed(st.sampled_from(list(seeds)))


def values(depth: int = 12) -> st.SearchStrategy[object]:
    """Whatever a map may hold, of every type, and sizes at which readers break."""
    texts = st.text(max_size=20) | st.sampled_from(["", "x" * 300, "\x1b[2J\n", "\u202e", "../../etc", "current", "1"])
    integers = st.integers(-(1 << 63), (1 << 64) - 1) | st.sampled_from([0, 1, -1, 1 << 62, 1 << 63, 255, 256])
    plain = st.none() | st.booleans() | integers | st.floats() | texts | st.binary(max_size=20)
    return st.recursive(
        plain, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=6), max_leaves=depth
    )


def fuzz(target: Target, found: Path, seconds: float = 0.0, examples: int = ROUND) -> int:
    """Try inputs until `seconds` have passed, or else `examples` of them, each with some changed copies; returns how
    many inputs that were. What fails lies in `found` afterwards; an example is as small as Hypothesis could make it.
    A reader that is slow has fewer inputs, not more time."""
    count, began_s, number, has_failed = 0, time.monotonic(), time.time_ns(), False

    def is_over() -> bool:
        return seconds > 0 and count > 0 and time.monotonic() - began_s >= seconds

    def attempt(data: bytes, chance: int) -> None:
        nonlocal count, has_failed
        for one in (data, *mutants(data, target.seeds, chance, target.mutants)):
            if is_over() and not has_failed:  # what failed is tried until it is small
                return
            count += 1
            try:
                target.run(one)
            except BaseException:
                has_failed = True
                found.write_bytes(one)
                raise

    chosen = settings(
        max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink), derandomize=False,
    )  # fmt: skip
    while not count or (seconds > 0 and not is_over()):
        number += 1
        run = seed(number if seconds else 1)(chosen(given(target.examples(), st.integers(0, 1 << 32))(attempt)))
        try:
            run()
        except BaseException:
            print(f"{target.name}: what fails is in {found}; once it is mended it belongs into {CORPUS / target.name}")
            raise
    return count


def mutants(data: bytes, seeds: Sequence[bytes], chance: int, count: int) -> Iterator[bytes]:
    """Changed copies, made without Hypothesis, which takes 10 ms for an example that a reader refuses in 10 us."""
    dice = random.Random(chance)
    for _ in range(count):
        edits = [
            (dice.randrange(7), dice.randrange(1 << 20), dice.randrange(1 << dice.randrange(12)), dice.choice(WORDS))
            for _ in range(dice.randint(1, 4))
        ]
        yield edited(data, edits, dice.choice(seeds))


def guided(name: str, seconds: str) -> None:
    """Never returns: atheris ends the process, with a `crash-…` file if something was found."""
    import atheris  # type: ignore[import-not-found]

    folder = Path(f"/tmp/edged-fuzz-{name}")
    folder.mkdir(exist_ok=True)
    with atheris.instrument_imports(include=["edged", "zipfile", "numpy.lib"]):
        target = load(name)
    for data in (*target.seeds, *target.corpus().values()):
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    options = [f"-max_total_time={seconds}", "-max_len=65536", "-timeout=10", "-rss_limit_mb=1000", str(folder)]
    atheris.Setup([sys.argv[0], *options], target.check)  # it has bounds of its own
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    sys.modules["fuzz"] = sys.modules["__main__"]
    guided(sys.argv[1], (sys.argv[2:] or ["120"])[0])
