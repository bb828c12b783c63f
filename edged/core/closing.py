"""Closing: what has a `close` is closed where its `with` block ends."""

from __future__ import annotations

from typing import TypeVar

_C = TypeVar("_C", bound="Closing")


class Closing:
    """For classes whose `close` lets go of what they hold: `with` gives the object, and closes it at the end."""

    def __enter__(self: _C) -> _C:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError
