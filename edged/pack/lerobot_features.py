"""What a LeRobot folder says of each feature, in config.json, in its processors and by the exported network, agrees.

Where LeRobot finds no entry for a feature it leaves that feature as it is, without a word: a key that is missing in one
place and there in another would send normalised numbers to motors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any, TypeAlias

import msgspec

from edged.core.errors import RefusedError
from edged.pack.lerobot_check import MOMENTS, NORMALISERS, REMEDY, Folder
from edged.pack.network import Network, Tensor

IDENTITY = "IDENTITY"
RANKS = {"VISUAL": 4, "STATE": 2, "ENV": 2}  # of an input of one moment
SIDES = (("policy_preprocessor.json", NORMALISERS[0]), ("policy_postprocessor.json", NORMALISERS[1]))


_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]  # 0 where the key is not there


class _Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    shape: tuple[int, ...]


class _Config(msgspec.Struct, frozen=True):
    """The kinds of values of the keys that are read."""

    type: str
    input_features: dict[str, _Feature]
    output_features: dict[str, _Feature]
    normalization_mapping: dict[str, str] | None = None
    n_obs_steps: _Count = 0
    chunk_size: _Count = 0
    horizon: _Count = 0
    n_action_steps: _Count = 0
    temporal_ensemble_coeff: float | None = None
    use_relative_actions: bool | None = None
    relative_exclude_joints: list[str] | None = None


class _Settings(msgspec.Struct, frozen=True):
    features: dict[str, _Feature] | None = None
    norm_map: dict[str, str] | None = None
    eps: float | None = None
    enabled: bool | None = None
    exclude_joints: list[str] | None = None
    action_names: list[str] | None = None
    rename_map: dict[str, str] | None = None


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    registry_name: str | None = None
    named: str | None = msgspec.field(default=None, name="class")  # of steps that are not registered
    config: _Settings | None = None
    state_file: str | None = None


def check_kinds(folder: Folder) -> None:
    """`RefusedError` naming the first value that is not of its key's kind: what follows may then read them."""
    read: list[tuple[str, object, type[_Config | _Step]]] = [("config.json", folder.config, _Config)]
    for side, steps in (("pre", folder.before), ("post", folder.after)):
        for step in steps or ():
            read.append((f"policy_{side}processor.json: {step.get('registry_name', 'a step')}", step, _Step))
    for where, value, kind in read:
        try:
            found = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise RefusedError(f"{where}: {error}", "give the folder as LeRobot has written it") from None
        if isinstance(found, _Step) and "/" in (found.state_file or ""):
            raise RefusedError(f"{where}: state_file = {found.state_file!r} is not in the folder", REMEDY)
        eps = found.config.eps if isinstance(found, _Step) and found.config is not None else None
        if eps is not None and not 0 <= eps < math.inf:
            raise RefusedError(f"{where}: eps = {eps} is no small number", REMEDY)


def tensor_of(feature: str, tensors: Mapping[str, Any]) -> str:
    """The tensor a feature was exported as: its name, with dots or with underscores, or its last word."""
    plain = {name.replace(".", "_").replace("/", "_").lower(): name for name in tensors}
    for name in (feature.replace(".", "_"), feature.rpartition(".")[2], f"{feature.rpartition('.')[2]}s"):
        if name.lower() in plain:
            return plain[name.lower()]
    if feature == "action" and len(tensors) == 1:
        return next(iter(tensors))
    remedy = f"export it under the name {feature.replace('.', '_')!r}"
    raise RefusedError(f"no tensor of the model is {feature!r}; it has {', '.join(sorted(tensors))}", remedy)


def check_features(folder: Folder, network: Network) -> None:
    """`RefusedError` naming the first disagreement."""
    config = msgspec.convert(folder.config, _Config)
    facts = (_execution(config, network), _tensors(config, network), _normalised(folder, config))
    for fact in chain.from_iterable(facts):
        raise RefusedError(fact, REMEDY)


def _execution(config: _Config, network: Network) -> Iterator[str]:
    used, most = config.n_action_steps, config.chunk_size or config.horizon
    if config.temporal_ensemble_coeff is not None and used not in (0, 1):
        yield f"config.json: temporal_ensemble_coeff asks for an inference each step, n_action_steps = {used} does not"
    longest = max((one.shape[1] for one in network.outputs.values() if one.rank == 3), default=0)
    if most and isinstance(longest, int) and longest > most:
        yield f"config.json: a plan has {most} steps, and the network gives {longest}"


def _normalised(folder: Folder, config: _Config) -> Iterator[str]:
    """Where a policy has processors, these alone normalise."""
    modes = config.normalization_mapping or {}
    sides = ((config.input_features, folder.before), (config.output_features, folder.after))
    for (file, name), (features, steps) in zip(SIDES, sides, strict=True):
        if steps is None:
            continue
        step = folder.step(name)
        settings = msgspec.convert(step.get("config") or {}, _Settings)
        for key, feature in features.items():
            said = modes.get(feature.type, IDENTITY)
            done = (settings.norm_map or {}).get(feature.type, IDENTITY) if step else IDENTITY
            if not step and said != IDENTITY:
                yield f"{file} has no {name}, and config.json says {said} of {feature.type}"
            elif said != done:
                yield f"{file}: {name}: norm_map says {done} of {feature.type}, config.json {said}"
            elif done != IDENTITY and (own := (settings.features or {}).get(key)) != feature:
                has = "nothing" if own is None else _shown(own)
                yield f"{file}: {name}: features has {has} of {key!r}, config.json {_shown(feature)}"


def _tensors(config: _Config, network: Network) -> Iterator[str]:
    taken: dict[str, str] = {}
    for among, features in (("input_features", config.input_features), ("output_features", config.output_features)):
        for key, feature in features.items():
            if (feature.type == "ACTION") != (features is config.output_features):
                yield f"config.json: {key!r} of the type {feature.type} among {among} is not honoured"
    for key, feature in {**config.input_features, **config.output_features}.items():
        side = network.outputs if feature.type == "ACTION" else network.inputs
        tensor = tensor_of(key, side)
        if tensor in taken:
            yield f"the features {taken[tensor]!r} and {key!r} would both be the tensor {tensor!r}"
        taken[tensor] = key
        yield from _agrees(key, feature, side[tensor], config.n_obs_steps or MOMENTS[config.type])


def _agrees(key: str, feature: _Feature, tensor: Tensor, moments: int) -> Iterator[str]:
    rank = RANKS.get(feature.type)
    if rank is not None and moments > 1 and (tensor.rank != rank + 1 or not _may_be(tensor.shape[1], moments)):
        fact = f"config.json: n_obs_steps = {moments}"
        yield f"{fact}, and the network's {key!r} is {list(tensor.shape)}, not [1, {moments}, …]"
    own, wanted = tensor.shape, feature.shape
    if feature.type == "VISUAL":
        both = own[-3:], _first(own[-3:])
        fits = len(wanted) == 3 and any(len(one) == 3 and all(map(_may_be, one, wanted)) for one in both)
    else:  # what is wider has to be padded to, or taken of, in the recipe
        fits = len(wanted) == 1 and (not own or not isinstance(own[-1], int) or own[-1] >= wanted[0])
    if not fits:
        yield f"config.json: {key!r} is {list(wanted)}, and the network's is {list(own)}"


def _shown(feature: _Feature) -> str:
    return f"{feature.type} {list(feature.shape)}"


def _first(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Pixels of planes, as planes of pixels."""
    return (*shape[-1:], *shape[:-1])


def _may_be(size: Any, wanted: int) -> bool:
    """Whether an open size, or that one."""
    return not isinstance(size, int) or size == wanted
