"""python -m benchmarks.behaviour OLD NEW"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.behaviour import __doc__ as purpose
from benchmarks.behaviour import live, situations
from benchmarks.behaviour.differences import Observations, differences, judge, read_list, record, report
from benchmarks.behaviour.folder import Folder
from benchmarks.compare import CannotCompare, Checkout, checkout

PROBE = Path(__file__).with_name("probe.py")
PARTS = ("modules", "commands", "live")


def observe(side: Checkout, where: Path, parts: Sequence[str]) -> dict[str, Observations]:
    """Everything of one side, by part, in a folder that is gone afterwards."""
    seen: dict[str, dict[str, str]] = {part: {} for part in parts}
    try:
        folder = Folder(where, side)
        if "modules" in parts:
            seen["modules"] = folder.probe(PROBE)
        for part, module in (("commands", situations), ("live", live)):
            if part in parts:
                for name, value in module.seen(folder):
                    seen[part][name] = value
                    if sys.stderr.isatty():
                        print(f"\r{side.tree.name[:20]} {name[:50]}", end="\x1b[K", file=sys.stderr, flush=True)
        folder.close()
    finally:
        shutil.rmtree(where, ignore_errors=True)
    return dict(seen)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.behaviour", description=str(purpose).splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--python-old", type=Path, help="the interpreter of OLD (default: OLD/.venv/bin/python)")
    parser.add_argument("--python-new", type=Path, help="the interpreter of NEW (default: NEW/.venv/bin/python)")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; what is listed of others is ignored")
    parser.add_argument("--save", type=Path, help="keep what was seen of OLD in this file, to be given as OLD again")
    parser.add_argument(
        "--record", action="store_true", help="write what differs into the list, the new without reason"
    )
    asked = parser.parse_args()
    parts = asked.part or PARTS
    try:
        sides = [checkout(asked.new, asked.python_new)]
        if not asked.old.is_file():
            sides.insert(0, checkout(asked.old, asked.python_old))
    except CannotCompare as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory(prefix="edged-") as folder:
        seen = [observe(side, Path(folder) / "cell", parts) for side in sides]
    before = seen[0] if len(seen) == 2 else json.loads(asked.old.read_text(encoding="utf-8"))
    if asked.save:
        asked.save.write_text(json.dumps(before), encoding="utf-8")
    old, new = ({name: value for part in parts for name, value in side[part].items()} for side in (before, seen[-1]))
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    found = differences(old, new)
    if asked.record:
        record(found, old.keys() | new.keys())
        return 0
    listed = {name: one for name, one in read_list().items() if asked.part is None or name in old.keys() | new.keys()}
    judgement = judge(found, listed)
    print("\n".join(report(judgement)))
    print(f"{len(old.keys() | new.keys())} observations")
    return 0 if judgement.ok else 1


if __name__ == "__main__":
    sys.exit(main())
