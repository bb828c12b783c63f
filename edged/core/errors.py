"""Errors that name the fact and the remedy, and the exit code each of them means.

Expected trouble on the loop's path is a value (`records.Hold`); these exceptions are for the edges:
files, sockets, command lines, and machinery that is broken for good.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1  # it was tried and failed: endpoint in use, machinery broken, nothing to verify with
EXIT_USAGE = 2  # decided by the command line or the config alone; systemd does not restart on it
EXIT_REFUSED = 3  # digest, signature, parity or contract does not hold


class EdgedError(Exception):
    """Something a person has to act on.

    `fact` is what is wrong, `remedy` what to do about it; `code` is a stable word for programs.
    """

    exit_code = EXIT_FAILED
    code = "failed"

    def __init__(self, fact: str, remedy: str = "") -> None:
        super().__init__(f"{fact}; {remedy}" if remedy else fact)
        self.fact = fact
        self.remedy = remedy


class UsageError(EdgedError):
    """A command line that cannot mean anything."""

    exit_code = EXIT_USAGE
    code = "usage"


class ConfigError(EdgedError):
    """A config file that is wrong by itself: names file, key, value and the allowed range."""

    exit_code = EXIT_USAGE
    code = "config"


class WireError(EdgedError):
    """Bytes that are not a valid message."""

    code = "wire"


class RefusedError(EdgedError):
    """Something that did not prove itself: digest, signature, parity, contract."""

    exit_code = EXIT_REFUSED
    code = "refused"


class EngineError(EdgedError):
    """An engine that cannot be opened or whose run failed."""

    code = "engine"


class MachineryError(EdgedError):
    """Broken for good (such as a dead device context): the process ends and systemd starts a new one."""

    code = "machinery"
