"""Weights to go on from: a parts.pt, or those of an engine, whose graph has the normalisation of batches folded in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from edged.bundle.bundle import MODEL
from examples.parts.net import Parts


def load_start(net: Parts, start: Path, images: Sequence[torch.Tensor]) -> None:
    """Give `net` the weights in `start`. `images`: some that it is trained on, normalised; of an engine, the statistics
    of its batches are measured on them."""
    if start.is_dir():
        _unfold(net, _convolutions(start / MODEL), images)
    else:
        net.load_state_dict(torch.load(start, map_location="cpu", weights_only=True))


def _convolutions(model: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Weight and bias of each convolution, by its name in `Parts`."""
    graph = onnx.load(str(model)).graph
    values = {item.name: numpy_helper.to_array(item).copy() for item in graph.initializer}
    nodes = [node.input for node in graph.node if node.op_type == "Conv"]
    pair: Any = {
        weight.removeprefix("net.").removesuffix(".weight"): (
            torch.from_numpy(values[weight]),
            torch.from_numpy(values[bias]),
        )
        for _, weight, bias in nodes
    }
    return dict(pair)


def _unfold(net: Parts, folded: dict[str, tuple[torch.Tensor, torch.Tensor]], images: Sequence[torch.Tensor]) -> None:
    """The network computes what the folded one does, and its batch norms have the statistics of `images`."""
    norms: dict[str, nn.BatchNorm2d] = {}
    named = dict(net.named_modules())
    for name, (weight, bias) in folded.items():
        layer = named[name]
        assert isinstance(layer, nn.Conv2d), "an engine of this network"
        layer.weight.data.copy_(weight)
        if layer.bias is not None:
            layer.bias.data.copy_(bias)
            continue
        norm = named[f"{name.rpartition('.')[0]}.1"]
        assert isinstance(norm, nn.BatchNorm2d), "a convolution without a bias has a norm behind it"
        norm.weight.data.fill_((1 + norm.eps) ** 0.5)
        norm.bias.data.copy_(bias)
        norms[name] = norm
    means, squares = ({name: torch.zeros(len(norm.bias)) for name, norm in norms.items()} for _ in range(2))

    def hook(name: str) -> Any:
        def seen(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            means[name] += inputs[0].mean((0, 2, 3)) / len(images)
            squares[name] += inputs[0].square().mean((0, 2, 3)) / len(images)

        return seen

    handles = [norm.register_forward_pre_hook(hook(name)) for name, norm in norms.items()]
    net.eval()
    with torch.no_grad():
        for image in images:
            net(image)
    net.train()
    for handle in handles:
        handle.remove()
    for name, norm in norms.items():
        spread = squares[name] - means[name].square()
        norm.running_mean, norm.running_var = means[name], spread
        norm.weight.data.copy_((spread + norm.eps).sqrt())
        norm.bias.data.add_(means[name])
