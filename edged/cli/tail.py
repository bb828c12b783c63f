"""tail: the messages of a stream, a line each, for people or as JSON for programs."""

from __future__ import annotations

import sys
from math import prod
from pathlib import Path
from typing import Any

from edged.cli.output import discard_output, to_json
from edged.client import CurveKeys, Message, RequestError, Subscription, describe
from edged.client.reach import no_right, reach
from edged.core.errors import UsageError

SILENCE_MS = 3000.0


def tail_stream(endpoint: str, topic: str | None, count: int, as_json: bool, keys: CurveKeys | None = None) -> None:
    """Print messages until `count` of them came (0 = for ever) or the reader is interrupted; silence is shown too.

    Raises `RequestError` when the daemon has ended."""
    printed = 0
    try:
        with Subscription(endpoint, topic, keys=keys) as subscription:
            while not count or printed < count:
                message = subscription.receive(SILENCE_MS)
                if message is None:
                    _still_there(endpoint)
                    hint = " (who is not let in hears nothing; the daemon's log tells)" if keys else ""
                    sys.stderr.write(f"edged: nothing on {endpoint} for {SILENCE_MS / 1000:g} s{hint}\n")
                    continue
                line = to_json(as_object(message)) if as_json else describe(message)
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
                printed += 1
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # `edged tail | head`: whoever read has seen enough
        discard_output()


def _still_there(endpoint: str) -> None:
    """Raise `RequestError` when nothing listens at a socket of this machine any more; a network tells nothing."""
    path = endpoint.removeprefix("ipc://")
    if path != endpoint and not path.startswith("@") and reach(Path(path)) in ("absent", "left"):
        raise RequestError("no_daemon", f"the daemon at {endpoint} has ended", "start it, and ask again")


def find_stream(runtime: Path, stream: str) -> tuple[str, str | None]:
    """Endpoint of a stream of the daemon that runs in `runtime`, and no topic: it has no other. Default: the verdicts'.

    Raises `UsageError` when it has no such stream, `RequestError` when we may not listen to it.
    """
    if not stream:
        stream = "masks" if (runtime / "masks").exists() else "action"
    match reach(runtime / stream):
        case "closed":
            raise RequestError("permission", *no_right(runtime / stream))
        case "absent":
            there = sorted(path.name for path in runtime.glob("*") if path.is_socket() and path.name != "control")
            raise UsageError(f"{runtime} has no stream {stream!r}", f"it has {', '.join(there) or 'none yet'}")
    return f"ipc://{runtime / stream}", None


def as_object(message: Message) -> dict[str, Any]:
    """A message as plain values: the preamble's fields, the header's, and arrays of up to 64 numbers."""
    specs = message.arrays.specs
    small = {name: message.arrays[name].tolist() for name, spec in specs.items() if prod(spec.shape) <= 64}
    preamble = {
        "topic": message.topic,
        "kind": message.kind.name.lower(),
        "seq": message.seq,
        "session": message.session,
        "stop": message.stop,
        "captured_ns": message.captured_ns,
        "published_ns": message.published_ns,
        "valid_for_ns": message.valid_for_ns,
        "engine": message.engine.hex(),
    }
    return {
        **preamble,
        **message.header,
        **preamble,  # whatever a sender calls its own keys
        "arrays": {name: {"dtype": spec.dtype, "shape": spec.shape} for name, spec in specs.items()},
        "values": small,
    }
