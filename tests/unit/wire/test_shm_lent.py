"""Frames that readers have where they lie: unchanged while anybody has one, and nobody waits for whoever keeps them."""

from __future__ import annotations

import gc
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edged.wire import shm, slot_locks
from edged.wire.shm import KEPT, NEVER_LENT, RingFrame, RingReader, ring_path
from edged.wire.shm_writer import RingWriter

SHAPE = (8, 16, 3)
SLOTS = 6
LENT = SLOTS - NEVER_LENT


def new_name() -> str:
    return f"test-lent-{os.getpid()}-{random.getrandbits(32):x}"


@pytest.fixture
def name() -> Iterator[str]:
    name = new_name()
    yield name
    ring_path(name).unlink(missing_ok=True)


@pytest.fixture
def writer(name: str) -> Iterator[RingWriter]:
    with RingWriter(name, *SHAPE[:2], SLOTS) as writer:
        yield writer


def write(writer: RingWriter) -> None:
    """The next frame, all of its own number."""
    writer.write(np.full(SHAPE, (writer.seq + 1) % 251, np.uint8), 1)


def read(reader: RingReader, writer: RingWriter) -> RingFrame:
    """Write a frame and read it."""
    write(writer)
    frame = reader.read()
    assert frame is not None
    assert frame.seq == writer.seq
    return frame


def is_whole(frame: RingFrame) -> bool:
    return bool((frame.image == frame.seq % 251).all())


def is_lent(frame: RingFrame) -> bool:
    return not frame.image.flags.writeable


def test_a_frame_is_lent_and_stays_while_any_view_of_it_is_there(name: str, writer: RingWriter) -> None:
    reader, other = RingReader(name), RingReader(name)
    frame = read(reader, writer)
    assert is_lent(frame)
    seq, corner = frame.seq, memoryview(frame.image[2:4, ::2])
    del frame
    for _ in range(50):
        assert is_whole(read(other, writer))
        assert reader.read() is not None
    assert np.asarray(corner).shape == (2, 8, 3)
    assert (np.asarray(corner) == seq).all()
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(corner)[0] = 1


def test_readers_that_keep_everything_for_ever_cost_the_others_a_copy(name: str, writer: RingWriter) -> None:
    frozen = [RingReader(name) for _ in range(4)]
    kept = [[read(reader, writer) for _ in range(5)] for reader in frozen]
    assert [sum(map(is_lent, frames)) for frames in kept] == [KEPT, LENT - KEPT, 0, 0]
    reader = RingReader(name)
    for _ in range(20):
        frame = read(reader, writer)
        assert not is_lent(frame)
        assert is_whole(frame)
    assert reader.torn == 0
    assert all(is_whole(frame) for frames in kept for frame in frames)
    del kept
    assert not is_lent(read(reader, writer)), "what a reader had goes back with its next call"
    for one in frozen:
        one.tend()
    read(reader, writer)
    assert all(is_lent(read(reader, writer)) for _ in range(20))


def test_a_lent_frame_outlives_its_reader(name: str, writer: RingWriter) -> None:
    reader = RingReader(name)
    frame = read(reader, writer)
    reader.close()
    del reader
    gc.collect()
    for _ in range(20):
        write(writer)
    assert is_whole(frame)
    descriptor = os.open(ring_path(name), os.O_RDWR)
    try:
        assert not all(slot_locks.claim(descriptor, slot) for slot in range(LENT))
        del frame
        gc.collect()
        assert all(slot_locks.claim(descriptor, slot) for slot in range(LENT))
    finally:
        os.close(descriptor)


def test_a_lent_frame_outlives_its_ring(name: str) -> None:
    clock = itertools.count(0, shm.LOOK_NS)
    reader, kept = RingReader(name, lambda: next(clock)), []
    for _ in range(5):
        with RingWriter(name, *SHAPE[:2], SLOTS) as writer:
            kept += [read(reader, writer) for _ in range(3)]
    assert [is_lent(frame) for frame in kept] == [True, True, False] * 5
    assert all(is_whole(frame) for frame in kept)


def test_a_reader_that_is_killed_keeps_nothing(name: str, writer: RingWriter) -> None:
    code = "import sys; from edged.wire.shm import RingReader; r = RingReader(sys.argv[1]); f = r.read(); " \
           "print(f.image.flags.writeable, flush=True); input()"  # fmt: skip
    write(writer)
    descriptor = os.open(ring_path(name), os.O_RDWR)
    child = subprocess.Popen([sys.executable, "-c", code, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"False\n"
        assert not all(slot_locks.claim(descriptor, slot) for slot in range(LENT))
        child.kill()
        child.communicate()
        assert all(slot_locks.claim(descriptor, slot) for slot in range(LENT))
    finally:
        child.kill()
        child.communicate()
        os.close(descriptor)


@pytest.mark.parametrize("whose", ["the writer's", "the reader's"])
def test_without_such_locks_frames_are_copied(name: str, whose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as once:
        if whose == "the writer's":
            once.setattr(slot_locks, "_SET", None)
        writer = RingWriter(name, *SHAPE[:2], SLOTS)
    if whose == "the reader's":  # as where fcntl answers EINVAL
        monkeypatch.setattr(slot_locks, "keep", lambda *_: False)
    with writer:
        reader = RingReader(name)
        frames = [read(reader, writer) for _ in range(20)]
        assert not any(map(is_lent, frames))
        assert all(map(is_whole, frames))


def test_a_frame_that_was_overwritten_before_it_was_locked_is_not_lent(
    name: str, writer: RingWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = RingReader(name)
    write(writer)
    keep = slot_locks.keep

    def late(descriptor: int, slot: int) -> bool:
        for _ in range(2 * SLOTS):
            write(writer)
        return keep(descriptor, slot)

    with monkeypatch.context() as once:
        once.setattr(slot_locks, "keep", late)
        assert reader.read() is None
    assert reader.torn > 0
    assert all(is_lent(read(reader, writer)) for _ in range(20)), "and no lock was left"


def test_a_frame_that_could_not_be_filled_is_begun_again(writer: RingWriter) -> None:
    for _ in range(10):
        first = writer.begin()
        assert np.shares_memory(first, writer.begin())
        writer.commit(1)


class Ring(RuleBasedStateMachine):
    """A writer that restarts, three readers that come and go, and frames that are kept for any time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.name = new_name()
        self.clock = itertools.count(0, shm.LOOK_NS)  # so that readers look at each call whether the ring is another
        self.readers: dict[int, RingReader] = {}
        self.kept: list[tuple[RingFrame, int]] = []  # and the value of each of its pixels
        self.value = 0
        self.restart(SLOTS)

    @rule(slots=st.integers(3, 9))
    def restart(self, slots: int) -> None:
        if hasattr(self, "writer"):
            self.writer.close()
        self.writer = RingWriter(self.name, *SHAPE[:2], slots)

    @rule(times=st.integers(1, 8))
    def write(self, times: int) -> None:
        for _ in range(times):
            self.value = (self.value + 1) % 256
            self.writer.write(np.full(SHAPE, self.value, np.uint8), 1)

    @rule(number=st.integers(0, 2))
    def read(self, number: int) -> None:
        reader = self.readers.setdefault(number, RingReader(self.name, lambda: next(self.clock)))
        taken = reader._taken
        frame = reader.read()
        assert not reader.trouble
        assert reader.torn == 0
        if frame is None:
            assert self.writer.seq in (0, taken // shm.MOST_SLOTS)
        else:
            assert frame.seq == self.writer.seq
            self.kept.append((frame, self.value))

    @rule(number=st.integers(0, 2))
    def close(self, number: int) -> None:
        if number in self.readers:
            self.readers.pop(number).close()

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def drop(self, data: Any) -> None:
        self.kept.pop(data.draw(st.integers(0, len(self.kept) - 1)))

    @invariant()
    def what_is_kept_stays(self) -> None:
        assert all((frame.image == value).all() for frame, value in self.kept)

    def teardown(self) -> None:
        self.writer.close()


Ring.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestRing = Ring.TestCase
