"""Reference: which artefact of which registry, and by which digest. A tag can be moved; a digest cannot."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edged.core.errors import UsageError

PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
DIGEST = r"sha256:[0-9a-f]{64}"
GRAMMAR = re.compile(  # that of the OCI distribution specification, with a registry that is written out
    rf"(?P<registry>(?:\[[0-9a-f:]+\]|[A-Za-z0-9.-]+)(?::[0-9]{{1,5}})?)/(?P<repository>{PART}(?:/{PART})*)"
    rf"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}))?(?:@(?P<digest>{DIGEST}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """`tag` and `digest` (`sha256:` and 64 hex digits) are empty where they are not given; `digest` decides."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def host(self) -> str:
        """Without the port, IPv6 without brackets."""
        host = self.registry if self.registry.endswith("]") else re.sub(r":[0-9]+$", "", self.registry)
        return host.strip("[]")

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Of `REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]`, with or without `oci://` before it. Raises `UsageError`."""
    matched = GRAMMAR.fullmatch(text.removeprefix("oci://"))
    if matched is None:
        example = f"registry.example/engines/reach@sha256:{'0' * 8}..."
        raise UsageError(f"{text!r} names no artefact of a registry", f"give one such as {example}")
    found = matched.groupdict(default="")
    return Reference(found["registry"], found["repository"], found["tag"], found["digest"])
