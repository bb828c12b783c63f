"""Finding: one line of the output of `edged check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edged.core.errors import EXIT_FAILED, EXIT_OK

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
