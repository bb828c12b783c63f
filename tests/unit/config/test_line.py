"""Triggers and several cameras: what the config refuses, and with which words."""

from __future__ import annotations

import pytest
from configs import Write, faults, quiet_environment, write

from edged.config import load_config, streams
from edged.config.trigger import TriggerConfig

__all__ = ["quiet_environment", "write"]
CAMERA = """
[cameras.{0}]
uri = "/dev/video{1}"
width = 640
height = 480
fps = 25
"""
LINE = CAMERA.format("line", 0) + '[engine]\nname = "plate"\n[inspection]\n'
TRIGGER = '[trigger]\ncamera = "free"\nwindow_ms = 15\n'
TWO = CAMERA.format("left", 0) + CAMERA.format("right", 1) + '[engine]\nname = "plate"\n[inspection]\n'


def test_a_trigger_gives_a_daemon_requests_and_results(write: Write) -> None:
    config = load_config(write(LINE + TRIGGER))
    assert {"masks", "results", "triggers"} <= set(streams(config))
    assert not config.triggered
    assert config.trigger is not None
    assert config.trigger.settle_ns == (30 + 50) * 1_000_000


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (LINE + TRIGGER.replace("15", "20"), "trigger.window_ms", "less than 20, half of cameras.line's period"),
        (LINE.replace("[inspection]\n", "") + TRIGGER, "trigger", "an [inspection] section"),
        (TWO + TRIGGER, "trigger", "exactly one camera"),
        (LINE + TRIGGER + "deadline_ms = 80\n", "trigger.deadline_ms", "more than 80"),
        (LINE + TRIGGER + '[execution]\ninference = "inline"\n', "execution.inference", "no tick waits for a part"),
        (LINE + '[execution]\noverlap = true\ninference = "inline"\n', "execution.overlap", "a tick that waits runs"),
        (LINE + TRIGGER + 'input = "sensor:barrier"\n', "trigger.input", "none is configured"),
        (LINE + TRIGGER + 'input = "button:3"\n', "trigger.input", "gpio"),
        (LINE + TRIGGER + "windows_ms = 4\n", "trigger.windows_ms", "known are camera, delay_ms, window_ms"),
        (LINE + '[trigger]\ncamera = "free"\n', "trigger.window_ms", "missing"),
        (LINE.replace("/dev/video0", "replay:x.npz") + TRIGGER, "cameras.line.uri", "cannot be triggered"),
        (LINE + TRIGGER + "late_ms = 50000\ndeadline_ms = 60000\n", "trigger.late_ms", "frames would be kept"),
        (LINE + TRIGGER + '[bus]\nbind.triggers = "tcp://0.0.0.0:5"\n', "bus.bind.triggers", "needs keys"),
        (TWO + '[execution]\ncameras = ["left", "top"]\n', "execution.cameras", "which top is not: left, right"),
        (TWO + '[execution]\ncameras = ["left", "left"]\n', "execution.cameras", "each camera once"),
        (TWO + '[execution]\ncameras = ["left"]\n[loop]\nclock = "camera:left"\n', "loop.clock", "'timer'"),
        (
            TWO.replace("480", "360", 1)
            + '[[inspection.rules]]\nname = "a"\nmax_count = 0\nregion = [[0, 0], [9, 0], [9, 9]]\n'
            + '[execution]\ncameras = ["left", "right"]\n',
            "execution.cameras",
            "cameras of one size",
        ),
        (  # it lies in the picture of a camera that is not looked at
            TWO.replace("640", "1920").replace("1920", "640", 1)
            + '[[inspection.rules]]\nname = "a"\nmax_count = 0\nregion = [[700, 0], [900, 0], [900, 90]]\n'
            + '[execution]\ncameras = ["left"]\n',
            "inspection.rules.0.region",
            "640x480: all of it lies outside",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_what_can(write: Write, text: str, key: str, said: str) -> None:
    told = [line for line in faults(write(text)) if key in line]
    assert told
    assert any(said in line for line in told), told


def test_each_of_several_cameras_has_its_masks(write: Write) -> None:
    config = load_config(write(TWO + '[execution]\ncameras = ["right", "left"]\n'))
    assert {"masks", "masks-left", "masks-right", "results"} <= set(streams(config))


def test_as_many_pictures_are_kept_as_a_late_trigger_may_want() -> None:
    trigger = TriggerConfig(camera="hardware", window_ms=10, late_ms=100)
    assert trigger.images(30) >= 30 * 0.12 + 1


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ("[[0, 0], [99, 99], [99, 0], [0, 99]]", "the edges behind corners 1 and 3 cross"),
        ("[[0, 0], [9, 9], [20, 20], [300, 300]]", "lie on a line"),
        ("[[0, 0], [9, 9], [0, 0]]", "three corners"),
        ("[[640, 0], [700, 0], [700, 99], [640, 99]]", "640x480: all of it lies outside"),
        ("[[0, -50], [99, -50], [99, 0], [0, -0.5]]", "outside"),
    ],
)
@pytest.mark.parametrize("key", ["region = {}", "ignore = [[[0, 0], [9, 0], [9, 9]], {}]"])
def test_a_region_that_counts_other_than_what_was_drawn_is_refused(
    write: Write, region: str, said: str, key: str
) -> None:
    rule = '[[inspection.rules]]\nname = "a"\nmax_count = 0\n' + key.format(region) + "\n"
    (told,) = faults(write(LINE.replace("[inspection]\n", "") + rule))
    assert said in told, told
    fine = rule.replace(region, "[[-5, -5], [99, -5], [99, 99], [50, 20], [-5, 99]]")  # concave, and partly outside
    assert load_config(write(LINE.replace("[inspection]\n", "") + fine)).inspection.rules
