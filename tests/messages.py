"""Print every error and warning of the package with its code, for review.

    python -m tests.messages [WORD]

walks the sources of `dropcli` and prints each place that makes a `DropcliError` or a `Notice`: its
code, class, file and line, the message, and the hint. What is known only at run time stands in
braces. A message that is passed to a helper is listed once for each call of the helper.
"""

import ast
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
_MOST = 24  # alternatives of one text
_DEPTH = 5  # names and calls that are followed

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Message(NamedTuple):
    """One message for the user."""

    code: str
    kind: str
    text: str
    hint: str
    place: str


@dataclass
class Module:
    """A file of sources."""

    path: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node

    def takes(self, function: ast.expr, other: "Module") -> bool:
        """Whether this, called here, may be defined in the other module."""
        if isinstance(function, ast.Attribute):
            return not function.attr.startswith("_")
        name = other.path.removesuffix(".py").replace("/", ".")
        return any(
            name.startswith(node.module or "")
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom)
            and any(alias.name == getattr(function, "id", "") for alias in node.names)
        )

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, from the inside out."""
        while node in self.parents:
            node = self.parents[node]
            yield node


class Scope(NamedTuple):
    """The scope of names: this table, then the nodes around this one."""

    module: Module
    node: ast.Call | ast.For
    names: dict[str, tuple[ast.expr, "Scope"]]


class Sources:
    """The sources of the package, with its call graph."""

    def __init__(self, root: Path = ROOT / "dropcli") -> None:
        self.modules = [
            Module(str(path.relative_to(root.parent)), ast.parse(path.read_text()))
            for path in sorted(root.rglob("*.py"))
        ]
        self.calls: dict[str, list[tuple[ast.Call, Module]]] = {}
        for module in self.modules:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Call):
                    self.calls.setdefault(_called(node), []).append((node, module))

    def messages(self) -> list[Message]:
        """All of them, each once, by file and line."""
        kinds = self._error_classes() | {"Notice"}
        found = [
            message
            for kind in kinds
            for call, module in self.calls.get(kind, ())
            for scope in self._scopes(call, module)
            for message in self._made_by(call, kind, scope)
        ]
        return sorted(
            {m._replace(place=""): m for m in (*found, *self._notes())}.values(), key=_position
        )

    def _error_classes(self) -> set[str]:
        """DropcliError and its subclasses, in the order of their definition."""
        names = {"DropcliError"}
        for module in self.modules:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef):
                    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                    names |= {node.name} if bases & names else set()
        return names

    def _made_by(self, call: ast.Call, kind: str, scope: Scope) -> Iterator[Message]:
        place = f"{scope.module.path}:{call.lineno}"
        code, text, hint = (*call.args, *[ast.Constant(None)] * 3)[:3]
        parts = [self.texts(part, scope) for part in (code, text, hint)]
        if not any("error.code" in code for code in parts[0]):  # one that is only passed on
            for code_, text_ in itertools.product(*parts[:2]):
                yield Message(code_, kind, text_, " | ".join(filter(None, parts[2])), place)

    def _notes(self) -> Iterator[Message]:
        """The notes on how a file was read."""
        for call, module in self.calls.get("append", ()):
            if ast.unparse(call.func).endswith(".notes.append"):
                place = f"{module.path}:{call.lineno}"
                for text in self.texts(call.args[0], Scope(module, call, {})):
                    yield Message("file-note", "Notice", text, "", place)

    def _scopes(self, call: ast.Call, module: Module) -> list[Scope]:
        """One for each row of the tables that it loops over, and each call of its function."""
        scopes = [Scope(module, call, {})]
        used = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
        for node in module.around(call):
            if isinstance(node, ast.For):
                rows = list(self._rows(node, Scope(module, node, {})))
                scopes = [s._replace(names=s.names | row) for s in scopes for row in rows or [{}]]
            if isinstance(node, Function):
                used |= {
                    n.id
                    for a in ast.walk(node)
                    if isinstance(a, ast.Assign) and used & {*_targets(a)}
                    for n in ast.walk(a.value)
                    if isinstance(n, ast.Name)
                }
                sites = list(self._sites(node, module, used))
                scopes = [
                    s._replace(names=site | s.names) for s in scopes for site in sites or [{}]
                ]
        return scopes

    def _rows(self, loop: ast.For, scope: Scope) -> Iterator[dict[str, tuple[ast.expr, Scope]]]:
        """The bindings of a loop over a literal table."""
        table = loop.iter
        if isinstance(table, ast.Name):
            table = next(iter(_assigned(scope.module.tree, table.id)), table)
        if isinstance(table, ast.Tuple | ast.List) and isinstance(loop.target, ast.Tuple):
            for row in table.elts:
                if isinstance(row, ast.Tuple) and len(row.elts) == len(loop.target.elts):
                    names = [getattr(target, "id", "") for target in loop.target.elts]
                    yield {
                        name: (value, scope) for name, value in zip(names, row.elts, strict=True)
                    }

    def _sites(
        self, function: Function, own: Module, used: set[str]
    ) -> Iterator[dict[str, tuple[ast.expr, Scope]]]:
        """The text arguments in calls of this function, for the parameters that are used."""
        names = [arg.arg for arg in function.args.args if arg.arg not in ("self", "cls")]
        for call, module in self.calls.get(function.name, ()):
            if not (module is own or module.takes(call.func, own)):
                continue
            scope = Scope(module, call, {})
            given = dict(zip(names, call.args, strict=False))
            given |= {word.arg: word.value for word in call.keywords if word.arg}
            bound = {name: (value, scope) for name, value in given.items() if name in used}
            texts = {n: b for n, b in bound.items() if any(map(_says, self.texts(*b)))}
            if texts:
                yield texts

    def texts(self, node: ast.expr, scope: Scope, depth: int = _DEPTH) -> list[str]:
        """The possible texts: literals, with run-time values in braces."""
        if isinstance(node, ast.Constant):
            return ["" if node.value is None else str(node.value)]
        written = ast.unparse(node)
        unknown = [written if isinstance(node, ast.FormattedValue) else f"{{{written}}}"]
        if not depth:
            return unknown
        parts: list[ast.expr] = []
        if isinstance(node, ast.JoinedStr):
            parts = node.values
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            parts = [node.left, node.right]
        if parts:
            every = [self.texts(part, scope, depth) for part in parts]
            return ["".join(some) for some in itertools.islice(itertools.product(*every), _MOST)]
        choices = self._choices(node, scope)
        said = [text for choice, where in choices for text in self.texts(choice, where, depth - 1)]
        # A value that is not text, such as a number, is shown by its name.
        return list(dict.fromkeys(said)) if any(map(_says, said)) or "" in said else unknown

    def _choices(self, node: ast.expr, scope: Scope) -> list[tuple[ast.expr, Scope]]:
        if isinstance(node, ast.Name) and node.id in scope.names:
            return [scope.names[node.id]]
        nodes: list[ast.expr] = []
        if isinstance(node, ast.FormattedValue):
            nodes = [node.value]
        elif isinstance(node, ast.IfExp):
            nodes = [node.body, node.orelse]
        elif isinstance(node, ast.BoolOp):
            nodes = node.values
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            nodes = _returned(scope.module.tree, node.func.id)
        elif isinstance(node, ast.Name):
            nodes = _given(node.id, scope) or self._constant(node.id)
        return [(choice, scope) for choice in nodes]

    def _constant(self, name: str) -> list[ast.expr]:
        """The value of a public constant in another module."""
        trees = [module.tree for module in self.modules] if name.isupper() else []
        return (
            [value for tree in trees for value in _assigned(tree, name)] if name[0] != "_" else []
        )


def _called(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def _targets(node: ast.Assign) -> Iterator[str]:
    return (target.id for target in node.targets if isinstance(target, ast.Name))


def _given(name: str, scope: Scope) -> list[ast.expr]:
    """Possible values of a name: the assignments after that in its own block, or else all."""
    parents = scope.module.parents
    for block in scope.module.around(scope.node):
        found = _assigned(block, name)
        before = [value for value in found if value.lineno < scope.node.lineno]
        if direct := [value for value in before if parents[parents[value]] is block]:
            return [value for value in before if value.lineno >= direct[-1].lineno]
        if found and isinstance(block, Function | ast.Module):
            return found
        if isinstance(block, Function) and name in {arg.arg for arg in block.args.args}:
            return []
    return []


def _assigned(tree: ast.AST, name: str) -> list[ast.expr]:
    """The values assigned to this name; in a module only those at its top."""
    nodes = tree.body if isinstance(tree, ast.Module) else ast.walk(tree)
    return [n.value for n in nodes if isinstance(n, ast.Assign) and name in _targets(n)]


def _returned(module: ast.Module, name: str) -> list[ast.expr]:
    """The values that a function of this module returns."""
    return [
        node.value
        for function in module.body
        if isinstance(function, Function) and function.name == name
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and node.value is not None
    ]


def _says(text: str) -> bool:
    """Whether the text has words besides run-time values."""
    return any(letter.isalpha() for letter in literal(text))


def literal(text: str) -> str:
    """The text without the parts in braces."""
    out, depth = [], 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        out.append(letter if not depth and letter != "}" else "")
    return "".join(out)


def _position(message: Message) -> tuple[str, int, str]:
    path, _, line = message.place.rpartition(":")
    return path, int(line), message.text


def main(words: list[str]) -> None:
    """Print those that hold one of the words, or all of them."""
    for message in Sources().messages():
        shown = f"{message.code}  ({message.kind}, {message.place})\n    {message.text}\n"
        shown += f"    hint: {message.hint}\n" if message.hint else ""
        if not words or any(word in shown for word in words):
            print(shown)


if __name__ == "__main__":
    main(sys.argv[1:])
