"""Files, variables and words of the command line that cannot be read are told in a line."""

from __future__ import annotations

from pathlib import Path

import configs
import pytest
from configs import PICK, Write, faults

from edged.config import load_config, load_daemon
from edged.core.errors import ConfigError

write, quiet_environment = configs.write, configs.quiet_environment


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, "a" + ".a" * 3000 + " = 1", f"[{'a.' * 3000}a]"])
def test_a_file_that_nests_deeper_than_anybody_needs_is_told(write: Write, text: str) -> None:
    assert "not TOML" in faults(write(text))[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EDGED_LOOP__RATE_HZ", "[" * 3000 + "]" * 3000),
        ("EDGED_CAMERAS", "[" * 3000 + "]" * 3000),
        ("EDGED_CAMERAS__A", '{"a":' * 900 + "1" + "}" * 900),
        ("EDGED_LOOP" + "__A" * 3000, "1"),
    ],
)
def test_a_variable_that_nests_deeper_is_told_too(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert any(word in faults(write(PICK))[0] for word in ("environment", "loop.rate_hz"))


def test_a_set_that_nests_deeper_is_told_too(write: Write) -> None:
    assert "not section.key=value" in faults(write(PICK), "loop" + ".a" * 3000 + "=1")[0]
    assert "loop.rate_hz = '[[[" in faults(write(PICK), "loop.rate_hz=" + "[" * 3000 + "]" * 3000)[0]


def test_a_home_that_nobody_has_is_told_also_to_who_only_looks_for_the_daemon(write: Write) -> None:
    path = write(PICK.replace('"/var/lib/edged/engines"', '"~nobody-of-that-name/engines"'))
    assert "a path begins with ~" in faults(path)[0]
    with pytest.raises(ConfigError, match="write the path out"):
        load_daemon(path)


def test_a_variable_that_cannot_be_read_is_told(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_LOOP", "fast")
    assert "loop" in faults(write(PICK))[0]


def test_a_file_that_is_not_there_or_no_toml(tmp_path: Path, write: Write) -> None:
    assert "cannot be read: No such file" in faults(tmp_path / "none.toml")[0]
    assert "cannot be read" in faults(tmp_path)[0]
    assert "not TOML: " in faults(write("[loop\n"))[0]
    path = write("")
    path.write_bytes(b"\xff\xfe")
    assert "not UTF-8 at byte 0" in faults(path)[0]


@pytest.mark.parametrize("text", ["daemon = 3", "loop = []", "cameras = 1", "[cameras]\ntool = 1", "guard.limits = 1"])
def test_a_table_that_is_none_is_a_fault_not_a_crash(write: Write, text: str) -> None:
    key = text.partition("=")[0].strip().removeprefix("[cameras]\n")
    assert any(key in line for line in faults(write(text)))


def test_a_file_name_that_is_no_daemon_name_says_so(tmp_path: Path) -> None:
    path = tmp_path / "My Cell.toml"
    path.write_text(PICK, encoding="utf-8")
    (line,) = faults(path)
    assert "daemon.name = 'My Cell'" in line
    assert load_config(path, ["daemon.name=my-cell"]).daemon.name == "my-cell"
