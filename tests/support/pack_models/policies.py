"""Policies: a convolutional network with an LSTM behind it, and a transformer that gives a chunk of actions."""

from __future__ import annotations

from onnx import TensorProto

from pack_models.net import Net

SIZE = 32
INT64, BOOL = TensorProto.INT64, TensorProto.BOOL


def cnn_lstm(opset: int = 17) -> bytes:
    """image [batch, 3, 32, 32], state [batch, 4], h and c [1, batch, 32] -> action [batch, 5], h_next, c_next."""
    net = Net(11, opset)
    image, state = net.input("image", ["batch", 3, SIZE, SIZE]), net.input("state", ["batch", 4])
    hidden, cell = (net.input(name, [1, "batch", 32]) for name in ("h", "c"))
    seen = net.conv(net.conv(net.conv(image, 3, 8, stride=2), 8, 16, stride=2), 16, 16, stride=2)
    flat = net.add("Flatten", net.add("GlobalAveragePool", seen), axis=1)
    both = net.add("Concat", flat, state, axis=1)
    step = net.add("Reshape", both, net.ints(1, -1, 20))
    weights = net.weights(1, 128, 20), net.weights(1, 128, 32), net.const([[0.0] * 256])
    made, h_next, c_next = net.add("LSTM", step, *weights, "", hidden, cell, outputs=3, hidden_size=32)
    action = net.linear(net.add("Reshape", made, net.ints(-1, 32)), 32, 5)
    net.output(net.add("Tanh", action), "action", ["batch", 5])
    net.output(h_next, "h_next", [1, "batch", 32])
    net.output(c_next, "c_next", [1, "batch", 32])
    return net.model()


def transformer(opset: int = 17, steps: int = 16, axes: int = 7, width: int = 32) -> bytes:
    """images.top [batch, 3, 32, 32] and state [batch, 7] -> actions [batch, 16, 7], as an action-chunking policy."""
    net = Net(12, opset)
    image, state = net.input("observation_images_top", [1, 3, SIZE, SIZE]), net.input("observation_state", [1, axes])
    patches = net.conv(net.conv(image, 3, 16, stride=2), 16, width, size=4, stride=4)
    tokens = net.add("Transpose", net.add("Reshape", patches, net.ints(1, width, 16)), perm=[0, 2, 1])
    own = net.add("Reshape", net.linear(state, axes, width), net.ints(1, 1, width))
    memory = net.add("Concat", tokens, own, axis=1)
    memory = net.block(net.block(memory, width, 17), width, 17)
    queries = net.const(net.rng.normal(size=(1, steps, width)))
    chunk = net.add("Add", queries, net.attention(net.norm(queries, width), net.norm(memory, width), width, steps, 17))
    net.output(net.linear(net.norm(chunk, width), width, axes, gain=0.5), "action", [1, steps, axes])
    return net.model()


def all_roles(opset: int = 17) -> bytes:
    """A policy with one input of every other kind: image [1, 2, 3, 32, 32] and state [1, 2, 7] of two moments, noise
    [1, 4, 7], tokens [1, 6] int64, mask [1, 6] bool, gain [1, 1] -> action [1, 4, 7]."""
    net = Net(13, opset)
    image, state = net.input("image", [1, 2, 3, SIZE, SIZE]), net.input("state", [1, 2, 7])
    noise, gain = net.input("noise", [1, 4, 7]), net.input("gain", [1, 1])
    tokens, mask = net.input("tokens", [1, 6], INT64), net.input("mask", [1, 6], BOOL)
    frames = net.add("Reshape", image, net.ints(2, 3, SIZE, SIZE))
    seen = net.add("GlobalAveragePool", net.conv(frames, 3, 8, stride=2))
    words = net.add("Gather", net.weights(20, 8), tokens)
    kept = net.add("Where", net.add("Unsqueeze", mask, net.ints(2)), words, net.const(0.0))
    flat = [net.add("Reshape", tensor, net.ints(1, -1)) for tensor in (seen, state, kept)]
    both = net.add("Mul", net.add("Concat", *flat, axis=1), gain)
    net.output(
        net.add("Add", net.add("Reshape", net.linear(both, 78, 28), net.ints(1, 4, 7)), noise), "action", [1, 4, 7]
    )
    return net.model()
