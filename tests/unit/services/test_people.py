"""Who may log in: hashed passwords in a file of one's own, guesses that get slower, sessions that end."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path

import pytest
from fake_daemon import edged

from edged.core.errors import EXIT_OK, EXIT_USAGE, EdgedError, UsageError
from edged.services.ui.people import check_password, people_file, put_person, read_people, remove_person
from edged.services.ui.sessions import FREE_TRIES, IDLE_NS, LONGEST_NS, MOST, Sessions, TooManyTries

PASSWORD = "correct horse battery"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "people.json"
    put_person(path, "ann", PASSWORD, frozenset({"hold", "operate"}))
    return path


class Clock:
    now_ns = 1

    def __call__(self) -> int:
        return self.now_ns


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a moment")
def test_who_may_not_look_at_the_machines_file_has_one_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edged.services.ui.people.SYSTEM_FILE", tmp_path / "etc" / "edged" / "people.json")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/ann/.config")
    os.setresuid(65534, 65534, 0)
    try:
        found = people_file()
    finally:
        os.setresuid(0, 0, 0)
    assert found == Path("/home/ann/.config/edged/people.json")


def test_a_password_is_kept_as_a_salted_hash(file: Path) -> None:
    put_person(file, "bob", PASSWORD, frozenset())
    text = file.read_text(encoding="utf-8")
    assert PASSWORD not in text
    entries = json.loads(text)["people"]
    assert entries["ann"]["scrypt"] != entries["bob"]["scrypt"]
    assert file.stat().st_mode & 0o077 == 0
    people = read_people(file)
    found = check_password(people, "ann", PASSWORD)
    assert found is not None
    assert found.rights == {"hold", "operate"}
    for name, password in (("ann", PASSWORD + " "), ("ann", ""), ("eve", PASSWORD)):
        assert check_password(people, name, password) is None


@pytest.mark.parametrize(
    ("name", "password", "rights"),
    [("an n", PASSWORD, ""), ("", PASSWORD, ""), ("ann", "short", ""), ("ann", PASSWORD, "fly"), ("a\n", PASSWORD, "")],
)
def test_what_cannot_be_is_refused(file: Path, name: str, password: str, rights: str) -> None:
    before = file.read_bytes()
    with pytest.raises(UsageError):
        put_person(file, name, password, frozenset({rights} - {""}))
    assert file.read_bytes() == before


def test_a_file_that_others_may_write_or_that_is_broken_lets_nobody_in(file: Path) -> None:
    file.chmod(0o620)
    with pytest.raises(EdgedError, match="can be written by others"):
        read_people(file)
    file.chmod(0o600)
    file.write_text('{"people": {"ann": {"rights": ["fly"], "salt": "", "scrypt": ""}}}')
    with pytest.raises(EdgedError, match="holds no people"):
        read_people(file)
    assert read_people(file.with_name("none.json")) == {}


def test_a_session_ends_when_idle_when_old_and_with_its_person(file: Path) -> None:
    clock = Clock()
    sessions = Sessions(lambda: read_people(file), clock)

    def enter() -> str:
        entered = sessions.login("ann", PASSWORD, "10.0.0.1")
        assert entered is not None
        return entered[0]

    token = enter()
    clock.now_ns += IDLE_NS
    assert sessions.find(token) is not None
    clock.now_ns += IDLE_NS + 1
    assert sessions.find(token) is None
    token = enter()
    for _ in range(LONGEST_NS // IDLE_NS):
        clock.now_ns += IDLE_NS
        assert sessions.find(token) is not None
    clock.now_ns += 1
    assert sessions.find(token) is None
    token = enter()
    sessions.end(token)
    assert sessions.find(token) is None
    token = enter()
    put_person(file, "ann", PASSWORD, frozenset())
    found = sessions.find(token)
    assert found is not None
    assert found[1].rights == frozenset()
    remove_person(file, "ann")
    assert sessions.find(token) is None


def test_guessing_gets_slower_by_name_and_by_address(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    sessions = Sessions(lambda: read_people(file), clock)
    monkeypatch.setattr("edged.services.ui.sessions.check_password", lambda people, name, password: None)
    for _ in range(FREE_TRIES + 1):
        assert sessions.login("ann", "wrong", "10.0.0.1") is None
    with pytest.raises(TooManyTries):
        sessions.login("ann", PASSWORD, "10.0.0.2")  # her name, from elsewhere
    with pytest.raises(TooManyTries):
        sessions.login("bob", PASSWORD, "10.0.0.1")  # another name, from there
    clock.now_ns += 2 * 10**9
    assert sessions.login("ann", "wrong", "10.0.0.1") is None
    clock.now_ns += 3 * 10**9
    with pytest.raises(TooManyTries):
        sessions.login("ann", "wrong", "10.0.0.1")


def test_guesses_that_come_together_are_no_more_than_one_after_the_other(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, looked = Clock(), []
    sessions = Sessions(lambda: read_people(file), clock)
    together = threading.Barrier(20)

    def check(people: object, name: str, password: str) -> None:
        time.sleep(0.01)
        looked.append(password)

    def guess() -> None:
        together.wait()
        with contextlib.suppress(TooManyTries):
            sessions.login("ann", "wrong", "10.0.0.1")

    monkeypatch.setattr("edged.services.ui.sessions.check_password", check)
    guesses = [threading.Thread(target=guess) for _ in range(20)]
    for one in guesses:
        one.start()
    for one in guesses:
        one.join()
    assert len(looked) == FREE_TRIES + 1


def test_sessions_are_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    person = read_people(file)["ann"]
    sessions = Sessions(lambda: {"ann": person}, clock)
    monkeypatch.setattr("edged.services.ui.sessions.check_password", lambda people, name, password: person)
    tokens = []
    for _ in range(MOST + 1):
        clock.now_ns += 1
        entered = sessions.login("ann", PASSWORD, "x")
        assert entered is not None
        tokens.append(entered[0])
    assert sessions.find(tokens[0]) is None
    assert sessions.find(tokens[-1]) is not None


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    file = tmp_path / "people.json"
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    done = edged("person", "ann", "--rights", "hold, operate", "--people", file)
    assert (done.code, done.out) == (EXIT_OK, f"{file}: ann may hold, operate\n")
    assert check_password(read_people(file), "ann", PASSWORD) is not None
    assert edged("person", "ann", "--remove", "--people", file).code == EXIT_OK
    assert edged("person", "ann", "--remove", "--people", file).code == EXIT_USAGE
