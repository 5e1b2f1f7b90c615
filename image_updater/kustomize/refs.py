"""Nodes to references: the frozen values that sites, markers and edits carry instead of nodes."""

from __future__ import annotations

from image_updater.documents import Mapping, Scalar
from image_updater.documents.values import is_string
from image_updater.kustomize.model import MappingRef, Path, ScalarRef


def scalar_ref(node: Scalar, *, file: str, document: int, path: Path, shared: bool = False) -> ScalarRef:
    """A reference to `node`. `shared` says that it stands below an anchor or was reached through an alias."""
    return ScalarRef(
        file=file,
        document=document,
        path=path,
        line=node.line,
        start=node.start,
        end=node.end,
        value=node.value,
        style=node.style,
        string=is_string(node),
        anchored=shared or node.anchor is not None,
    )


def mapping_ref(node: Mapping, *, file: str, document: int, path: Path) -> MappingRef:
    """A reference to a mapping, for inserts into it."""
    return MappingRef(file=file, document=document, path=path, line=node.line, start=node.start, end=node.end)
