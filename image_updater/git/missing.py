"""What is said when a server has not the branch that was asked for: what it has instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.git.errors import BranchNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping


def no_branch(url: str, name: str, heads: Mapping[str | None, str]) -> BranchNotFound:
    shown = _branches(heads)
    if not shown:
        return BranchNotFound(
            f"{url} is empty: it has no commit, so no branch {name}",
            remedy="push a first commit with the files to update",
        )
    return BranchNotFound(f"{url} has no branch or tag {name}; it has {shown}", remedy="check ref.branch")


def no_default(url: str, heads: Mapping[str | None, str]) -> BranchNotFound:
    shown = _branches(heads)
    if not shown:
        return BranchNotFound(
            f"{url} is empty: it has no commit, so no branch", remedy="push a first commit with the files to update"
        )
    return BranchNotFound(f"{url} names no default branch; it has {shown}", remedy="name the branch: --branch B")


def _branches(heads: Mapping[str | None, str]) -> str:
    """What the server has, for people; "" in an empty repository."""
    found = sorted(name.removeprefix("refs/heads/") for name in heads if name and name.startswith("refs/heads/"))
    return ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
