"""Registry: one artefact of an OCI registry, by oras, which knows how to log in.

Nothing that a registry sends is believed before its digest was compared, and none of it is more than was announced.
oras has no time limits, and tries again for minutes where nobody answers: here each wait is bounded, and one try is
one try.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import requests
import urllib3.exceptions
from oras.container import Container
from oras.logger import logger as oras_log
from oras.provider import Registry as Client
from requests.adapters import HTTPAdapter

from edged.core.clock import NS_PER_S, monotonic_ns
from edged.core.errors import UNREADABLE, EdgedError, RefusedError, UsageError, in_words
from edged.services.address import is_loopback
from edged.services.pull.reference import DIGEST, Reference

CONNECT_S, SILENCE_S = 5.0, 20.0
MOST_MANIFEST_BYTES = 4 << 20  # what registries have to take, says the specification
PIECE_BYTES = 1 << 18
NOTHING = "nothing was kept"
TITLE = "org.opencontainers.image.title"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
ACCEPTED = f"{IMAGE}, application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True)
class Access:
    """How a registry is reached. `auth`: a file as `docker login` writes it, beside `~/.docker/config.json`; `ca`: who
    vouches for the registry's certificate; `seconds`: for all of it."""

    auth: Path | None = None
    ca: Path | None = None
    plain_http: bool = False
    seconds: float = 600.0


class Blob(msgspec.Struct, frozen=True):
    """A descriptor of the manifest: what the bytes have to be."""

    digest: str
    size: int
    annotations: dict[str, str] | None = None

    @property
    def title(self) -> str:
        """The name of the file that was pushed; empty where it has none. Never a path of ours."""
        return (self.annotations or {}).get(TITLE, "")


class _Manifest(msgspec.Struct):
    layers: list[Blob] | None = None
    manifests: list[Any] | None = None


class Registry:
    """One artefact. Raises `EdgedError` when the registry cannot be reached or does not let us in, `RefusedError` for
    bytes that are not what they should be."""

    def __init__(self, reference: Reference, access: Access) -> None:
        self._reference, self._until_ns = reference, monotonic_ns() + round(access.seconds * NS_PER_S)
        if access.ca is not None and not access.ca.is_file():
            raise UsageError(f"{access.ca} is no file", "give --ca the certificate of who signed the registry's")
        self._in_the_clear = access.plain_http and not is_loopback(reference.host)
        oras_log.set_level(logging.CRITICAL)  # what it would print is said once, as our error
        verify: bool | str = str(access.ca) if access.ca else True
        options = {"hostname": reference.registry, "insecure": access.plain_http, "tls_verify": verify}
        with self._told():
            kind = "basic" if self._challenge(options).startswith("basic") else "token"
            self._client = _Client(**options, auth_backend=kind)
        if not self._in_the_clear:
            self._log_in(access.auth)
        if kind == "basic" and not hasattr(self._client.auth, "_basic_auth"):
            raise self._locked_out()

    def close(self) -> None:
        """Let its connections go."""
        self._client.session.close()

    def manifest(self) -> tuple[str, list[Blob]]:
        """The digest of the artefact's manifest, and its layers. Of a reference with a digest it is that."""
        wanted = self._reference.digest or self._reference.tag or "latest"
        with self._told(), self._ask(f"/manifests/{wanted}", ACCEPTED) as response:
            self._check(response, f"{self._reference}")
            content = b"".join(self._pieces(response, MOST_MANIFEST_BYTES, "the manifest"))
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if self._reference.digest not in ("", digest):
            raise self._other(f"the manifest is {digest}")
        return digest, self._layers(content)

    def fetch(self, blob: Blob, file: IO[bytes], what: str) -> None:
        """Write a layer's bytes to `file`; they are what the manifest says, or it raises."""
        found, count = hashlib.sha256(), 0
        with self._told(), self._ask(f"/blobs/{blob.digest}") as response:
            self._check(response, what)
            for piece in self._pieces(response, blob.size, what):
                found.update(piece)
                count += len(piece)
                file.write(piece)
        if count != blob.size:
            raise EdgedError(f"{what} was cut off after {count} of {blob.size} bytes", f"try again; {NOTHING}")
        if f"sha256:{found.hexdigest()}" != blob.digest:
            raise self._other(f"{what} has other bytes than its digest says")

    def _layers(self, content: bytes) -> list[Blob]:
        try:
            read = msgspec.json.decode(content, type=_Manifest)
        except UNREADABLE as error:
            fact = f"{self._reference} has no manifest that can be read ({error})"
            raise RefusedError(fact, "push it again") from None
        if read.layers is None:
            kind = "an index of several artefacts" if read.manifests else "no artefact with layers"
            raise RefusedError(f"{self._reference} is {kind}", "give the digest of the engine's own manifest")
        for blob in read.layers:
            if blob.size < 0 or not re.fullmatch(DIGEST, blob.digest):
                fact = f"{self._reference} names a layer {blob.digest!r} of {blob.size} bytes"
                raise RefusedError(fact, "push it again")
        return read.layers

    def _challenge(self, options: Mapping[str, Any]) -> str:
        """How the registry wants to be logged in to, by what it answers to nobody."""
        client = _Client(**options)
        url = f"{client.prefix}://{self._reference.registry}/v2/"
        with client.session, client.session.get(url, verify=client._tls_verify, stream=True) as response:
            return str(response.headers.get("Www-Authenticate", "")).lower()

    def _ask(self, path: str, accept: str = "*/*") -> requests.Response:
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        url = f"{self._client.prefix}://{self._reference.registry}/v2/{self._reference.repository}{path}"
        return self._client.do_request(url, headers=headers, stream=True)

    def _pieces(self, response: requests.Response, most: int, what: str) -> Iterator[bytes]:
        count = 0
        while piece := response.raw.read1(PIECE_BYTES):  # whatever came, so that a trickle is noticed
            count += len(piece)
            if count > most:
                raise RefusedError(f"{what} is longer than the {most} bytes it may have", "push it again")
            if monotonic_ns() > self._until_ns:
                raise EdgedError(f"{what} takes too long: {count} bytes by now", f"give more --seconds; {NOTHING}")
            yield piece

    def _log_in(self, auth: Path | None) -> None:
        if auth is not None and not auth.is_file():
            raise UsageError(f"{auth} is no file", "give --auth a file as 'docker login' writes it")
        try:
            container = Container(f"{self._reference.registry}/{self._reference.repository}")
            self._client.auth.load_configs(container, configs=[str(auth)] if auth else None)
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise UsageError(
                f"the logins of {auth or '~/.docker/config.json'} cannot be read ({in_words(error)})",
                "'docker login' writes them anew",
            ) from None

    def _check(self, response: requests.Response, what: str) -> None:
        match response.status_code:
            case 200:
                return
            case 401 | 403:
                raise self._locked_out()
            case 404:
                raise EdgedError(f"{self._reference.registry} has no {what}", "look for it with 'oras repo tags'")
            case 429:
                raise EdgedError(f"{self._reference.registry} is asked too often", "try again later, or log in")
            case code:
                said = f"{code} {response.reason}"
                raise EdgedError(f"{self._reference.registry} answers {said}", "see the registry's log")

    def _locked_out(self) -> EdgedError:
        fact = f"{self._reference.registry} does not let us have {self._reference.repository}"
        if self._in_the_clear:
            return EdgedError(
                f"{fact}, and no login is sent over plain HTTP", "use HTTPS, with --ca where it is needed"
            )
        return EdgedError(fact, "log in ('docker login', 'oras login'), or give --auth the file that one of them wrote")

    def _other(self, fact: str) -> RefusedError:
        return RefusedError(f"{self._reference}: {fact}", f"{NOTHING}; find out who changes it on the way")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What its libraries raise, as a fact and a remedy."""
        where = self._reference.registry
        try:
            yield
        except requests.exceptions.SSLError as error:
            raise EdgedError(f"{where} is not who it says: {_words(error)}", "give --ca, or correct its name") from None
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
            raise EdgedError(f"{where} does not answer", f"look whether it runs and may be asked; {NOTHING}") from None
        except requests.exceptions.ConnectionError as error:
            raise EdgedError(f"{where} cannot be reached: {_words(error)}", "check name, port and proxy") from None
        except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError):
            raise EdgedError(f"{where} cut the line in the middle", f"try again; {NOTHING}") from None
        except requests.exceptions.RequestException as error:
            raise EdgedError(f"{where} answers what cannot be understood ({error})", "is that a registry?") from None
        except ValueError:  # oras: of a challenge it cannot answer
            raise self._locked_out() from None


class _Client(Client):  # type: ignore[misc]
    """oras' client with time limits and without its minutes of trying again."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, _Patient())

    def do_request(self, *args: Any, **options: Any) -> requests.Response:
        once = Client.do_request.__wrapped__  # beneath the decorator that tries again
        return once(self, *args, **options)  # type: ignore[no-any-return]


class _Patient(HTTPAdapter):
    """Waits so long for a connection, and so long for the next bytes. Ends what it gave when it is closed: oras leaves
    an answer that asks for a login open."""

    def __init__(self) -> None:
        super().__init__()
        self._given: list[requests.Response] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        options["timeout"] = (CONNECT_S, SILENCE_S)
        response = super().send(request, *args, **options)
        self._given.append(response)
        return response

    def close(self) -> None:
        for response in self._given:
            response.close()
        super().close()


def _cause(error: BaseException) -> BaseException:
    """The innermost one: libraries wrap them several times."""
    for inner in (error.__cause__, error.__context__, *error.args):
        if isinstance(inner, BaseException):
            return _cause(inner)
    return error


def _words(error: BaseException) -> str:
    cause = _cause(error)
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
