"""`edged set`: what may stand for a value, and what becomes of it in a daemon."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cells
import msgspec
import numpy as np
import pytest
from fake_daemon import Machine, edged, machine
from scripted import ScriptedCell, ScriptedEngine

from edged.bundle.roles import ConstInput
from edged.cli.set import read_value
from edged.core.errors import UsageError
from edged.pipeline.pipeline import make_pipeline
from edged.runtime.clients import Client
from edged.runtime.control import Operation, answer
from edged.swap.operations import Operations

__all__ = ["machine"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("-0.5", -0.5), ("0.1,0.2", [0.1, 0.2]), ("[1, 2]", [1, 2]), ("[[1,2],[3,4]]", [[1, 2], [3, 4]])],
)
def test_numbers_and_lists(text: str, value: Any) -> None:
    assert read_value(text) == value


def test_files(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text("[101, 2023]")
    np.save(tmp_path / "goal.npy", np.array([[0.5, 1.5]]))
    assert read_value(f"@{tmp_path}/tokens.json") == [101, 2023]
    assert read_value(f"@{tmp_path}/goal.npy") == [[0.5, 1.5]]


@pytest.mark.parametrize("text", ["pour", "1,", "[1", "1;2", "@/nowhere.json", "[" * 100_000, "1" * 5000])
def test_what_is_no_value(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_value(text)
    assert caught.value.remedy
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    (tmp_path / "empty.npy").touch()
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in ("objects.npy", "empty.npy", "deep.json"):
        with pytest.raises(UsageError, match="holds no value"):
            read_value(f"@{tmp_path}/{name}")


def test_a_number_below_zero_is_no_option_and_one_that_no_message_holds_is_told(machine: Machine) -> None:
    done = edged("set", "nobody", "goal", "-0.5")
    assert (done.code, "no daemon answers to nobody" in done.err) == (1, True)
    with machine.daemon(machine.session / "pick"):
        done = edged("set", "pick", "goal", "9" * 30)
    assert (done.code, "set cannot be asked for" in done.err) == (2, True)


class Aimed(ScriptedEngine):
    """A policy with a goal; `goals` has what each run was given."""

    def __init__(self, identity: int) -> None:
        super().__init__(identity)
        inputs = {**self.manifest.inputs, "goal": ConstInput(value=(1.0, 2.0), settable=True)}
        self.manifest = msgspec.structs.replace(self.manifest, schema=2, inputs=inputs)
        self.inputs = {**self.inputs, "goal": np.zeros((1, 2), np.float32)}
        self.goals: list[list[float]] = []

    def run(self) -> None:
        super().run()
        self.goals.append(self.inputs["goal"].ravel().tolist())


class Cell(ScriptedCell):
    def aim(self) -> Aimed:
        engine = Aimed(len(self.engines) + 1)
        self.engines.append(engine)
        self.slot.offer(make_pipeline(engine, self.config, lambda engine: 30 * cells.MS))
        return engine

    def ask(self, key: Client | None = None, act: Any = lambda *told: None, **args: Any) -> Any:
        operations = Operations.__new__(Operations)  # what needs a store is not asked for here
        operations._slot, operations._daemon = self.slot, "pick"
        offered = {"set": Operation(operations.set, mutates=True, args=frozenset({"input", "value"}))}
        request = {"v": 1, "id": 1, "op": "set", "args": args}
        return msgspec.msgpack.decode(answer(msgspec.msgpack.encode(request), offered, key, act))


def test_a_goal_is_set_before_the_next_inference_and_goes_over_to_the_next_engine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cell = Cell(tmp_path)
    assert cell.ask(input="goal", value=1)["error"]["code"] == "engine"
    engine = cell.aim()
    for _ in range(5):
        cell.tick()
    with caplog.at_level(logging.INFO, logger="edged"):
        done = cell.ask(input="goal", value=[0.1, 0.2], who="anna")
    assert done["result"] == {"input": "goal", "value": [0.1, 0.2], "version": "1"}
    assert "set by 'anna' input='goal' value=[0.1, 0.2]" in caplog.text
    before = len(engine.goals)
    for _ in range(10):
        cell.tick()
    assert engine.goals[before - 1] == [1.0, 2.0]
    assert engine.goals[before] == pytest.approx([0.1, 0.2])
    assert cell.slot.describe()["settings"] == {"goal": [0.1, 0.2]}
    after = cell.aim()
    for _ in range(10):
        cell.tick()
    assert after.goals[0] == pytest.approx([0.1, 0.2])
    assert cell.ask(input="goal", value=None)["result"]["value"] == "packed"
    for _ in range(10):
        cell.tick()
    assert after.goals[-1] == [1.0, 2.0]


@pytest.mark.parametrize(
    "args", [{"input": "goal"}, {"value": 1}, {"input": 3, "value": 1}, {"input": "state", "value": 1}]
)
def test_what_cannot_be_set_is_refused(tmp_path: Path, args: dict[str, Any]) -> None:
    cell = Cell(tmp_path)
    cell.aim()
    cell.tick()
    error = cell.ask(**args)["error"]
    assert (error["code"], bool(error["remedy"])) == ("usage", True)


@pytest.mark.parametrize(
    ("role", "value", "says"),
    [
        ("read", [0.1, 0.2], "the key desk may read, not operate"),
        ("operate", [0.1, 0.2, 0.3], "its value [3]"),
        ("operate", [0.1, float("nan")], "finite numbers"),
        ("operate", [True, False], "finite numbers"),
        ("operate", "pour" * 10_000, "finite numbers"),
        ("operate", [0.1] * 6000, "its value [6000]"),
        ("operate", [[0.1], [0.1, 0.2]], "different lengths"),
        ("operate", 1e39, "not within"),
        ("operate", None, ""),
    ],
)
def test_every_attempt_is_audited_under_the_key_that_made_it_and_no_line_floods(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, role: Any, value: Any, says: str
) -> None:
    cell = Cell(tmp_path)
    engine = cell.aim()
    cell.tick()
    told: list[tuple[str, str, str, Any]] = []
    desk = Client("desk", role, "key", Path("desk.key"))
    with caplog.at_level(logging.INFO, logger="edged"):
        said = cell.ask(desk, lambda *it: told.append(it), input="goal", value=value)
    assert (says in said.get("error", {"text": ""})["text"], said["ok"]) == (True, not says)
    for _ in range(10):
        cell.tick()
    assert engine.goals[-1] == [1.0, 2.0], "nothing was set"
    ((op, who, outcome, _),) = told
    assert (op, who) == ("set", "'unknown' (key desk)")
    assert outcome.startswith(("refused", "failed")) if says else outcome == "ok"
    lines = [record.getMessage() for record in caplog.records if record.name == "edged.audit"]
    assert any("key desk" in line for line in lines)
    assert max(map(len, lines)) < 1000
