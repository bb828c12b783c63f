"""Bytes of others nest as deep as they like: who parses them expects what a parser runs into then."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edged

PACKAGE = Path(edged.__file__).parent
PARSERS = {
    "json.load", "json.loads", "tomllib.load", "tomllib.loads", "msgspec.json.decode", "msgspec.msgpack.decode",
    "ast.literal_eval",
}  # fmt: skip
EXPECT = {"UNREADABLE", "RecursionError", "Exception"}
OURS = {
    "core/child_job.py": "its parent wrote it",
    "demo/processes.py": "a child of the demo wrote it",
    "demo/run.py": "the demo wrote it",
}


def unprepared(tree: ast.AST, guarded: bool = False) -> Iterator[ast.Call]:
    """Calls of parsers outside of whatever expects a RecursionError; of what was encoded on the spot none."""
    if isinstance(tree, ast.Call) and not guarded and ast.unparse(tree.func) in PARSERS:
        given = tree.args[0]
        if not (isinstance(given, ast.Call) and ast.unparse(given.func).endswith(".encode")):
            yield tree
    if isinstance(tree, ast.Try):
        types = [handler.type for handler in tree.handlers if handler.type is not None]
        expects = guarded or any(names(one) & EXPECT for one in types)
        for child in tree.body:
            yield from unprepared(child, expects)
        for child in (*tree.handlers, *tree.orelse, *tree.finalbody):
            yield from unprepared(child, guarded)
        return
    if isinstance(tree, ast.With):
        guarded |= any(names(item.context_expr) >= {"suppress", "UNREADABLE"} for item in tree.items)
    for child in ast.iter_child_nodes(tree):
        yield from unprepared(child, guarded)


def plain(text: str) -> ast.AST:
    """The tree of a module with its modules called by their own names."""
    tree = ast.parse(text)
    called = {one.asname: one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = called.get(node.id, node.id)
    return tree


def names(tree: ast.AST) -> set[str]:
    return {node.id if isinstance(node, ast.Name) else node.attr for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)}  # fmt: skip


def test_who_parses_expects_what_nests_too_deep() -> None:
    found = {
        f"{place}:{call.lineno}"
        for path in PACKAGE.rglob("*.py")
        if (place := path.relative_to(PACKAGE).as_posix()) not in OURS
        for call in unprepared(plain(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("json.loads(text)", 1),
        ("import json as text_of\ntext_of.loads(text)", 1),
        ("try:\n    json.loads(text)\nexcept ValueError:\n    pass", 1),
        ("try:\n    json.loads(text)\nexcept (OSError, *UNREADABLE):\n    pass", 0),
        ("try:\n    pass\nexcept UNREADABLE:\n    json.loads(text)", 1),
        ("with contextlib.suppress(*UNREADABLE):\n    json.loads(text)", 0),
        ("with contextlib.suppress(ValueError):\n    json.loads(text)", 1),
        ("msgspec.json.decode(msgspec.json.encode(value))", 0),
    ],
)
def test_what_is_not_prepared_is_found(body: str, count: int) -> None:
    assert len(list(unprepared(plain(body)))) == count
