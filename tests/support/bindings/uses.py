"""What our sources use of TensorRT's Python API, read from their syntax trees, so that a new use cannot be forgotten.

Where an object comes from is followed: annotations (`engine: trt.ICudaEngine`), constructors, assignments, attributes
of `self`, and what methods and properties give (`ICudaEngine.get_tensor_dtype().name`: the bindings know the class).
What cannot be followed is a complaint: `getattr`, `from tensorrt import`, `*arguments`, attributes of an Any parameter.
"""

from __future__ import annotations

import ast
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MODULE = "tensorrt"


@dataclass(frozen=True)
class Use:
    """`kind`: "name" (dotted, below the module), "get", "set", "call" or "new" of a class, or "override" of a base's
    method. `positional` and `keywords` are the arguments; `result` is the annotated class of what a call gives."""

    kind: str
    name: str
    where: str
    positional: int = 0
    keywords: tuple[str, ...] = ()
    result: str = ""

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Reading:
    uses: list[Use] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def read_package(folder: Path) -> Reading:
    """All modules below `folder` that import TensorRT."""
    reading = Reading()
    for path in sorted(folder.rglob("*.py")):
        read_source(path.read_text(encoding="utf-8"), str(path.relative_to(folder.parent)), reading)
    return reading


def read_source(source: str, where: str, reading: Reading) -> Reading:
    tree = ast.parse(source)
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {name.asname or name.name for name in node.names if name.name.split(".")[0] == MODULE}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == MODULE and not node.level:
            reading.complaints.append(f"{where}:{node.lineno}: import {MODULE} as trt, so that uses can be followed")
    if aliases:
        _Reader(aliases, where, reading).visit_all(tree)
    return reading


class _Reader(ast.NodeVisitor):
    def __init__(self, aliases: set[str], where: str, reading: Reading) -> None:
        self.aliases, self.where, self.reading = aliases, where, reading
        self.types: dict[str, str] = {}  # how an object is written -> its class, as a path of the module
        self.paths: dict[str, str] = {}  # local names of parts of the module: `levels = trt.ILogger.Severity`
        self.opaque: set[str] = set()

    def visit_all(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                self._overrides(node)
        self.visit(tree)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer = dict(self.types)
        methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
        for _ in range(2):  # what one method says of `self.x` holds in all of them, whatever their order
            for method in methods:
                inside = self._inside(method)
                self.types = outer | {name: kind for name, kind in inside.items() if name.startswith("self.")}
        self.generic_visit(node)
        self.types = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, paths, opaque = dict(self.types), dict(self.paths), set(self.opaque)
        self.types = self._inside(node)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self.opaque |= {a.arg for a in arguments if a.annotation is not None and ast.unparse(a.annotation) == "Any"}
        self.generic_visit(node)
        self.types, self.paths, self.opaque = outer, paths, opaque

    def _inside(self, node: ast.FunctionDef) -> dict[str, str]:
        """The types that hold within a function."""
        outer, self.types = self.types, dict(self.types)
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            if argument.annotation is not None:
                self._learn(argument, self._class_of(argument.annotation))
        for _ in range(2):
            for inner in ast.walk(node):
                match inner:
                    case ast.AnnAssign(target=target, annotation=annotation):
                        self._learn(target, self._class_of(annotation))
                    case ast.Assign(targets=[target], value=value) | ast.NamedExpr(target=target, value=value):
                        self._assign(target, value)
                    case ast.For(target=target, iter=source) | ast.comprehension(target=target, iter=source):
                        self._learn(target, f"{kind}[]" if (kind := self._type(source)) else "")
        outer, self.types = self.types, outer
        return outer

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=True):
                self._assign(one, other)
        elif path := self._path(value):
            self.paths[ast.unparse(target)] = path
        else:
            self._learn(target, self._type(value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.value, ast.Call) and self._type(node.value):
            self._visit_call(node.value, self._class_of(node.annotation))
            self.visit(node.annotation)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        by_name = isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr", "hasattr") and node.args
        if by_name and (self._type(node.args[0]) or self._is_module(node.args[0])):
            self._complain(node, f"{ast.unparse(node.func)} cannot be followed")
        if self._path(node.func) or self._type(node):
            self._visit_call(node)
        else:
            self.generic_visit(node)

    def _visit_call(self, node: ast.Call, result: str = "") -> None:
        if any(isinstance(argument, ast.Starred) for argument in node.args) or any(
            k.arg is None for k in node.keywords
        ):
            self._complain(node, "* and ** cannot be followed")
        keywords = tuple(keyword.arg or "" for keyword in node.keywords)
        if path := self._path(node.func):
            kind, name = "new", path
        else:
            assert isinstance(node.func, ast.Attribute)
            kind, name = "call", f"{self._type(node.func.value)}.{node.func.attr}"
            self.visit(node.func.value)
        self.reading.uses.append(Use(kind, name, self._at(node), len(node.args), keywords, result))
        for child in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.visit(child)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if path := self._path(node):
            self.reading.uses.append(Use("name", path, self._at(node)))
            return
        if (kind := self._type(node.value)) and ast.unparse(node) not in self.types:
            verb = "set" if isinstance(node.ctx, ast.Store) else "get"
            self.reading.uses.append(Use(verb, f"{kind}.{node.attr}", self._at(node)))
        elif isinstance(node.value, ast.Name) and node.value.id in self.opaque:
            self._complain(node, f"{node.value.id} is Any: a TensorRT object could hide in it")
        self.generic_visit(node)

    def _overrides(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            if path := self._path(base):
                methods = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name[0] != "_"]
                for method in methods:
                    counted = len(method.args.args) - 1
                    self.reading.uses.append(Use("override", f"{path}.{method.name}", self._at(method), counted))
                self.reading.uses.append(Use("subclass", path, self._at(node), 0, tuple(m.name for m in methods)))

    def _type(self, node: ast.expr) -> str:
        """The class of an object, as a path: "Builder", or "Builder.create_network()" for what that gives."""
        if known := self.types.get(ast.unparse(node)):
            return known
        match node:
            case ast.Call(func=func) if path := self._path(func):
                return path
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if kind := self._type(value):
                return f"{kind}.{attr}()"
            case ast.Attribute(value=value, attr=attr) if kind := self._type(value):
                return f"{kind}.{attr}"
            case ast.Subscript(value=value) if kind := self._type(value):
                return f"{kind}[]"
            case ast.NamedExpr(value=value) | ast.IfExp(body=value):
                return self._type(value)
        return ""

    def _path(self, node: ast.expr) -> str:
        """ "MemoryPoolType.WORKSPACE" of `trt.MemoryPoolType.WORKSPACE`."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node.id in self.paths:
            return ".".join([self.paths[node.id], *names])
        return ".".join(names) if names and self._is_module(node) else ""

    def _is_module(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self.aliases

    def _learn(self, target: ast.expr | ast.arg, kind: str) -> None:
        name = target.arg if isinstance(target, ast.arg) else ast.unparse(target)
        if kind:
            self.types.setdefault(name, kind)

    def _class_of(self, annotation: ast.expr) -> str:
        """The class in `trt.X`, `trt.X | None`, or the same in quotes."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        if isinstance(annotation, ast.BinOp):
            return self._class_of(annotation.left) or self._class_of(annotation.right)
        return self._path(annotation)

    def _at(self, node: ast.AST) -> str:
        return f"{self.where}:{getattr(node, 'lineno', 0)}"

    def _complain(self, node: ast.AST, text: str) -> None:
        self.reading.complaints.append(f"{self._at(node)}: {text}")
