"""Finding: one line of the output of `edged check` and `edged doctor`, and all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EXIT_USAGE

Level = Literal["ok", "untried", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about `subject`, and what to do about it. `exit_code`: what an error alone would make `check` return."""

    level: Level
    subject: str
    fact: str
    remedy: str = ""
    exit_code: int = EXIT_OK

    def __str__(self) -> str:
        return f"{self.level:<8}{self.subject}: {self.fact}" + (f"; {self.remedy}" if self.remedy else "")


def fault(subject: str, fact: str, remedy: str, exit_code: int = EXIT_FAILED) -> Finding:
    """What is wrong and has to be put right."""
    return Finding("error", subject, fact, remedy, exit_code)


def warning(subject: str, fact: str, remedy: str = "") -> Finding:
    """What works, and is seldom meant."""
    return Finding("warning", subject, fact, remedy)


def untried(subject: str, fact: str) -> Finding:
    """What only the daemon itself finds out."""
    return Finding("untried", subject, fact)


def split(text: str) -> tuple[str, str]:
    """Fact and remedy of a sentence that says both."""
    fact, semicolon, remedy = text.rpartition("; ")
    return (fact, remedy) if semicolon else (text, "")


def exit_code(findings: Iterable[Finding]) -> int:
    """2 when the config alone is wrong, 3 when the engine is refused, 1 for other errors, 0 else."""
    codes = {finding.exit_code for finding in findings}
    return next((code for code in (EXIT_USAGE, EXIT_REFUSED, EXIT_FAILED) if code in codes), EXIT_OK)


def show(findings: Sequence[Finding]) -> str:
    """A line per finding and a last one that counts them; what was not tried is not called well."""
    count = {level: sum(finding.level == level for finding in findings) for level in ("error", "warning", "untried")}
    parts = [f"{count[level]} {level}{'s' * (count[level] != 1)}" for level in ("error", "warning") if count[level]]
    parts = parts or ["nothing wrong" if count["untried"] else "all well"]
    parts += [f"{count['untried']} not tried"] if count["untried"] else []
    return "\n".join([*map(str, findings), ", ".join(parts)])


def facts(findings: Sequence[Finding]) -> dict[str, Any]:
    """The same for programs: `--json`."""
    code = exit_code(findings)
    return {"ok": code == EXIT_OK, "exit_code": code, "findings": [asdict(finding) for finding in findings]}
