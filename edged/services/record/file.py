"""One recording: an MCAP file of chunks, each on disk before the next begins, under its last name when it is whole.

A recorder that dies loses what is not in a chunk yet; `repair` makes a whole file of what it left.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from mcap.exceptions import EndOfFile, McapError
from mcap.reader import make_reader
from mcap.records import Channel, Metadata, Schema
from mcap.records import Message as Record
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from edged.core.errors import EdgedError, UsageError, in_words
from edged.core.files import sync
from edged.services.record.shown import Shown

WHOLE, OPEN = ".mcap", ".mcap.part"
OURS = f"*-{'[0-9]' * 8}T{'[0-9]' * 9}Z-*"
"""How the names of recordings begin, as a pattern: others may keep files of that kind in the same folder."""
CHUNK_BYTES = 4 * 1024 * 1024
CHUNK_S = 1.0  # oldest that is not on disk
WIRE = "edged.wire.v1"  # encoding of messages as they were on the bus
FACTS = "edged"  # name of the metadata


class Entry(NamedTuple):
    """A record as it is read: `data` is a message of the wire where `encoding` is `WIRE`, else protobuf of `schema`."""

    topic: str
    encoding: str
    schema: str
    log_ns: int
    sequence: int
    data: bytes


class RecordingFile:
    """For one thread. `path`: its last name; until `close` it lies beside it as `.mcap.part`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self.part = path.with_name(path.name.removesuffix(WHOLE) + OPEN)
        self._file = self.part.open("xb")
        self._is_begun = False  # whether a chunk is on disk
        self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=CompressionType.LZ4)
        self._writer.start(library="edged")
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._synced_s, self._pending = time.monotonic(), 0

    def wire(self, topic: str, data: bytes, log_ns: int, sequence: int) -> None:
        """A message of the bus as it was."""
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(topic, WIRE, 0)
        self._add(self._channels[topic], data, log_ns, sequence)

    def show(self, shown: Shown, log_ns: int) -> None:
        """A message for viewers."""
        if shown.topic not in self._channels:
            kind = type(shown.proto).DESCRIPTOR
            if kind.full_name not in self._schemas:
                data = _file_set(kind)
                self._schemas[kind.full_name] = self._writer.register_schema(kind.full_name, "protobuf", data)
            schema = self._schemas[kind.full_name]
            self._channels[shown.topic] = self._writer.register_channel(shown.topic, "protobuf", schema)
        self._add(self._channels[shown.topic], shown.proto.SerializeToString(), log_ns, shown.sequence)

    def tend(self) -> None:
        """Bring what has waited long enough to disk."""
        if self._pending and time.monotonic() - self._synced_s >= CHUNK_S:
            self._sync()

    def close(self, facts: Mapping[str, str]) -> Path:
        """End it with `facts` as its metadata, and give it its name."""
        self._writer.add_metadata(FACTS, dict(facts))
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.part.rename(self.path)
        sync(self.path.parent)
        return self.path

    def abandon(self) -> None:
        """The disk refuses: leave what is there, if there is anything."""
        with contextlib.suppress(OSError):
            self._file.close()
        if not self._is_begun:
            with contextlib.suppress(OSError):
                self.part.unlink()

    def _add(self, channel: int, data: bytes, log_ns: int, sequence: int) -> None:
        self._writer.add_message(channel, log_ns, data, log_ns, sequence & 0xFFFFFFFF)
        self.bytes += len(data)
        self._pending += len(data)
        if self._pending >= CHUNK_BYTES:
            self._sync()

    def _sync(self) -> None:
        self._writer.flush()  # type: ignore[no-untyped-call]
        self._file.flush()
        os.fsync(self._file.fileno())
        self._is_begun = True
        self._synced_s, self._pending = time.monotonic(), 0


def read(path: Path) -> Iterator[Entry]:
    """All messages of a recording in the order of the file, whole or not: what follows the last whole chunk is left.

    Raises `EdgedError` for what is no recording, `UsageError` for a file that cannot be read.
    """
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    try:
        with path.open("rb") as file:
            for record in _records(file):
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Record):
                    channel = channels[record.channel_id]
                    schema = schemas[channel.schema_id].name if channel.schema_id else ""
                    yield Entry(
                        channel.topic, channel.message_encoding, schema, record.log_time, record.sequence, record.data
                    )
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {in_words(error)}", "give a file that the recorder wrote") from None
    except McapError as error:
        raise EdgedError(f"{path} is no recording: {error}", "give a .mcap file that the recorder wrote") from None


def facts(path: Path) -> dict[str, str]:
    """Its metadata; empty where it did not come to its end."""
    with path.open("rb") as file:
        for record in _records(file):
            if isinstance(record, Metadata) and record.name == FACTS:
                return dict(record.metadata)
    return {}


def span(path: Path) -> tuple[int, int]:
    """Unix times of the first and the last message of a whole recording, from its end alone. Raises `EdgedError`."""
    try:
        with path.open("rb") as file:
            summary = make_reader(file).get_summary()
    except (OSError, McapError) as error:
        raise EdgedError(
            f"{path} is no whole recording: {in_words(error)}", "give a .mcap file of the recorder"
        ) from None
    if summary is None or summary.statistics is None:
        raise EdgedError(f"{path} does not say what is in it", "give a .mcap file of the recorder")
    return summary.statistics.message_start_time, summary.statistics.message_end_time


def repair(part: Path) -> Path:
    """A whole file of what a recorder that died left in `part`, which is then gone.

    Raises `EdgedError` where it is no recording, or the disk has no room for both; `part` is then as it was.
    """
    whole = part.with_name(part.name.removesuffix(OPEN) + WHOLE)
    again = whole.with_name(whole.name + ".repaired")
    try:
        _write_again(part, again)
        again.rename(whole)
    except McapError as error:
        again.unlink(missing_ok=True)
        raise EdgedError(f"{part} is no recording: {error}", "remove it") from None
    except OSError as error:
        again.unlink(missing_ok=True)
        remedy = "it can be replayed as it is, and is tried again at the next start"
        raise EdgedError(f"{part} cannot be repaired: {error.strerror}", remedy) from None
    part.unlink()
    sync(whole.parent)
    return whole


def _write_again(part: Path, again: Path) -> None:
    with again.open("wb") as out, part.open("rb") as file:
        writer = Writer(out, chunk_size=CHUNK_BYTES, compression=CompressionType.LZ4)
        writer.start(library="edged")
        schemas, channels = {0: 0}, {}
        for record in _records(file):
            if isinstance(record, Schema) and record.id not in schemas:
                schemas[record.id] = writer.register_schema(record.name, record.encoding, record.data)
            elif isinstance(record, Channel) and record.id not in channels:
                known = schemas[record.schema_id]
                channels[record.id] = writer.register_channel(record.topic, record.message_encoding, known)
            elif isinstance(record, Record):
                writer.add_message(
                    channels[record.channel_id], record.log_time, record.data, record.publish_time, record.sequence
                )
        writer.add_metadata(FACTS, {"repaired": "the recorder ended before the recording did"})
        writer.finish()  # type: ignore[no-untyped-call]
        out.flush()
        os.fsync(out.fileno())


def _records(file: Any) -> Iterator[Any]:
    """Records until the end, or until what was cut off."""
    records = StreamReader(file).records
    began = False
    while True:
        try:
            record = next(records)
        except (StopIteration, EndOfFile):
            return
        except Exception as error:  # a chunk that was cut off fails in as many ways as it has fields
            if not began:
                raise McapError(str(error) or type(error).__name__) from error
            return
        began = True
        yield record


def _file_set(kind: Any) -> bytes:
    """The schema of a protobuf message with all it needs, as MCAP wants it."""
    found: dict[str, Any] = {}

    def add(file: Any) -> None:
        for needed in file.dependencies:
            add(needed)
        found[file.name] = file

    add(kind.file)
    made = FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(made.file.add())
    return bytes(made.SerializeToString())
