"""The robot moves only when somebody said so, and an operator's hold outlives everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cells import MS, NOW_NS, sample

from edged.core.errors import EdgedError, RefusedError
from edged.core.types import Hold, Reason
from edged.guard.arming import Arming

AGE_NS = 50 * MS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / ".hold" / "pick"


def reason(verdict: Hold | None) -> Reason | None:
    return None if verdict is None else verdict.reason


def enabled(path: Path, start: str = "disarmed") -> Arming:
    return Arming(path, start, "enable", AGE_NS)  # type: ignore[arg-type]


def look(arming: Arming, value: float | None = None, age_ms: float = 1) -> Reason | None:
    return reason(arming.check(NOW_NS, None if value is None else sample("enable", age_ms, (value,))))


def test_a_policy_starts_disarmed_and_moves_after_resume(path: Path) -> None:
    arming = Arming(path, "disarmed")
    got = arming.check(NOW_NS)
    assert reason(got) is Reason.DISARMED
    assert got is not None
    assert "edged resume" in got.detail
    assert arming.state == "disarmed"
    arming.resume("ann")
    assert arming.check(NOW_NS) is None
    assert arming.state == "armed"


def test_armed_must_be_written_out(path: Path) -> None:
    assert Arming(path, "armed").check(NOW_NS) is None


def test_losing_track_disarms_until_resume(path: Path) -> None:
    arming = Arming(path, "armed")
    arming.disarm("j2 is 0.3 rad off")
    got = arming.check(NOW_NS)
    assert got is not None
    assert got.reason is Reason.DISARMED
    assert got.detail.startswith("j2 is 0.3 rad off; ")
    arming.resume("ann")
    assert arming.check(NOW_NS) is None


def test_a_hold_is_on_disk_before_it_is_answered_and_survives_a_restart(path: Path) -> None:
    arming = Arming(path, "armed")
    arming.hold("ann", "gripper jammed")
    assert "gripper jammed" in path.read_text(encoding="utf-8")
    for again in (arming, Arming(path, "armed")):
        got = again.check(NOW_NS)
        assert got is not None
        assert got.reason is Reason.OPERATOR
        assert "held by ann: gripper jammed" in got.detail
        assert again.state == "held"
    again.resume("bob")
    assert again.check(NOW_NS) is None
    assert Arming(path, "armed").check(NOW_NS) is None
    assert list(path.parent.iterdir()) == []


def test_a_hold_survives_sigkill(path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from edged.guard.arming import Arming\n"
        "Arming(Path(sys.argv[1]), 'armed').hold('ann'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert reason(Arming(path, "armed").check(NOW_NS)) is Reason.OPERATOR


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[]", b"null", b'{"who": ', b"[" * 5000])
def test_a_hold_file_nobody_can_read_is_a_hold(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert reason(Arming(path, "armed").check(NOW_NS)) is Reason.OPERATOR


@pytest.mark.parametrize("kind", ["pipe", "broken link", "folder", "endless"])
def test_whatever_else_lies_there_is_a_hold_and_keeps_nobody_waiting(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "broken link":
            path.symlink_to(path.with_name("nowhere"))
        case "folder":
            path.mkdir()
        case "endless":
            with path.open("wb") as file:
                file.truncate(1 << 40)
    assert Arming(path, "armed").state == "held"


def test_a_hold_that_cannot_be_written_holds_and_says_what_it_cannot_do(path: Path) -> None:
    path.parent.parent.mkdir()
    path.parent.write_text("a file where the folder should be", encoding="utf-8")
    arming = Arming(path, "armed")
    assert reason(arming.check(NOW_NS)) is Reason.OPERATOR  # unreadable is held from the start
    with pytest.raises(EdgedError, match="restart would forget"):
        arming.hold("ann")
    with pytest.raises(EdgedError, match="still holding"):
        arming.resume("ann")
    assert reason(arming.check(NOW_NS)) is Reason.OPERATOR


def test_the_enable_input_arms_by_its_rising_edge_only(path: Path) -> None:
    arming = enabled(path)
    assert look(arming) is Reason.DISABLED
    assert look(arming, 1) is Reason.DISARMED  # high before anybody looked
    assert look(arming, 0) is Reason.DISABLED
    assert arming.state == "disabled"
    assert look(arming, 1) is None
    assert look(arming, 0) is Reason.DISABLED
    assert look(arming, 1) is None


def test_resume_does_not_move_a_disabled_robot(path: Path) -> None:
    arming = enabled(path)
    arming.resume("ann")
    assert look(arming, 0) is Reason.DISABLED
    assert look(arming, 1) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_was_no_lowering(path: Path, value: float) -> None:
    """`null` of a gateway that lost its PLC is no hand on a switch."""
    arming = enabled(path, "armed")
    assert look(arming, 1) is None
    arming.disarm("j2 is 0.3 rad off")
    got = arming.check(NOW_NS, sample("enable", 1, (value,)))
    assert got is not None
    assert (got.reason, got.detail) == (Reason.DISABLED, f"enable is {value:g}, neither high nor low")
    assert look(arming, 1) is Reason.DISARMED
    assert look(arming, 0) is Reason.DISABLED
    assert look(arming, 1) is None


def test_an_enable_input_that_was_lost_has_to_be_raised_again(path: Path) -> None:
    arming = enabled(path, "armed")
    assert look(arming, 1) is None
    assert look(arming, 1, age_ms=51) is Reason.DISABLED
    arming.resume("ann")  # while it is lost: not meant for its return
    assert look(arming, 1) is Reason.DISARMED
    assert look(arming, 0) is Reason.DISABLED
    assert look(arming, 1) is None


def test_start_armed_waits_for_the_enable_input_only(path: Path) -> None:
    arming = enabled(path, "armed")
    assert look(arming) is Reason.DISABLED
    assert look(arming, 1) is None


def test_a_rising_edge_does_not_end_an_operators_hold(path: Path) -> None:
    arming = enabled(path, "armed")
    look(arming, 1)
    arming.hold("ann")
    assert look(arming, 0) is Reason.OPERATOR
    assert look(arming, 1) is Reason.OPERATOR
    arming.resume("ann")
    assert look(arming, 1) is None


def test_after_losing_track_a_rising_edge_arms(path: Path) -> None:
    arming = enabled(path, "armed")
    look(arming, 1)
    arming.disarm("lost")
    assert look(arming, 1) is Reason.DISARMED
    look(arming, 0)
    assert look(arming, 1) is None


def test_the_loop_reads_while_others_write(path: Path) -> None:
    arming = Arming(path, "armed")

    def toggle() -> None:
        for _ in range(8):
            arming.hold("ann")
            arming.resume("ann")

    writers = [threading.Thread(target=toggle) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert reason(arming.check(NOW_NS)) in (None, Reason.OPERATOR)
    assert arming.check(NOW_NS) is None
    assert not path.exists()


def test_a_lock_ends_by_the_way_it_came_or_at_the_console_also_after_a_restart(path: Path) -> None:
    arming = Arming(path, "armed")
    arming.hold("ann", "in the cell", lock="page ann")
    arming.hold("bob", "me too")  # a hold is never refused, and takes no lock away
    arming.hold("eve", "mine", lock="page eve")  # nor over
    for again in (arming, Arming(path, "armed")):
        assert again.describe() == {"arming": "held", "holder": "ann", "locked": True}
        for via in ("page bob", "page eve", "key cell"):
            with pytest.raises(RefusedError, match="ann locked the hold"):
                again.resume("somebody", via)
            assert again.state == "held"
    arming.resume("ann", "page ann")
    assert arming.state == "armed"
    assert not path.exists()
    arming.hold("ann", lock="page ann")
    arming.resume("root")
    assert arming.describe() == {"arming": "armed"}
    arming.hold("ann")
    arming.resume("bob", "page bob")  # without a lock anybody may
    assert arming.state == "armed"
