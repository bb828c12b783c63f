#!/usr/bin/python
"""edged_cell: one cell of a roll-out, by its daemon's control endpoint: how it is, and what became of a version there.

Needs the Python of an installed edged (`edged_python`); it runs on the cell, or with keys beside Ansible itself. It
changes nothing but what `edged swap` changes, and never fails for what it finds: what to do about that is the
playbook's.
"""

from __future__ import annotations

import math
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: edged_cell
short_description: Judge a version of an engine in one cell
options:
  control: {type: str, required: true, description: "tcp://HOST:PORT, or ipc:///run/edged/NAME/control"}
  server_key: {type: path, description: "the daemon's .key file, of an endpoint that asks for keys"}
  key: {type: path, description: "and one's own .key_secret"}
  version: {type: str, description: "without it the cell is only looked at"}
  identity: {type: str, description: "hex, of the content that is meant by the version; without it any"}
  looked: {type: dict, description: "the answer of a look from before anything was done"}
  predictions: {type: int, default: 1000, description: "that the new engine has to make while armed"}
  limit_seconds: {type: float, default: 900, description: "after so long a cell that made too few is undecided"}
  fail_shift: {type: float, default: 0.02, description: "how far the share of FAIL may move, up or down"}
  hold_shift: {type: float, default: 0.02, description: "how far the share of ticks that hold may rise"}
  poll_seconds: {type: float, default: 1.0}
  gone_seconds: {type: float, default: 10.0, description: "a daemon that does not answer for so long is gone"}
"""
RETURN = r"""
verdict: {description: "reachable, unreachable; or committed, already, refused, rolled_back, alarm, shift, gone,
  undecided"}
detail: {description: "why, as a sentence"}
"""

ENDS = ("committed", "refused", "rolled_back", "stopped", "interrupted")
ASKED_FOR = ("OPERATOR", "DISARMED", "DISABLED", "STARTING", "STOPPING")  # holds that say nothing about an engine
RUNS = "is what runs"  # how the refusal of what runs already ends
FEWEST = 20  # of ticks or results, for a share


class Cell:
    """Answers of one daemon. `ask` raises `RequestError`."""

    def __init__(self, module: AnsibleModule) -> None:
        try:
            from edged.client import CurveKeys, RequestError, request
        except ImportError as error:
            module.fail_json(msg=f"{error}: give this task the Python of an installed edged (edged_python)")
        given = module.params
        if (given["server_key"] is None) != (given["key"] is None):
            module.fail_json(msg="one key alone opens nothing: give both server_key and key")
        self.Error = RequestError
        keys = CurveKeys.read(given["server_key"], given["key"]) if given["key"] else None
        self._ask = lambda op, args: request(given["control"], op, args, 2000.0, keys=keys)

    def ask(self, op: str, **args: Any) -> Any:
        return self._ask(op, args)


def look(status: dict[str, Any]) -> dict[str, Any]:
    """What of a status is compared later: the engine, the jobs, and how often what came."""
    swap = status["swap"]
    jobs = [swap["active"], *swap["waiting"], *swap["past"]]
    return {
        "engine": {key: status["engine"].get(key) for key in ("name", "version", "identity")},
        "job": max((job["job"] for job in jobs if job), default=0),
        "tokens": [job["token"] for job in jobs if job and "token" in job],
        "state": status["state"],
        "uptime_s": status["uptime_s"],
        "pid": status.get("daemon", {}).get("pid", 0),
        "alarms": status.get("alarms", {}).get("count", 0),
        "alarm": status.get("alarms", {}).get("newest", {}),
        "counts": counts(status),
    }


def first_look(cell: Cell, patience_s: float) -> dict[str, Any]:
    """Whether it answers, and how it is; a machine that is busy is asked again."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return {"verdict": "reachable", "detail": "", **look(cell.ask("status"))}
        except cell.Error as error:
            if time.monotonic() > until:
                return {"verdict": "unreachable", "detail": str(error)}
            time.sleep(0.2)


def counts(status: dict[str, Any]) -> dict[str, int]:
    """What is compared: predictions, ticks that held for no operator's sake, results and those that are FAIL."""
    held = sum(count for reason, count in status["holds"].items() if reason not in ASKED_FOR)
    results = status.get("results", {})
    return {
        "predictions": status["predictions"],
        "held": held,
        "fail": results.get("FAIL", 0),
        "results": results.get("FAIL", 0) + results.get("PASS", 0),
    }


def shifted(before: dict[str, int], after: dict[str, int], fail_shift: float, hold_shift: float) -> str:
    """What moved too far from one engine to the other, as a sentence; "" where nothing did. Counts of each alone.

    A share may move by the shift, and by two standard deviations of what so few can tell.
    """
    was, now = share(before["fail"], before["results"]), share(after["fail"], after["results"])
    if was is not None and now is not None and abs(now - was) > fail_shift + noise(was, after["results"]):
        return f"{now:.1%} of its results are FAIL, {was:.1%} before"
    ticks = {name: one["held"] + one["predictions"] for name, one in (("was", before), ("now", after))}
    was, now = share(before["held"], ticks["was"]), share(after["held"], ticks["now"])
    if was is not None and now is not None and now - was > hold_shift + noise(was, ticks["now"]):
        return f"it holds {now:.1%} of the time, {was:.1%} before"
    return ""


def share(part: int, whole: int) -> float | None:
    """None where there are too few to tell."""
    return part / whole if whole >= FEWEST else None


def noise(rate: float, count: int) -> float:
    """Two standard deviations of a share; one that never was is taken for one in as many."""
    rate = min(max(rate, 1 / count), 0.5)
    return 2 * math.sqrt(rate * (1 - rate) / count)


class Judged(Exception):
    """The verdict, and why."""

    def __init__(self, verdict: str, detail: str = "") -> None:
        super().__init__(verdict, detail)
        self.verdict, self.detail = verdict, detail


class Judge:
    """Follows a version in a cell until there is a verdict."""

    def __init__(self, cell: Cell, given: dict[str, Any]) -> None:
        self._cell, self._given, self._looked = cell, given, given["looked"]
        self._version, self._until = given["version"], time.monotonic() + given["limit_seconds"]
        self._answered = time.monotonic()
        self._asked = False
        self._base: dict[str, int] | None = None  # counts when the new engine took over
        self.made: dict[str, int] = {}
        self.job: dict[str, Any] = {}

    def run(self) -> None:
        """Raises `Judged`."""
        status = self._status()
        if status["engine"].get("version") == self._version and self._job(status) is None:
            self._check_content(status)
            raise Judged("already", "it runs there")
        while True:
            self._step(status)
            if time.monotonic() > self._until:
                raise Judged("undecided", self._why(status))
            time.sleep(self._given["poll_seconds"])
            status = self._status()

    def _step(self, status: dict[str, Any]) -> None:
        now = look(status)
        if now["uptime_s"] < self._looked["uptime_s"] or now["pid"] != self._looked["pid"]:
            raise Judged("gone", "the daemon was started again meanwhile")
        job = self._job(status)
        if job is None:
            self._begin()
            return
        self.job = job
        if job["state"] == "refused" and job.get("reason", "").partition(";")[0].endswith(RUNS):
            self._check_content(status)
            raise Judged("already", "it ran there before")
        if job["state"] in ENDS and job["state"] != "committed":
            raise Judged("refused" if job["state"] == "refused" else "rolled_back", job.get("reason") or job["state"])
        if now["alarms"] > self._looked["alarms"]:
            raise Judged("alarm", " ".join(f"{key}={value}" for key, value in now["alarm"].items()))
        if now["engine"]["version"] != self._version:
            if job["state"] == "committed":
                raise Judged("rolled_back", f"{now['engine']['version']} runs, though {self._version} was committed")
            self._base = None
            return
        self._base = self._base or now["counts"]
        self.made = {key: count - self._base[key] for key, count in now["counts"].items()}
        limits = (self._given["fail_shift"], self._given["hold_shift"])
        if why := shifted(self._looked["counts"], self.made, *limits):
            raise Judged("shift", why)
        self._check_content(status)
        if job["state"] == "committed" and self.made["predictions"] >= self._given["predictions"]:
            raise Judged("committed", f"{self.made['predictions']} predictions while armed")

    def _check_content(self, status: dict[str, Any]) -> None:
        """A version is a name: what runs under it has to be what was brought."""
        runs, meant = status["engine"].get("identity") or "", self._given.get("identity") or ""
        length = min(len(runs), len(meant))
        if length and runs[:length] != meant[:length]:
            raise Judged(
                "refused", f"the {self._version} that runs there is {runs[:16]}, not {meant[:16]}, which was brought"
            )

    def _job(self, status: dict[str, Any]) -> dict[str, Any] | None:
        """The newest job of the version since the look: by its token, since a daemon that is started anew counts from 1
        again. One from before there were tokens has its number alone."""

        def is_new(job: dict[str, Any]) -> bool:
            if "token" in job:
                return job["token"] not in self._looked.get("tokens", ())
            return bool(job["job"] > self._looked["job"])

        swap = status["swap"]
        jobs = [job for job in (swap["active"], *swap["waiting"], *swap["past"]) if job]
        ours = [job for job in jobs if job["version"] == self._version and is_new(job)]
        return max(ours, key=lambda job: job["job"], default=None)

    def _begin(self) -> None:
        """Ask for it, if the store has it; else a drop has yet to become a job."""
        if self._asked:
            return
        try:
            stored = {entry["version"] for entry in self._cell.ask("engines")}
            if self._version in stored:
                self._cell.ask("swap", version=self._version, who="ansible")
                self._asked = True
        except self._cell.Error as error:
            if error.code not in ("no_answer", "no_daemon"):
                raise Judged("refused", str(error)) from None

    def _status(self) -> dict[str, Any]:
        while True:
            try:
                status: dict[str, Any] = self._cell.ask("status")
            except self._cell.Error as error:
                if time.monotonic() - self._answered > self._given["gone_seconds"]:
                    raise Judged("gone", str(error)) from None
                time.sleep(0.2)
                continue
            self._answered = time.monotonic()
            return status

    def _why(self, status: dict[str, Any]) -> str:
        if not self.job:
            return f"{self._version} did not come into its store or incoming/"
        state = f"{status['state']} {status['detail']}".strip()
        if self.job["state"] == "waiting":
            waits = self.job.get("reason") or "waits"
            return f"it {waits}, and still does; 'edged rollback' calls it off; the cell is {state}"
        made = self.made.get("predictions", 0)
        return f"{self.job['state']}, {made} predictions of {self._given['predictions']} by then; the cell is {state}"


def main() -> None:
    """As Ansible calls it."""
    number = {"type": "float"}
    module = AnsibleModule(
        argument_spec={
            "control": {"type": "str", "required": True},
            "server_key": {"type": "path"},
            "key": {"type": "path", "no_log": False},
            "version": {"type": "str"},
            "identity": {"type": "str"},
            "looked": {"type": "dict"},
            "predictions": {"type": "int", "default": 1000},
            "limit_seconds": {**number, "default": 900.0},
            "fail_shift": {**number, "default": 0.02},
            "hold_shift": {**number, "default": 0.02},
            "poll_seconds": {**number, "default": 1.0},
            "gone_seconds": {**number, "default": 10.0},
        },
        required_by={"version": ["looked"]},
        supports_check_mode=True,
    )
    cell = Cell(module)
    if module.params["version"] is None or module.check_mode:
        found = first_look(cell, module.params["gone_seconds"])
        module.exit_json(changed=False, **found)
    judge, began = Judge(cell, module.params), time.monotonic()
    try:
        judge.run()
    except Judged as judged:
        facts = {"made": judge.made, "seconds": round(time.monotonic() - began, 1)}
        changed = judged.verdict != "already"
        module.exit_json(changed=changed, verdict=judged.verdict, detail=judged.detail, **facts)


if __name__ == "__main__":
    main()
