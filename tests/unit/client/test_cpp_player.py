"""The player in C++ commands what the one in Python does, to 1e-9, and allocates nothing."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cpp_reader import SANITIZED, build, environment
from golden.make_player import AXES, BOOT, HERE, MS, NAMES, START, Daemon

from edged.client import Lost, Player
from edged.core.types import Reason
from edged.wire import decode, encode

TRACES = sorted(HERE.glob("player_*.txt"))


@pytest.fixture(scope="module")
def program() -> Path:
    return build("player", *SANITIZED)


def played(program: Path, text: str) -> list[str]:
    done = subprocess.run([program, "trace"], input=text, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[:4000]
    return done.stdout.splitlines()


@pytest.mark.parametrize("names", ["", "j1 j2 j1"])
def test_names_that_are_no_axes_are_refused(program: Path, names: str) -> None:
    done = subprocess.run(
        [program, "trace"], input=f"player 8.0 0.05 {names}\n", capture_output=True, text=True, env=environment()
    )
    assert done.returncode != 0
    assert "names are the axes: one at least, none empty, none twice" in done.stderr


def same(line: str, expected: str) -> None:
    words, wanted = line.split(), expected.split()
    assert words[:3] == wanted[:3]
    assert len(words) == len(wanted)
    np.testing.assert_allclose(
        np.array(words[3:], np.float64), np.array(wanted[3:], np.float64), rtol=0, atol=1e-9, err_msg=expected
    )


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_it_commands_what_the_golden_traces_say(program: Path, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    asked = [line for line in text.splitlines() if line.startswith("ask")]
    lines = [line for line in played(program, text) if line.startswith("ask")]
    assert len(lines) == len(asked) > 100
    for line, expected in zip(lines, asked, strict=True):
        same(line, expected)


def turned(draw: random.Random, data: bytes) -> bytes:
    """The same action with its axes in another order, others among them or one of them missing, other units, or a
    number that is none."""
    message = decode(data)
    order = draw.sample([*range(len(NAMES)), *range(draw.choice([0, 0, 1, 3]))], draw.choice([2, 3, 3, 3, 3]))
    order = order if draw.random() < 0.5 else [*order, *(axis for axis in range(len(NAMES)) if axis not in order)]
    others = draw.choice([0, 0, 1, 60])
    names = [*(NAMES[axis] for axis in order), *(f"other{number}" * 5 for number in range(others))]
    units = draw.choice([[AXES["units"][axis] for axis in order] + ["rad"] * others, ["rad"] * len(names), None])
    arrays = []
    for name in ("action", "velocity"):
        rows = np.array(message.arrays[name])[:, [*order, *[0] * others]]
        if draw.random() < 0.05:
            rows[-1, draw.randrange(rows.shape[1])] = draw.choice([np.nan, np.inf, -np.inf])
        arrays.append((name, rows))
    header = {key: value for key, value in message.header.items() if key not in ("arrays", "units")}
    header |= {"names": names, **({"units": units} if units else {})}
    return encode(message.topic, message, header, arrays[: draw.choice([1, 2, 2])])


def a_day(seed: int) -> list[str]:
    """Anything that may happen to a player, in no order: plans far and near, single steps, ways to rest, stops heard
    and missed, silence, callers that are away, clocks that leap, drives that were moved, messages late and of another
    machine."""
    draw = random.Random(seed)
    daemon = Daemon()
    lines, silent, away, offset, turning, leapt = [], 0, 0, 0.0, 0, 0
    rest_at = draw.randrange(900)
    for now in range(1500):
        if draw.random() < 0.003:
            leapt += draw.choice([-400, -30, -15, 30, 1000])
        now_ns = START + (now + leapt) * MS + draw.randrange(MS)
        silent, away = max(0, silent - 1), max(0, away - 1)
        if 0 <= now - rest_at < 550:  # a stop, a way to rest, and then nothing
            if now in (rest_at, rest_at + 150):
                message = daemon.hold(now_ns, Reason.OPERATOR) if now == rest_at else daemon.tail(now_ns)
                lines.append(f"feed {now_ns} {message.hex()}")
            lines.append(f"lost {now_ns}" if now % 40 == 0 else f"ask {now_ns}")
            continue
        if draw.random() < 0.004:
            silent = draw.randrange(250)
        if draw.random() < 0.004:
            away = draw.choice([draw.randrange(60), 400])
        if draw.random() < 0.01:
            offset = draw.choice([0, 0.00005, 0.02, -0.04, 0.049, 0.07])
        if draw.random() < 0.003:
            daemon.motion += 1
        if draw.random() < 0.004:
            lines.append(f"feed {now_ns} {daemon.hold(now_ns, draw.choice(list(Reason))).hex()}")
        elif now % 10 == 0 and not silent:
            at_ns = now_ns - draw.choice([0, 0, 0, 30 * MS, 150 * MS, -5 * MS])
            message = bytearray(
                daemon.tail(at_ns)
                if draw.random() < 0.1
                else daemon.action(at_ns, offset, draw.choice([1, 2, 12]), draw.random() < 0.1)
            )
            if draw.random() < 0.1:
                turning = draw.choice([0, draw.randrange(1, 1 << 30)])
            if turning:
                message = bytearray(turned(random.Random(turning), bytes(message)))
            if draw.random() < 0.02:
                message[16 + 56] ^= 1  # of another machine
            lines.append(f"feed {now_ns} {message.hex()}")
        elif silent and now % 50 == 0:
            lines.append(f"lost {now_ns}")
        elif draw.random() < 0.01:
            values = [np.sin(now / 1000) + draw.uniform(-0.06, 0.06), 0.5 * np.cos(now / 500), 0.0]
            values[1] = draw.choice([values[1]] * 8 + [np.nan, np.inf])
            lines.append(f"stands {now_ns} {' '.join(map(repr, map(float, values)))}")
        if not away:
            lines.append(f"ask {now_ns}")
    return lines


def answer(player: Player, line: str) -> str | None:
    what, now, *more = line.split()
    if what == "feed":
        refused = player.feed(decode(bytes.fromhex(more[0])), int(now))
        return f"fed {refused}|{player.stopped}"
    if what == "lost":
        player.feed(Lost(150.0, "silent"), int(now))
        return f"lost |{player.stopped}"
    if what == "stands":
        player.stands([float(word) for word in more])
        return None
    command = player.command(int(now))
    numbers: list[float] = []
    if command.values is not None and command.velocities is not None:
        numbers = [*command.values.tolist(), *command.velocities.tolist()]
    return " ".join(["ask", now, command.state, *map(repr, numbers)])


def compare(program: Path, seed: int) -> set[str]:
    lines = a_day(seed)
    given = [f"player 8.0 0.05 {' '.join(NAMES)}", *lines]
    player = Player(NAMES, 8.0, 0.05, BOOT)
    wanted = [said for line in lines if (said := answer(player, line)) is not None]
    kinds = set()
    for line, expected in zip(played(program, "\n".join(given)), wanted, strict=True):
        if expected.startswith("ask"):
            same(line, expected)
            kinds.add(expected.split()[2])
        else:
            assert line == expected, seed
            kinds.add(expected.split("|")[0])
    return kinds


def test_whatever_happens_both_command_the_same(program: Path) -> None:
    kinds = set().union(*(compare(program, seed) for seed in range(6)))
    assert kinds >= {
        "moving",
        "tail",
        "holding",
        "lost",
        "fed ",
        "fed expired",
        "fed too far",
        "fed braking",
        "fed future",
        "fed other axes",
        "fed not finite",
    }


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_days_are_commanded_alike(program: Path, soak_scale: float) -> None:
    for seed in range(round(100 * soak_scale)):
        compare(program, seed)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_nothing_is_allocated_after_the_first_message(path: Path) -> None:
    counting = build("player", "-O2", "-DCOUNT_ALLOCATIONS")
    done = subprocess.run([counting, "repeat", path], capture_output=True, text=True, check=True)
    fed = sum(line.startswith("feed") for line in path.read_text(encoding="utf-8").splitlines())
    asked = sum(line.startswith("ask") for line in path.read_text(encoding="utf-8").splitlines())
    assert done.stdout == f"0 allocations in {fed} messages and {asked} commands\n"


def test_the_hook_counts(tmp_path: Path) -> None:
    """A message of more knots than there is room for: the one that does allocate."""
    daemon = Daemon()
    lines = ["player 8.0 0.05 j1 j2 tool", f"feed {START} {daemon.action(START).hex()}"]
    lines.append(f"feed {START + MS} {daemon.action(START + MS, knots=300).hex()}")
    lines.append(f"ask {START + MS}")
    (tmp_path / "trace").write_text("\n".join(lines), encoding="utf-8")
    counting = build("player", "-O2", "-DCOUNT_ALLOCATIONS")
    done = subprocess.run([counting, "repeat", tmp_path / "trace"], capture_output=True, text=True, check=True)
    assert done.stdout == "1 allocations in 2 messages and 1 commands\n"
