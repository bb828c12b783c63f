"""The page and those who mean it ill: other pages, guesses, crowds. None acts, and none keeps others out."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from rig import open_rig
from ui_page import Page
from waiting import until


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_rig() as rig:
        yield Page(rig)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-CSRF": "guessed"}, 403),
        ({"X-CSRF": ""}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Host": "evil.example"}, 421),
        ({"Cookie": "edged-session=guessed"}, 401),
    ],
)
def test_what_comes_from_another_page_is_refused(page: Page, headers: dict[str, str], status: int) -> None:
    assert page.act({**page.login("bob"), **headers}, "hold")[0] == status
    assert not page.holds()


def test_answers_keep_a_browser_at_home_and_odd_requests_are_answered(page: Page) -> None:
    status, headers, _ = page.ask("GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert page.ask("GET", "/", Host="evil.example")[0] == 421
    assert page.ask("GET", "/api/daemons/nobody/view")[0] == 404
    assert page.ask("GET", "/api/daemons/nobody/history?since=nan")[0] == 502
    assert page.ask("GET", "/page/../people.py")[0] == 404
    assert page.ask("GET", "/page/%2e%2e/people.py")[0] == 404
    assert page.ask("DELETE", "/api/daemons")[0] == 405
    origin = {"Origin": f"http://{page.host}"}
    assert page.ask("POST", "/api/login", [1], **origin)[0] == 400
    assert page.ask("POST", "/api/login", {"name": 1, "password": 2}, **origin)[0] == 400
    assert page.ask("POST", "/api/login", {"name": "x" * 70_000, "password": ""}, **origin)[0] == 413
    assert page.ask("POST", "/api/login", {"name": "ann", "password": "wrong"}, **origin)[0] == 401
    text = page.ask("GET", "/metrics")[2].decode()
    assert 'edged_up{daemon="pick"} 1.0' in text
    assert text.endswith("# EOF\n")


def test_visitors_that_say_nothing_keep_nobody_out(page: Page) -> None:
    """Sixty connections, and logins without end: a hold is as quick as ever."""
    bob = page.login("bob")
    silent = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(60)]
    try:
        served = [one for one in silent if not _is_closed(one)]
        assert len(served) <= 24
        for one in served[:-6]:
            one.close()
        origin = {"Origin": f"http://{page.host}"}
        with ThreadPoolExecutor(4) as pool:
            wrong = [{"name": f"n{number}", "password": "x"} for number in range(12)]
            guessed = list(pool.map(lambda one: page.ask("POST", "/api/login", one, **origin)[0], wrong))
            status, _ = page.act(bob, "hold")
        assert set(guessed) <= {401, 429}, guessed
        assert status == 200
        assert page.holds()
        until(lambda: all(_is_closed(one) for one in served[-6:]), 40)
    finally:
        for one in silent:
            one.close()


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_what_would_let_in_strangers_is_refused_before_it_listens(page: Page) -> None:
    empty, people = page.rig.folder / "nobody.json", page.rig.folder / "people.json"
    for arguments, fact in (
        (["--listen=0.0.0.0:9"], "can be read"),
        (["--operate", f"--people={empty}"], "nobody who could log in"),
        (["--arm", f"--people={people}"], "--arm is an act"),
        (["--certificate=/nowhere"], "belong together"),
    ):
        done = page.rig.edged("ui", *arguments)
        assert done.returncode == 2, done
        assert fact in done.stderr or "reached from the network" in done.stderr
