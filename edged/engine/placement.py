"""Which nodes of a graph ONNX Runtime gives to the CPU: what keeps an engine from running on another device whole."""

from __future__ import annotations

from typing import Any

RECORD = ("session.record_ep_graph_assignment_info", "1")
"""Entry of a session's options with which `left_to_cpu` has an answer."""
SHOWN = 3


def left_to_cpu(session: Any) -> str | None:
    """Such as "Cast labels/float, Reshape head/05 and 4 more", "" for none; None before ONNX Runtime 1.24, which does
    not tell."""
    try:
        subgraphs = session.get_provider_graph_assignment_info()
    except AttributeError:
        return None
    cpu = [subgraph for subgraph in subgraphs if subgraph.ep_name == "CPUExecutionProvider"]
    nodes = [f"{node.op_type} {node.name}".strip() for subgraph in cpu for node in subgraph.get_nodes()]
    more = f" and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
    return ", ".join(nodes[:SHOWN]) + more
