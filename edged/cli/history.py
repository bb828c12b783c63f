"""history: what happened to the daemons of this machine, read from their journals; they need not run for it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from edged.cli.locate import Located, locate, running
from edged.cli.show import seconds
from edged.cli.stores import homes, of_file
from edged.client import CurveKeys, RequestError
from edged.client.reach import no_right
from edged.config import HISTORY, load_daemon, unit_environ
from edged.core.errors import EdgedError, UsageError
from edged.runtime.journal import parse_lines, read_journal

AGO = re.compile(r"(\d+)\s*(s|m|min|h|d)")
UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}
CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?")
LONGEST_MS, LAST_YEAR = 1e12, 9000  # 30 years; and after them still one that can be shown
SINCE = "write 22:00, 2026-11-27, '2026-11-27 22:00' or 90m (s, m, h, d)"


@dataclass(slots=True)
class Entry:
    """One thing that happened: a moment, or a stretch with an end. `end` is None while it lasts; `begin`, `end` Unix
    time in seconds; `mono_ns` is the begin on the daemon's own clock, for who compares it with messages."""

    daemon: str
    what: str
    cause: str
    begin: float
    end: float | None
    mono_ns: int
    facts: dict[str, Any] = field(default_factory=dict)
    open: bool = False

    @property
    def lasted_s(self) -> float:
        return 0.0 if self.end is None else self.end - self.begin


def folders(word: str) -> dict[str, Path]:
    """Name to journal of the daemon that is meant, of all if `word` is empty. Raises `UsageError` for one without."""
    if word.endswith(".toml"):
        name = load_daemon(Path(word), unit_environ(Path(word))).name
        return {name: of_file(Path(word)).store / HISTORY / name}
    found, closed = _on_disk()
    if not word:
        found, closed = _told(found, closed)
        if closed is not None and not found:  # what may not be read is not nothing
            raise closed
        return found
    try:
        return _asked(locate(word))
    except (RequestError, LookupError) as error:
        if word in found:
            return {word: found[word]}
        if isinstance(error, RequestError) and error.code == "permission":
            raise
        if closed is not None:
            raise closed from None
        raise UsageError(f"there is no history of {word}", f"there is one of: {', '.join(found) or 'none'}") from None


def _asked(daemon: Located) -> dict[str, Path]:
    status = daemon.ask("status")
    return {str(status["daemon"]["name"]): Path(status["folders"]["history"])}


def _told(found: dict[str, Path], closed: EdgedError | None) -> tuple[dict[str, Path], EdgedError | None]:
    """Those that run as well, wherever their stores are."""
    for folder in running():
        try:
            found = {**found, **_asked(locate(str(folder)))}
        except RequestError as error:
            closed = error if error.code == "permission" else closed
        except LookupError:  # a daemon from before it said where
            continue
    return found, closed


def _on_disk() -> tuple[dict[str, Path], EdgedError | None]:
    """Name to journal in the usual places; and why some of them may not be looked at, if that is so."""
    found: dict[str, Path] = {}
    closed: EdgedError | None = None
    for home in homes()[0]:
        place = home.store / HISTORY
        try:
            for folder in sorted(place.iterdir()):
                found.setdefault(folder.name, folder)
        except PermissionError:
            closed = EdgedError(*no_right(place))
        except OSError:
            continue
    return found, closed


def read_history(word: str, since: str = "", now: float | None = None, keys: CurveKeys | None = None) -> list[Entry]:
    """Entries that lasted after `since`, by their begin."""
    after = parse_since(since, time.time() if now is None else now)
    entries: list[Entry] = []
    if "://" in word:
        daemon = locate(word, keys)
        entries = assemble(str(daemon.ask("status")["daemon"]["name"]), fetch_journal(daemon))
    elif keys is not None:
        raise UsageError("keys are for a daemon on the network", "name it: tcp://HOST:PORT")
    else:
        entries = [entry for name, folder in folders(word).items() for entry in _on_this_disk(name, folder)]
    kept = [entry for entry in entries if entry.open or (entry.end or entry.begin) >= after]
    return sorted(kept, key=lambda entry: (entry.begin, entry.daemon))


def _on_this_disk(name: str, folder: Path) -> list[Entry]:
    try:
        return assemble(name, read_journal(folder))
    except OSError as error:
        raise EdgedError(f"{folder} cannot be read ({error.strerror})", "join its group, or use sudo") from None


def fetch_journal(daemon: Located) -> Iterator[dict[str, Any]]:
    """The lines of a daemon on the network, a piece at a time. Raises `RequestError`."""
    for known in daemon.ask("history")["files"]:
        content = bytearray()
        while len(content) < known["bytes"]:
            try:
                piece = daemon.ask("history", {"file": known["file"], "offset": len(content)})["data"]
            except RequestError as error:
                if error.code != "usage":  # the oldest has just gone
                    raise
                break
            if not piece:
                break
            content += piece
        yield from parse_lines(bytes(content).splitlines())


def assemble(daemon: str, lines: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """Begins and ends put together. What a run left open ended with it: at its last word, or when it was seen last.
    Lines that are none of ours are passed over."""
    entries: list[Entry] = []
    lasting: dict[tuple[str, str], Entry] = {}
    for line in lines:
        with contextlib.suppress(LookupError, ValueError, TypeError, OverflowError):
            _put_together(daemon, line, entries, lasting)
    return entries


def _put_together(
    daemon: str, line: Mapping[str, Any], entries: list[Entry], lasting: dict[tuple[str, str], Entry]
) -> None:
    at, kind, run, number = _unix(str(line["wall"])), line["kind"], str(line.get("session")), str(line.get("id"))
    if kind == "ledger":  # for the daemon's own next start
        return
    if kind == "end":
        lasted_ms = float(line.get("ms", 0.0))
        if 0 <= lasted_ms < LONGEST_MS and (ended := lasting.pop((run, number), None)) is not None:
            ended.end, ended.open = ended.begin + lasted_ms / 1000, False
        return
    if kind in ("stop", "crash"):
        over = run if kind == "stop" else str(line.get("run"))
        until = at if kind == "stop" else _unix(str(line["seen"]))
        for key in [key for key in lasting if key[0] == over]:
            entry = lasting.pop(key)
            entry.end, entry.open = max(entry.begin, until), False
    entry = _entry(daemon, kind, at, line)
    entries.append(entry)
    if entry.open:
        lasting[run, number] = entry


OWN = ("kind", "wall", "mono_ns", "boot", "session", "id", "what", "cause")


def _entry(daemon: str, kind: str, at: float, line: Mapping[str, Any]) -> Entry:
    facts = {key: value for key, value in line.items() if key not in OWN and value not in ("", None)}
    what, cause = str(line.get("what", kind)), str(line.get("cause", ""))
    is_stretch = kind == "begin"
    match kind:
        case "crash":
            at = _unix(str(line["seen"]))
        case "act":
            cause = f"{line.get('op')} by {str(line.get('who')).strip(chr(39))}"
        case "event":
            what, cause = str(line.get("event")), str(line.get("state") or line.get("what") or line.get("event"))
        case "arming":
            cause = str(line.get("state"))
    return Entry(daemon, what, cause, at, None if is_stretch else at, int(line.get("mono_ns", 0)), facts, is_stretch)


def parse_since(text: str, now: float) -> float:
    """Unix time of `22:00` (the last time it was that late, locally), a date, or `90m` ago; 0 for "". `UsageError`."""
    if not text:
        return 0.0
    try:
        if ago := AGO.fullmatch(text.strip()):
            return now - timedelta(**{UNITS[ago[2]]: int(ago[1])}).total_seconds()
        if CLOCK.fullmatch(text.strip()):
            hours, minutes, *rest = map(int, text.split(":"))
            today = datetime.fromtimestamp(now).replace(
                hour=hours, minute=minutes, second=(rest or [0])[0], microsecond=0
            )
            return (today if today.timestamp() <= now else today - timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no moment", SINCE) from None


def totals(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Per daemon and cause of what lasted: how often and how long, the longest together first. What overlaps counts
    in each: a lost camera, and the hold that it led to."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in entries:
        if entry.what not in ("hold", "wait", "camera", "sensor"):
            continue
        key = entry.daemon, entry.what, entry.cause
        sums = {"daemon": key[0], "what": key[1], "cause": key[2], "count": 0, "seconds": 0.0, "longest_s": 0.0}
        row = found.setdefault(key, sums)
        more = entry.facts.get("unrecorded")
        row["count"] += 1 + (more if isinstance(more, int) else 0)
        row["seconds"] = round(row["seconds"] + entry.lasted_s, 3)
        row["longest_s"] = round(max(row["longest_s"], entry.lasted_s), 3)
    return sorted(found.values(), key=lambda row: -row["seconds"])


def facts(entries: Sequence[Entry]) -> dict[str, Any]:
    """For programs: `entries` (times in ISO 8601 UTC) and `totals`."""
    return {"entries": [{**asdict(entry), "begin": _iso(entry.begin), "end": _iso(entry.end),
                         "seconds": round(entry.lasted_s, 6)} for entry in entries],
            "totals": totals(entries)}  # fmt: skip


def page_entries(folder: Path, most: int = 2000) -> list[dict[str, Any]]:
    """The newest of one journal, for the page: as `facts` has them, and the line that `show_history` has."""
    return [
        {"what": entry.what, "cause": entry.cause, "begin": entry.begin, "end": entry.end, "open": entry.open,
         "facts": entry.facts, "line": _said(entry)}
        for entry in assemble(folder.name, read_journal(folder))[-most:]
    ]  # fmt: skip


def show_history(entries: Sequence[Entry]) -> str:
    """A line per entry under its day, in local time, then the totals."""
    return "\n".join(_lines(entries)) if entries else "nothing happened"


def _lines(entries: Sequence[Entry]) -> Iterator[str]:
    several = len({entry.daemon for entry in entries}) > 1
    width = max(len(entry.daemon) for entry in entries)
    day = ""
    for entry in entries:
        local = datetime.fromtimestamp(entry.begin)
        if (today := local.strftime("%A %d %B %Y")) != day:
            day = today
            yield day
        name = f"{entry.daemon:<{width}}  " if several else ""
        lasted = "" if entry.what not in ("hold", "wait", "camera", "sensor") else seconds(entry.lasted_s)
        lasted = "lasts" if entry.open else lasted
        yield f"  {local:%H:%M:%S}.{local.microsecond // 1000:03d}  {name}{lasted:>12}  {_said(entry)}"
    if sums := totals(entries):
        yield "totals"
        for row in sums:
            name = f"{row['daemon']:<{width}}  " if several else ""
            yield f"  {name}{seconds(row['seconds']):>12}  {row['count']:>5}x  {row['what']:<6}  {row['cause']}"


def _said(entry: Entry) -> str:
    told = entry.facts
    match entry.what:
        case "hold" | "wait" | "camera" | "sensor":
            word = {"hold": "HOLD", "wait": "waits"}.get(entry.what, entry.what)
            subject = told.get("reason") or entry.cause.partition(" ")[2]
            line = f"{word} {subject}: {told.get('detail', '')}"
            line += f"  [{told['engine']}]" if told.get("engine") else ""
            return line + (f"  and {told['unrecorded']} more like it before" if told.get("unrecorded") else "")
        case "act":
            reason = f" ({told['reason']})" if told.get("reason") else ""
            return f"act    {entry.cause}{reason}: {told.get('outcome')}"
        case "arming":
            return f"arming {told.get('before', '')} -> {entry.cause}".replace("  ", " ")
        case "crash":
            return "crash  the run ended here, or soon after, without a last word"
    return f"{entry.what:<6} " + " ".join(f"{key}={value}" for key, value in told.items() if key != "event")


def _unix(iso: str) -> float:
    made = datetime.strptime(iso, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    if not 1970 <= made.year <= LAST_YEAR:
        raise ValueError(f"no daemon's clock shows the year {made.year}")
    return made.timestamp()


def _iso(unix: float | None) -> str | None:
    return None if unix is None else datetime.fromtimestamp(unix, timezone.utc).isoformat(timespec="milliseconds")
