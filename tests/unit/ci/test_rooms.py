"""What the import contracts cannot see: processes started through asyncio or os, and the clock read in pure rooms."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[3] / "image_updater"
STARTS = ("create_subprocess_", "exec", "fork", "popen", "posix_spawn", "spawn", "startfile", "system")
MAY_START = {"render", "registry/helpers.py"}
PURE = ("api", "documents", "images", "kustomize", "patch", "policy")
CLOCKS = {"now", "utcnow", "today", "urandom", "getenv", "environ", "getcwd"}


def sources(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not rooms or name.split("/")[0] in rooms:
            yield name, ast.parse(path.read_text())


def attributes(tree: ast.Module, *owners: str) -> Iterator[ast.Attribute]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in owners:
            yield node


def test_processes_are_started_in_render_and_by_credential_helpers_only() -> None:
    found = [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for name, tree in sources()
        if name not in MAY_START and name.split("/")[0] not in MAY_START
        for node in attributes(tree, "asyncio", "os")
        if node.attr.startswith(STARTS)
    ]
    assert found == []


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_reads_neither_clock_nor_environment(room: str) -> None:
    found = [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for name, tree in sources(room)
        for node in attributes(tree, "datetime", "date", "os")
        if node.attr in CLOCKS
    ]
    assert found == []


def test_no_error_is_swallowed() -> None:
    """`except Exception: pass` (or wider) hides what a person must know."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")))
        and all(isinstance(each, ast.Pass) for each in node.body)
    ]
    assert found == []
