"""What a recipe leaves open: everything is asked for at once, and what was inferred is listed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from edged.core.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Questions:
    """`asked`: what is missing, a line each with the flag or key that gives it. `inferred`: what was not given
    but follows from the graph, or is a default."""

    asked: list[str] = field(default_factory=list)
    inferred: list[str] = field(default_factory=list)

    def need(self, value: T | None, otherwise: T, question: str) -> T:
        """`value`, or `otherwise` for now and a question."""
        if value is None:
            self.asked.append(question)
            return otherwise
        return value

    def infer(self, value: T | None, found: T, where: str) -> T:
        """`value`, or `found` and a note."""
        if value is None:
            shown = f"{found:g}" if isinstance(found, float) else str(found)
            self.inferred.append(f"{where} = {shown}")
            return found
        return value

    def settle(self, what: str) -> None:
        """Raise `UsageError` with all questions, if there are any."""
        if self.asked:
            listed = "\n  ".join(self.asked)
            raise UsageError(f"{what} does not say everything, and nothing is guessed:\n  {listed}")
