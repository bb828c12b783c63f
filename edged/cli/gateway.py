"""`edged gateway`: one daemon of this machine for a PLC, a broker or a SCADA system. The daemon need not run yet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from edged.cli.locate import locate
from edged.cli.options import finite
from edged.client import RequestError
from edged.config import load_daemon, runtime_roots, unit_environ
from edged.core.errors import UsageError
from edged.core.signals import told_to_end
from edged.runtime.logs import logged
from edged.services.address import is_loopback, parse_listen
from edged.services.gateway.plant import Plant

Daemon = Annotated[str, typer.Argument(help="name of a daemon of this machine, its TOML file or runtime folder")]
Quiet = Annotated[
    float | None,
    typer.Option(help="silence of a policy that counts as loss; 200 unless given", min=10, callback=finite),
]
Shown = Annotated[
    float, typer.Option(help="how long a result is shown after its part or picture", min=10, callback=finite)
]

app = typer.Typer(help="Serve a daemon's state and results to a plant, each gateway a process.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the commands to `edged`."""
    parent.add_typer(app, name="gateway")


def expected(word: str) -> tuple[list[Path], str]:
    """The runtime folder of a daemon that runs, or those in which it may yet; and its name. Raises `UsageError` for
    words that mean nothing."""
    if "://" in word:
        raise UsageError(f"{word} is on the network", "run the gateway beside the daemon, and name that")
    try:
        found = locate(word)
        assert found.runtime is not None, "it is none on the network"
        return [found.runtime], str(found.ask("status")["daemon"]["name"])
    except RequestError as error:
        if error.code not in ("no_daemon", "no_answer"):
            raise
    path = Path(word)
    if not word.endswith(".toml"):
        return ([path] if "/" in word else [root / word for root in runtime_roots()]), path.name
    places = load_daemon(path)
    if places.runtime is not None:
        return [places.runtime], places.name
    given = unit_environ(path, {}).get("RUNTIME_DIRECTORY")
    return ([Path(given)] if given else [root / places.name for root in runtime_roots()]), places.name


@contextlib.contextmanager
def attached(daemon: str, result_ms: float, quiet_ms: float | None) -> Iterator[tuple[Plant, Callable[[float], bool]]]:
    """What a gateway shows of the daemon, and `wait(seconds)`, which is True once the process was told to end."""
    ended = told_to_end()
    with logged(), contextlib.closing(Plant(*expected(daemon), result_ms, quiet_ms)) as plant:
        yield plant, ended.wait


@app.command()
def udp(
    daemon: Daemon,
    to: Annotated[str, typer.Option(help="HOST:PORT that gets the datagrams")],
    listen: Annotated[str, typer.Option(help="HOST:PORT to take triggers at, from that host alone")] = "",
    rate_hz: Annotated[float, typer.Option(help="datagrams a second", min=10, max=1000, callback=finite)] = 100.0,
    axes: Annotated[str, typer.Option(help="axes of a policy to send set-points of, such as j1,j2,tool")] = "",
    braking: Annotated[
        float, typer.Option(help="deceleration for stops of the set-points, units/s^2", min=0, callback=finite)
    ] = 0.0,
    quiet_ms: Quiet = None,
    result_ms: Shown = 2000.0,
    insecure: Annotated[bool, typer.Option("--insecure", help="take triggers from the network")] = False,
) -> None:
    """Send a daemon's state as datagrams of a fixed layout, and take triggers (docs/gateways.md)."""
    from edged.services.gateway.udp import Options, run

    here = parse_listen(listen) if listen else None
    if here is not None and not is_loopback(here[0]) and not insecure:
        raise UsageError(
            f"{here[0]} can be reached from the network, and a datagram's sender can be forged",
            "listen on a network of the machine's own and write --insecure",
        )
    names = tuple(name.strip() for name in axes.split(",")) if axes else ()
    if not all(names) or len(set(names)) < len(names):  # no action has such axes, and all set-points would be missing
        raise UsageError(f"--axes {axes}: a name is empty or there twice", "write j1,j2,tool")
    options = Options(parse_listen(to), here, rate_hz, names, braking)
    with attached(daemon, result_ms, quiet_ms) as (plant, wait):
        print(f"{plant.name} to {to}, {rate_hz:g} datagrams a second", flush=True)
        run(plant, options, wait)


@app.command()
def mqtt(
    daemon: Daemon,
    broker: Annotated[str, typer.Option(help="HOST:PORT of the broker")],
    prefix: Annotated[str, typer.Option(help="topics begin with it; edged/NAME unless given")] = "",
    user: Annotated[str, typer.Option(help="name at the broker")] = "",
    password_file: Annotated[Path | None, typer.Option(help="file whose first line is the password")] = None,
    ca: Annotated[Path | None, typer.Option(help="certificate authority of the broker: TLS is used")] = None,
    certificate: Annotated[Path | None, typer.Option(help="our own certificate")] = None,
    key: Annotated[Path | None, typer.Option(help="its private key")] = None,
    quiet_ms: Quiet = None,
    result_ms: Shown = 2000.0,
) -> None:
    """Publish a daemon's state and results as JSON at an MQTT broker (docs/gateways.md)."""
    from edged.services.gateway.mqtt import Options, run

    with attached(daemon, result_ms, quiet_ms) as (plant, wait):
        below = prefix or f"edged/{plant.name}"
        options = Options(parse_listen(broker), below, user, password_file, ca, certificate, key)
        print(f"{plant.name} to {broker} below {options.prefix}", flush=True)
        run(plant, options, wait)


@app.command()
def opcua(
    daemon: Daemon,
    listen: Annotated[str, typer.Option(help="HOST:PORT to serve at")] = "127.0.0.1:4840",
    certificate: Annotated[Path | None, typer.Option(help="our own certificate, DER or PEM")] = None,
    key: Annotated[Path | None, typer.Option(help="its private key")] = None,
    trusted: Annotated[Path | None, typer.Option(help="folder with the certificates of clients that may act")] = None,
    quiet_ms: Quiet = None,
    result_ms: Shown = 10_000.0,
    insecure: Annotated[bool, typer.Option("--insecure", help="let everybody on the network read")] = False,
) -> None:
    """Serve a daemon's state and results to SCADA systems over OPC UA (docs/gateways.md)."""
    from edged.services.gateway.opcua import Options, run

    here = parse_listen(listen)
    if (certificate is None) != (key is None) or (trusted is not None and certificate is None):
        raise UsageError(
            "a certificate without its key, or clients without one to meet", "give --certificate and --key"
        )
    options = Options(here, certificate, key, trusted, is_loopback(here[0]) or insecure)
    with attached(daemon, result_ms, quiet_ms) as (plant, wait):
        run(plant, options, wait, lambda: print(f"{plant.name} at opc.tcp://{listen}/edged/", flush=True))
