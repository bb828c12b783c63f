"""Commands about engines and keys: verify, build, keys."""

from __future__ import annotations

import os
import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edged.cli.options import AsJson, CachePath, StorePath, Target, finite
from edged.cli.output import print_answer
from edged.cli.progress import Bar
from edged.config.paths import default_cache

if TYPE_CHECKING:
    from edged.cli.keys import KeyPair

keys_app = typer.Typer(
    help="Make keys that sign engines or open streams on the network, and say what whose key may do.",
    no_args_is_help=True,
)

KeyName = Annotated[str, typer.Argument(help="name of the key")]
ClientsPlace = Annotated[
    str, typer.Argument(help="the daemon's TOML file, or the folder of its bus.authorized", metavar="CLIENTS")
]
KeyFolder = Annotated[Path | None, typer.Option("--dir", help="folder to write to; default ~/.config/edged/keys")]


class Planner(str, Enum):
    """Back ends that make a plan of an engine before they run it."""

    TENSORRT = "tensorrt"


def register(app: typer.Typer) -> None:
    """Add these commands to `edged`."""
    app.command()(verify)
    app.command()(build)
    app.add_typer(keys_app, name="keys")


def verify(
    target: Target,
    trusted: Annotated[Path | None, typer.Option(help="folder of public keys; one of them has to have signed")] = None,
    store: StorePath = None,
    cache: CachePath = None,
    seconds: Annotated[
        float,
        typer.Option(help="an engine that does not answer for so long is refused", min=1, max=86_400, callback=finite),
    ] = 600.0,
    backend: Annotated[
        str, typer.Option(help="its golden samples have to come out on this engine.backend as well")
    ] = "",
    planner: Annotated[
        Planner | None, typer.Option("--for", help="also whether this back end takes the graph; needs no GPU")
    ] = None,
    json: AsJson = False,
) -> None:
    """Check an engine: digests, signature, manifest, graph, golden samples. Exit 3 when something does not hold."""
    from edged.cli import verify as job
    from edged.core.errand import left_behind

    verdict = job.verify(target, store, trusted, cache, seconds, for_tensorrt=planner is not None, backend=backend)
    print_answer(json, verdict, job.show, job.facts)
    if left_behind():  # a thread that hangs in a library would abort the process on every orderly way out
        sys.stdout.flush()
        os._exit(verdict.exit_code)
    raise typer.Exit(verdict.exit_code)


def build(
    target: Target,
    store: StorePath = None,
    cache: CachePath = None,
    level: Annotated[int, typer.Option(help="0 builds fast, 5 searches longest", min=0, max=5)] = 3,
    workspace: Annotated[int, typer.Option(help="MiB a tactic may use on the GPU; 0 = all", min=0)] = 1024,
    memory: Annotated[int, typer.Option(help="MiB the process may use; 0 = 3/4 of what is free", min=0)] = 0,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="also for other GPUs from Ampere on")
    ] = False,
    version_compatible: Annotated[bool, typer.Option("--version-compatible", help="also for newer TensorRT")] = False,
    tf32: Annotated[bool, typer.Option("--tf32", help="round fp32 products: faster, less exact")] = False,
    json: AsJson = False,
) -> None:
    """Build the TensorRT plan of an engine on this machine, beside a running daemon if need be."""
    from edged.cli.engine_arg import find_engine
    from edged.engine.plan_build.start import Progress, build_plan
    from edged.engine.plan_cache import BuildOptions

    found = find_engine(target, store)
    options = BuildOptions(level, workspace, hardware_compatible, version_compatible, tf32)
    bar = Bar(sys.stderr)
    outermost = ""

    def follow(progress: Progress) -> None:
        nonlocal outermost
        outermost = progress.phase if progress.depth == 0 else outermost
        step = f"{progress.phase} {progress.step}/{progress.steps}" if sys.stderr.isatty() else outermost
        if step:  # a log waits for the first outer phase
            bar.show(progress.step / max(1, progress.steps), outermost, step)

    try:
        outcome = build_plan(
            found.read(),
            found.path,
            (cache or found.cache or default_cache()).absolute(),
            options,
            follow,
            bar.note,
            memory_bytes=memory << 20,
        )
    except KeyboardInterrupt:
        bar.note("stopped", "nothing was written")
        raise typer.Exit(130) from None
    finally:
        bar.close()
    if options != BuildOptions():
        bar.note("note", "daemons take the plan of an engine that was built last: that is this one now")
    about = {**outcome.about, "found": outcome.found, "peak_mib": outcome.peak_bytes >> 20}
    print_answer(json, about, _show_plan)


def _show_plan(about: dict[str, Any]) -> str:
    done = "was there already" if about["found"] else f"built in {about['build_s']:.0f} s"
    return f"{about['name']} {about['version']}: plan {about['key']}, {about['bytes'] / 1e6:.1f} MB, {done}"


@keys_app.command("new")
def new_key(name: KeyName = "edged", folder: KeyFolder = None) -> None:
    """Make an Ed25519 pair: NAME.pem signs engines (edged pack --sign), NAME.pub goes to who trusts them."""
    from edged.cli.keys import default_keys, new_signing_key

    pair = new_signing_key(name, (folder or default_keys()).absolute())
    sign = f"sign with it: edged pack MODEL --sign {shlex.quote(str(pair.secret))}"
    _show_keys(pair, sign, "copy it into the folder of [engine] trusted")


@keys_app.command("curve")
def curve_key(name: KeyName = "edged", folder: KeyFolder = None) -> None:
    """Make a CURVE certificate: NAME.key_secret stays here, NAME.key goes to the other side."""
    from edged.cli.keys import default_keys, new_curve_key

    pair = new_curve_key(name, (folder or default_keys()).absolute())
    _show_keys(pair, "stays here: [bus] secret_key, or a client's", "for the other side: edged keys allow KEY CLIENTS")


@keys_app.command("list")
def list_keys(clients: ClientsPlace, json: AsJson = False) -> None:
    """List whose keys a daemon lets in from the network, and what each may do."""
    from edged.cli.client_keys import find_clients, listed, show_clients

    folder = find_clients(clients)
    print_answer(json, listed(folder), show_clients)


@keys_app.command("allow")
def allow_key(
    key: Annotated[Path, typer.Argument(help="their NAME.key, made by 'edged keys curve' on their machine")],
    clients: ClientsPlace,
    operate: Annotated[bool, typer.Option("--operate", help="hold, resume, swap and the rest, not only read")] = False,
) -> None:
    """Let a key in, to read, or with --operate to read and operate. It takes effect without a restart."""
    from edged.cli.client_keys import allow, find_clients

    done = allow(key, find_clients(clients), operate)
    print(f"{done.name} may {'read and operate' if operate else 'read'}  ({done.path})")


@keys_app.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(help="its name in the list, or the key itself")],
    clients: ClientsPlace,
) -> None:
    """Let a key in no more; connections that it has are cut off within two seconds."""
    from edged.cli.client_keys import find_clients, revoke

    for path in revoke(name, find_clients(clients)):
        print(f"removed {path}")


def _show_keys(pair: KeyPair, secret_use: str, public_use: str) -> None:
    print(f"secret  {pair.secret}  ({secret_use})")
    print(f"public  {pair.public}  ({public_use})")
    print(f"key     {pair.key}")
