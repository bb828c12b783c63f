"""What of a LeRobot policy folder is understood: a closed vocabulary of processor steps and of config keys.

Whatever else a folder has would change what reaches the network or the robot, and be left out here without a word: it
is refused by its name. `READ` keys mean something to the packed engine, `SHAPE` is in the exported graph already, and
`ELSEWHERE` concerns training, or how a plan is executed, which is the daemon's config.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from edged.core.errors import RefusedError
from edged.pack.network import Network

Step: TypeAlias = Mapping[str, Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


READ = _words(
    "type input_features output_features normalization_mapping n_obs_steps chunk_size horizon n_action_steps "
    "use_relative_actions relative_exclude_joints relative_action_names temporal_ensemble_coeff"
)
SHAPE: Mapping[str, frozenset[str]] = {
    "act": _words(
        "vision_backbone pretrained_backbone_weights replace_final_stride_with_dilation pre_norm dim_model n_heads "
        "dim_feedforward feedforward_activation n_encoder_layers n_decoder_layers use_vae latent_dim "
        "n_vae_encoder_layers"
    ),
    "diffusion": _words(
        "vision_backbone pretrained_backbone_weights use_group_norm spatial_softmax_num_keypoints "
        "use_separate_rgb_encoder_per_camera down_dims kernel_size n_groups diffusion_step_embed_dim "
        "use_film_scale_modulation noise_scheduler_type num_train_timesteps beta_schedule beta_start beta_end "
        "prediction_type clip_sample clip_sample_range num_inference_steps"
    ),
}
"""The types of policy that are known, and what of their config describes the network itself."""
MOMENTS: Mapping[str, int] = {"act": 1, "diffusion": 2}
"""`n_obs_steps` where a config does not say it: the trainer's default."""
ELSEWHERE = _words(
    "device use_amp push_to_hub repo_id private tags license pretrained_path use_peft dropout kl_weight optimizer_lr "
    "optimizer_weight_decay optimizer_lr_backbone optimizer_betas optimizer_eps scheduler_name "
    "scheduler_warmup_steps drop_n_last_frames do_mask_loss_for_padding compile_model compile_mode "
    "gradient_checkpointing crop_is_random"
)
NOTHING: tuple[object, ...] = (None, (), [], {}, "")
"""Values with which a key says that something is not done; an unknown key may have them."""
PRE: Mapping[str, frozenset[str]] = {
    "rename_observations_processor": frozenset({"rename_map"}),
    "to_batch_processor": frozenset(),
    "device_processor": frozenset({"device", "float_dtype"}),
    "normalizer_processor": frozenset({"eps", "features", "norm_map", "normalize_observation_keys"}),
    "relative_actions_processor": frozenset({"enabled", "exclude_joints", "action_names"}),
}
POST: Mapping[str, frozenset[str]] = {
    "unnormalizer_processor": frozenset({"eps", "features", "norm_map"}),
    "absolute_actions_processor": frozenset({"enabled"}),
    "device_processor": frozenset({"device", "float_dtype"}),
}
NORMALISERS = "normalizer_processor", "unnormalizer_processor"
RELATIVE = "relative_actions_processor", "absolute_actions_processor"
ORDER = RELATIVE[0], NORMALISERS[0], NORMALISERS[1], RELATIVE[1]  # of those that do not commute
REMEDY = "make it part of the exported network, or say all of it in a recipe and leave the folder out"


@dataclass(frozen=True, slots=True)
class Folder:
    """What was read of a policy folder: its config, and the steps before and after the network; None = no such file."""

    config: Mapping[str, Any]
    before: Sequence[Step] | None
    after: Sequence[Step] | None

    def step(self, name: str) -> Step:
        """The step of that registered name; empty where there is none."""
        steps = (*(self.before or ()), *(self.after or ()))
        return next((step for step in steps if step.get("registry_name") == name), {})


def check_folder(folder: Folder, network: Network) -> None:
    """`RefusedError` naming the first thing that would be left out."""
    for fact in (*_config(folder.config, network), *_steps(folder), *_names(folder)):
        raise RefusedError(fact, REMEDY)


def _config(config: Mapping[str, Any], network: Network) -> Iterator[str]:
    kind = config.get("type")
    if kind not in SHAPE:
        yield f"config.json: the policy's type is {kind!r}; {' and '.join(SHAPE)} are known"
        return
    known = READ | SHAPE[str(kind)] | ELSEWHERE
    for key, value in config.items():
        if key not in known and value not in NOTHING and (key, value) != ("crop_ratio", 1.0):
            yield f"config.json: {key} = {_short(value)} is not honoured"
    for name, feature in {**config.get("input_features", {}), **config.get("output_features", {})}.items():
        if feature.get("type") not in ("VISUAL", "STATE", "ENV", "ACTION"):
            yield f"config.json: the feature {name!r} is of the type {feature.get('type')!r}, which is not honoured"
    if kind == "diffusion":
        yield from _horizon(config, network)


def _horizon(config: Mapping[str, Any], network: Network) -> Iterator[str]:
    """Of what a diffusion policy denoises, the first steps lie in the past."""
    horizon, used = config.get("horizon"), config.get("n_action_steps")
    lengths = {tensor.shape[1] for tensor in network.outputs.values() if tensor.rank == 3}
    past = config.get("n_obs_steps", MOMENTS["diffusion"]) - 1
    if past > 0 and horizon in lengths and used not in lengths:
        yield (
            f"config.json: the network gives the whole horizon of {horizon} steps, of which the first {past} lie "
            f"before the observation; export the {used} that are executed"
        )


def _steps(folder: Folder) -> Iterator[str]:
    sides = (("policy_preprocessor.json", folder.before, PRE), ("policy_postprocessor.json", folder.after, POST))
    for file, steps, known in sides:
        seen: list[str] = []
        for step in steps or ():
            name = str(step.get("registry_name", step.get("class", "")))
            if name not in known:
                yield f"{file}: the step {name!r} is not honoured; {', '.join(known)} are"
                continue
            if name in seen:
                yield f"{file}: the step {name!r} is there twice"
            seen.append(name)
            yield from _settings(f"{file}: {name}", step.get("config") or {}, known[name])
        ranks = [ORDER.index(name) for name in seen if name in ORDER]
        if ranks != sorted(ranks):
            yield f"{file}: {' before '.join(ORDER[rank] for rank in ranks)} is not honoured; only the other order is"
    if folder.before is not None and folder.after is None:
        yield "policy_postprocessor.json is missing: what becomes of the network's actions is not known"
    if folder.before is None or folder.after is None:
        return
    for before, after in (NORMALISERS, RELATIVE):
        there = [_active(folder.step(name), before == RELATIVE[0]) for name in (before, after)]
        if there[0] != there[1]:
            yield f"{before if there[0] else after} is a step, and {after if there[0] else before} is none"
    if folder.config.get("use_relative_actions") and not folder.step(RELATIVE[0]):
        yield f"config.json: use_relative_actions = True, and no {RELATIVE[0]} is a step"


def _names(folder: Folder) -> Iterator[str]:
    """By their names axes are left out of what is relative: two lists that differ leave out different ones."""
    own = folder.config.get("relative_action_names") or []
    step = (folder.step("relative_actions_processor").get("config") or {}).get("action_names") or own
    if not isinstance(own, list) or not all(isinstance(name, str) for name in own):
        yield f"config.json: relative_action_names = {_short(own)} is no list of names"
    elif own and step != own:
        yield f"config.json: relative_action_names = {_short(own)}, the relative_actions_processor has {_short(step)}"


def _active(step: Step, asks: bool) -> bool:
    """Whether a step does anything; `asks`: it does only where it is told to."""
    return bool(step) and (not asks or (step.get("config") or {}).get("enabled") is True)


def _settings(where: str, settings: Mapping[str, Any], known: frozenset[str]) -> Iterator[str]:
    for key, value in settings.items():
        if key not in known and value not in NOTHING:
            yield f"{where}: {key} = {_short(value)} is not honoured"
    if renamed := settings.get("rename_map"):
        yield f"{where}: rename_map = {_short(renamed)} is not honoured"
    if settings.get("float_dtype") not in (None, "float32"):
        yield f"{where}: float_dtype = {settings['float_dtype']!r} is not honoured"
    if (only := settings.get("normalize_observation_keys")) not in NOTHING:
        yield f"{where}: normalize_observation_keys = {_short(only)} is not honoured"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
