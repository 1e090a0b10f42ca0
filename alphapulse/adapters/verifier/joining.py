"""The modules of the verifier as one file, for people who have nothing of ours.

    python3 -m alphapulse.adapters.verifier.joining > verify.py

Imports between the modules are left out and those of the standard library gathered on top, so all top-level
names stand in one module: each may be there once only.
"""

import ast
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

PACKAGE = "alphapulse.adapters.verifier"
_LAST = "main"
_HEAD = '''\
#!/usr/bin/env python3
"""Verifies a bundle of events from a sealed log: python3 verify.py BUNDLE [--key KEY] [--since CHECKPOINT].

Needs Python 3.8 or later and nothing else. Exit code 0: VALID, 1: INVALID, 3: VALID BUT INCOMPLETE.
Whoever forges a bundle can forge the script in it, too: take this one from elsewhere, or read it.
"""

from __future__ import annotations

'''


class NameTwice(Exception):
    """Two modules define one top-level name, so they cannot become one file."""


@cache
def joined() -> str:
    """The text of ``verify.py``: the same at each call.

    Raises:
        NameTwice: see there.
    """
    return join(_sources(Path(__file__).parent))


def join(sources: Mapping[str, str]) -> str:
    """One file of modules by name, each after those that it imports, ``main`` last."""
    trees = {name: ast.parse(source) for name, source in sources.items()}
    order = _order({name: _imported(tree) for name, tree in trees.items()})
    _check_names({name: trees[name] for name in order})
    imports = sorted({line for name in order for line in _outer_imports(trees[name])}, key=_by_module)
    bodies = [f"# ---- {name}\n\n{_body(sources[name], trees[name])}" for name in order]
    return _HEAD + "\n".join(imports) + "\n\n\n" + "\n\n\n".join(bodies) + "\n"


def _sources(folder: Path) -> Mapping[str, str]:
    """All modules that ``main`` needs."""
    found: dict[str, str] = {}
    wanted = [_LAST]
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = (folder / f"{name}.py").read_text(encoding="utf-8")
            wanted += _imported(ast.parse(found[name]))
    return found


def _order(imported: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Names so that each comes after those that it imports."""
    done: list[str] = []

    def visit(name: str) -> None:
        if name not in done:
            for other in imported[name]:
                visit(other)
            done.append(name)

    visit(_LAST)
    return done


def _imported(tree: ast.Module) -> Sequence[str]:
    """The modules of the package that a module imports from."""
    return sorted(
        {
            (node.module or "").removeprefix(f"{PACKAGE}.")
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and _is_inner(node)
        }
    )


def _is_inner(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}.")


def _outer_imports(tree: ast.Module) -> Sequence[str]:
    """Lines that import from the standard library, one a name."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [f"import {_alias(alias)}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not _is_inner(node) and node.module != "__future__":
            found += [f"from {node.module} import {_alias(alias)}" for alias in node.names]
    return found


def _alias(alias: ast.alias) -> str:
    return alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"


def _by_module(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line


def _body(source: str, tree: ast.Module) -> str:
    """A module without its imports, its docstring as comments."""
    lines = source.split("\n")
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) or node is _docstring(tree):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (
                (node.end_lineno or node.lineno) - node.lineno + 1
            )
    told = (ast.get_docstring(tree) or "").split("\n")
    comments = "\n".join(f"# {line}".rstrip() for line in told)
    return f"{comments}\n\n\n" + "\n".join(lines).strip("\n")


def _docstring(tree: ast.Module) -> ast.stmt | None:
    return tree.body[0] if ast.get_docstring(tree) is not None else None


def _check_names(trees: Mapping[str, ast.Module]) -> None:
    """Raises NameTwice."""
    seen: dict[str, str] = {}
    for module, tree in trees.items():
        for name in set(_names(tree)):
            if name in seen:
                raise NameTwice(f"{name} stands in {seen[name]}.py and in {module}.py")
            seen[name] = module


def _names(tree: ast.Module) -> Sequence[str]:
    """What a module defines at its top level."""
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    return found


if __name__ == "__main__":
    sys.stdout.write(joined())
