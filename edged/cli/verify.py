"""`edged verify`: does an engine hold, and does it give here what it gave where it was packed?

In this order: files and digests, signature, manifest, graph, golden samples on ONNX Runtime's CPU, and on the GPU where
there is one. It walks graphs in Python, so it is a process of its own and never runs inside a daemon.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from edged.bundle.bundle import Bundle
from edged.bundle.manifest import SELF_PROOF
from edged.bundle.signature import check_own_signature, check_signature
from edged.cli.engine_arg import find_engine
from edged.core.errand import Beat, run_errand
from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EdgedError
from edged.engine.device import read_device
from edged.engine.plan_build.start import ask_parser
from edged.engine.registry import open_engine
from edged.pipeline.golden import Difference, judge

LIMIT_S = 600.0
SHOWN = 5  # of what TensorRT does not take

Result = Literal["ok", "refused", "failed", "warning", "skipped"]


@dataclass(frozen=True, slots=True)
class Row:
    """One check. "refused": it does not hold; "failed": it could not be done; "skipped": there is nothing to do."""

    check: str
    result: Result
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks of one engine, as far as they went: the first that is refused or failed is the last."""

    target: str
    rows: tuple[Row, ...]
    bundle: Bundle | None

    @property
    def exit_code(self) -> int:
        """3 when something does not hold, 1 when something could not be checked, else 0."""
        results = {row.result for row in self.rows}
        if "refused" in results:
            return EXIT_REFUSED
        return EXIT_FAILED if "failed" in results else EXIT_OK


def verify(
    target: str,
    store: Path | None = None,
    trusted: Path | None = None,
    cache: Path | None = None,
    limit_s: float = LIMIT_S,
    *,
    for_tensorrt: bool = False,
    backend: str = "",
) -> Verdict:
    """Check what `find_engine` finds by `target`, in `store` alone if that is given.

    An engine that does not load or answer for `limit_s` is refused; its thread is left behind.

    `trusted` demands a signature by a key of that folder; `cache` is where plans are: that of the daemon whose store it
    is, else the user's, if absent. `for_tensorrt` asks also whether TensorRT could make a plan of it, and
    `backend` demands the golden samples on that one too. Raises `UsageError` for what is no engine at all.
    """
    rows: list[Row] = []
    bundle: Bundle | None = None
    doing = ["files"]
    try:
        found = find_engine(target, store)
        bundle = found.read()
        rows.append(Row("files", "ok", f"digests match, identity {bundle.identity.hex()}"))
        what = f"{bundle.name} {bundle.version}, {bundle.manifest.task} {bundle.manifest.precision}"
        rows.append(Row("manifest", "ok", what))
        if bundle.manifest.task == "policy":
            proof = bundle.manifest.proof
            rows.append(Row("import", "ok" if proof else "warning", f"proved {proof or SELF_PROOF}"))
        doing.append("signature")
        rows.append(_signature(bundle, trusted))
        sealed = bundle

        def work(beat: Beat) -> None:
            for what, row in _engines(sealed, cache or found.cache, found.path if for_tensorrt else None, backend):
                beat()
                doing.append(what)
                if row is not None:
                    rows.append(row)

        run_errand(f"{bundle.name} {bundle.version}", work, limit_s)
    except EdgedError as error:
        if error.exit_code not in (EXIT_FAILED, EXIT_REFUSED):
            raise
        result: Result = "refused" if error.exit_code == EXIT_REFUSED else "failed"
        rows.append(Row(doing[-1], result, error.fact, error.remedy))
    return Verdict(target, tuple(rows), bundle)


def show(verdict: Verdict) -> str:
    """A table, and a last line with the verdict."""
    width = max(len(row.check) for row in verdict.rows)
    lines = [f"{row.check:<{width}}  {row.result:<8} {row.detail}" for row in verdict.rows]
    bad = [row for row in verdict.rows if row.result in ("refused", "failed")]
    bundle = verdict.bundle
    what = verdict.target if bundle is None else f"{bundle.name} {bundle.version}"
    if not bad:
        return "\n".join([*lines, f"{what} is verified"])
    remedy = f"; {bad[0].remedy}" if bad[0].remedy else ""
    outcome = "does not hold" if verdict.exit_code == EXIT_REFUSED else "is not verified"
    return "\n".join([*lines, f"{what} {outcome}{remedy}"])


def facts(verdict: Verdict) -> dict[str, Any]:
    """The same for programs: `--json`."""
    bundle = verdict.bundle
    return {
        "target": verdict.target,
        "ok": verdict.exit_code == EXIT_OK,
        "exit_code": verdict.exit_code,
        "name": bundle.name if bundle else None,
        "version": bundle.version if bundle else None,
        "identity": bundle.identity.hex() if bundle else None,
        "signed_by": bundle.signature[:32].hex() if bundle and bundle.signature else None,
        "checks": [asdict(row) for row in verdict.rows],
    }


def _signature(bundle: Bundle, trusted: Path | None) -> Row:
    public = None if bundle.signature is None else check_own_signature(bundle)
    warning = check_signature(bundle, trusted, required=trusted is not None)
    if warning is None and public is not None:
        return Row("signature", "ok", f"by {public.hex()}, trusted")
    return Row("signature", "warning", warning or "")


def _engines(
    bundle: Bundle, cache: Path | None, to_ask: Path | None, demanded: str
) -> Iterator[tuple[str, Row | None]]:
    """(what is being done, its row once it is done), so that what fails is known by name."""
    if to_ask is not None:
        yield "tensorrt", None
        yield "tensorrt", _for_tensorrt(bundle, to_ask)
    yield "graph", None
    with open_engine(bundle, "cpu") as engine:
        yield "graph", Row("graph", "ok", "has the tensors that the manifest names")
        yield "golden cpu", None
        for row in _golden(judge(engine, bundle), engine.backend):
            yield row.check, row
    device = read_device()
    tried = dict.fromkeys(() if device is None else ("tensorrt", "cuda"))
    for backend in {**tried, **({} if demanded in ("", "cpu") else {demanded: None})}:
        yield f"golden {backend}", None
        try:
            opened = open_engine(bundle, backend, cache=cache)
        except EdgedError as error:
            if error.exit_code == EXIT_REFUSED or backend == demanded:
                raise
            yield "", Row(f"golden {backend}", "skipped", f"{device.name if device else ''}: {error}")
            continue
        with opened as engine:
            for row in _golden(judge(engine, bundle), engine.backend):
                yield row.check, row


def _for_tensorrt(bundle: Bundle, path: Path) -> Row:
    """The parser's word where TensorRT is installed, else that of the list of what it has been seen to refuse."""
    if find_spec("tensorrt") is not None:
        return Row("tensorrt", "ok", f"the parser of TensorRT {ask_parser(bundle, path)} takes the graph")
    try:
        from edged.engine.plan_build.accepts import SEEN, obstacles
    except ImportError:
        return Row("tensorrt", "skipped", "neither TensorRT nor onnx is installed here: pip install 'edged[pack]'")
    if found := obstacles(bundle.model):
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        return Row("tensorrt", "refused", "; ".join(found[:SHOWN]) + more, "change the network, or run it on the CPU")
    return Row(
        "tensorrt", "ok", f"nothing in the graph that TensorRT {SEEN} was seen to refuse; it is not installed here"
    )


def _golden(differences: Sequence[Difference], backend: str) -> Iterator[Row]:
    """A row per judged output: its worst sample against the bound."""
    check = f"golden {backend}"
    for output in dict.fromkeys(item.output for item in differences):
        mine = [item for item in differences if item.output == output]
        worst = max(mine, key=lambda item: (not item.ok, item.value if item.measure == "error" else -item.value))
        sign = "<=" if worst.measure == "error" else ">="
        detail = f"{output}: {worst.measure} {worst.value:.3g} {sign if worst.ok else 'not ' + sign} {worst.bound:g}"
        where = f", worst of {len(mine)} samples is {worst.sample:03d}" + (f" ({worst.detail})" if worst.detail else "")
        there = f" with --backend {backend}" if backend not in ("", "cpu") else ""
        remedy = "" if worst.ok else f"do not use this engine here: pack it again{there}, or update ONNX Runtime"
        yield Row(check, "ok" if worst.ok else "refused", detail + where, remedy)
