"""What `benchmarks/behaviour` makes of two sides' observations: differences, and the list of those that are meant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.behaviour.differences import (
    INTENDED,
    Difference,
    difference,
    differences,
    judge,
    read_list,
    record,
    report,
)
from benchmarks.behaviour.folder import shape, toml

PROBE = INTENDED.with_name("probe.py")
OLD = {"status [exit]": "1", "status [stderr]": "no daemon\nstart it", "version [stdout]": "0.1"}
NEW = {"status [exit]": "1", "status [stderr]": "no daemon here\nstart it", "tail [exit]": "2"}
TEXT = Difference("status [stderr]", ("no daemon",), ("no daemon here",))
GONE = Difference("version [stdout]", ("0.1",), ())
CAME = Difference("tail [exit]", (), ("2",))


def test_differences_are_the_lines_that_went_and_came() -> None:
    assert differences(OLD, NEW) == [TEXT, CAME, GONE]
    assert differences(OLD, OLD) == []
    assert difference("x", "a\nb\n", "a \nc\nb") == Difference("x", (), ("c",))


def test_a_difference_that_nobody_meant_fails() -> None:
    found = judge([TEXT, CAME], {TEXT.name: TEXT})
    assert not found.ok
    assert (found.intended, found.unlisted) == ((TEXT,), (CAME,))
    assert judge([TEXT], {TEXT.name: TEXT}).ok


def test_a_listed_difference_that_became_another_fails() -> None:
    found = judge([TEXT], {TEXT.name: Difference(TEXT.name, TEXT.removed, ("nothing",))})
    assert not found.ok
    assert found.changed == (TEXT,)
    assert "+ no daemon here" in "\n".join(report(found))


def test_a_listed_difference_that_no_longer_occurs_fails() -> None:
    found = judge([], {TEXT.name: TEXT})
    assert not found.ok
    assert found.gone == (TEXT.name,)


def test_what_is_recorded_keeps_its_reasons_and_a_new_one_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "intended.json"
    path.write_text(json.dumps([{"reason": "plain words", "differences": [{"name": TEXT.name}, {"name": GONE.name}]}]))
    record([TEXT, GONE], OLD, path)
    assert read_list(path) == {TEXT.name: TEXT, GONE.name: GONE}
    record([TEXT, CAME], [*OLD, *NEW], path)
    groups = json.loads(path.read_text(encoding="utf-8"))
    assert [(group["reason"], len(group["differences"])) for group in groups] == [("plain words", 1), ("", 1)]
    with pytest.raises(ValueError, match=r"tail \[exit\] has no reason"):
        read_list(path)


def test_what_was_not_asked_this_time_stays_listed(tmp_path: Path) -> None:
    path = tmp_path / "intended.json"
    one = {"name": GONE.name, "removed": list(GONE.removed), "added": []}
    path.write_text(json.dumps([{"reason": "why", "differences": [one]}]))
    record([], ["status [exit]"], path)
    assert read_list(path) == {GONE.name: GONE}
    record([], OLD, path)
    assert read_list(path) == {}


def test_nothing_is_listed_twice(tmp_path: Path) -> None:
    path = tmp_path / "intended.json"
    one = {"name": "x", "removed": [], "added": []}
    path.write_text(json.dumps([{"reason": reason, "differences": [one]} for reason in "ab"]))
    with pytest.raises(ValueError, match="twice"):
        read_list(path)


def test_the_list_in_the_tree_has_a_reason_for_each() -> None:
    assert all(one.removed or one.added for one in read_list(INTENDED).values())


def test_the_shape_of_an_answer_is_its_keys_and_kinds() -> None:
    assert shape({"a": [{"b": 1}, {"b": None, "c": True}], "d": {}}) == (
        ".a[].b null\n.a[].b number\n.a[].c boolean\n.d {}"
    )


def test_sections_of_the_cell_are_replaced_added_and_taken_away() -> None:
    text = toml({"guard": None, "log": "level = 'info'"})
    assert "[guard]" not in text
    assert text.endswith("[log]\nlevel = 'info'\n")


def test_this_checkout_answers_what_is_asked_of_its_modules() -> None:
    environ = {**os.environ, "PYTHONPATH": str(PROBE.parents[2])}
    done = subprocess.run([sys.executable, str(PROBE)], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["wire: refuses another magic"].startswith("WireError")
    shipped = [value for name, value in said.items() if name.startswith("shipped: engines")]
    assert len(shipped) >= 3
    assert all(value.endswith("\nas listed") for value in shipped)
