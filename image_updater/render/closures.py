"""The key of a render: everything that decides it, and nothing else.

(path, blob id) of each file of the closure; for each folder in which a kustomization was looked for, which of the
three names are there (a new `kustomization.yml` beside a `kustomization.yaml` breaks a build that no other byte
touches); the wrapper; the renderer's version and options. Two roots with one key have one render.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from image_updater.kustomize.model import Root, Tree

CANDIDATES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_FORMAT = "1"
"""Goes into every key; raised when the meaning of a cached render changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What, beside the files, decides a render."""

    renderer: str
    """`Kustomize.description`; empty for plain roots."""
    helm: str | None = None
    """Helm's version; it counts only for roots that use it."""
    allow_remote: bool = False


def closure_id(tree: Tree, root: Root, options: Options) -> str:
    """Hex digest over all that decides the render of this root. A file of the closure that is absent is part of it."""
    files = tree.files()
    parts = [
        _FORMAT,
        root.kind.value,
        root.path,
        hashlib.sha256((root.wrapper or "").encode()).hexdigest(),
        hashlib.sha256((root.generated or "").encode()).hexdigest(),
    ]
    if root.kind.value == "kustomize":
        parts += [
            options.renderer,
            (options.helm or "") if root.helm else "",
            "remote" if options.allow_remote and root.remotes else "",
        ]
    for path in sorted(root.closure):
        entry = files.get(path)
        parts += [path, f"{entry.kind.value} {entry.oid}" if entry is not None else "-"]
    parts.append("folders")
    for folder in sorted(root.folders):
        prefix = "" if folder in (".", "") else folder + "/"
        for name in CANDIDATES:
            if prefix + name in files:
                parts.append(prefix + name)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
