"""Where an object that a server refuses stands in Git: the file, and the line of the field that is refused.

Asked only when an error is told. Plain manifests know their file; for what Kustomize builds, the files of the build are
looked through for a document of that kind and name (as far as prefixes, suffixes and hashes tell), and where several
are (a base and a patch of it), the one is meant that holds the field of the server's message.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from image_updater.cluster.model import Ref
from image_updater.controller.sync.elsewhere import affixes_of, readings
from image_updater.documents import Mapping, Scalar, Sequence, decode, get, parse, resolve, string
from image_updater.errors import DocumentError, GitError
from image_updater.sync.errors import HeldBack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from image_updater.documents import Node
    from image_updater.errors import ImageUpdaterError, Where
    from image_updater.kustomize import Root, Tree
    from image_updater.sync.model import Manifest, SyncReport

log = logging.getLogger("image_updater.sync")

AT_MOST: Final = 50
"""Errors that are placed: status lists no more."""

_FIELD: Final = re.compile(r"[A-Za-z_$][\w$/-]*(?:\[[^\]\s]*\]|\.[\w$/-]+)*")
"""What may be a field in a server's words: `spec.ports[0].port`, `.spec.containers[name="web"].image`."""
_STEP: Final = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")
_GENERATORS: Final = {"ConfigMap": "configMapGenerator", "Secret": "secretGenerator"}


def place(report: SyncReport, manifests: Iterable[Manifest], tree: Tree, root: Root, affixes: Iterable[str]) -> None:
    """Let the errors of this report say where their objects stand. `affixes`: what the Kustomization puts around names.

    Reads files: in a thread.
    """
    by_ref = {manifest.ref: manifest for manifest in manifests}
    failed = [done for done in report.done if done.error is not None and done.ref in by_ref]
    finder = _Finder(tree, root, affixes)
    try:
        for done in [each for each in failed if not isinstance(each.error, HeldBack)][:AT_MOST]:
            assert done.error is not None
            _place(done.error, by_ref[done.ref], finder)
    except GitError as error:  # what failed is told without its place
        log.info("where the objects that failed are in Git cannot be read: %s", error)


def _place(error: ImageUpdaterError, manifest: Manifest, finder: _Finder) -> None:
    message = f"{error.where.field or ''} {error.message}"
    found = finder.find(manifest.ref, message, manifest.where)
    if found is not None:
        error.where = replace(error.where, file=found[0], line=found[1])


class _Finder:
    """Files are read and parsed once."""

    def __init__(self, tree: Tree, root: Root, affixes: Iterable[str]) -> None:
        self._tree = tree
        self._files = [path for path in sorted(root.closure) if path.endswith((".yaml", ".yml", ".json"))]
        self._folder = f"{root.path}/"
        self._texts: dict[str, bytes] = {}
        self._objects: dict[str, tuple[Node, ...]] = {}
        self._affixes = frozenset(affixes)
        self._all: frozenset[str] | None = None

    def find(self, ref: Ref, message: str, known: Where | None) -> tuple[str, int] | None:
        """The document that holds most of the field, best under its full name."""
        exact = known is not None and known.file in self._files
        files = [known.file] if known is not None and known.file is not None and exact else self._files
        names = {ref.name} if exact else readings(ref.name, self._known_affixes())
        places = []
        for file in files:
            text = self._text(file)
            kinds = (ref.kind, *([_GENERATORS[ref.kind]] if ref.kind in _GENERATORS else ()))
            if not any(kind.encode() in text for kind in kinds) or not any(name.encode() in text for name in names):
                continue
            for node in self._nodes(file):
                name = _name_of(node, ref.kind)
                if name not in names:
                    continue
                depth, line, whole = _deepest(node, message)
                # What has the field counts as overlays do; what lacks it is the object, and not a patch of it.
                weight = int(file.startswith(self._folder)) if whole else node.end - node.start
                # Of the same name in several namespaces, or in several documents of a plain file.
                namespace = string(get(node, "metadata", "namespace"))
                mine = known.line == node.line if known is not None and exact else namespace in (None, ref.namespace)
                places.append((mine, depth, name == ref.name, weight, file, line))
        if not places:
            return None
        *_, file, line = max(places, key=lambda each: each[:4])
        return file, line

    def _known_affixes(self) -> frozenset[str]:
        if self._all is None:
            self._all = self._affixes | affixes_of(b"\n".join(self._text(file) for file in self._files))
        return self._all

    def _text(self, file: str) -> bytes:
        if file not in self._texts:
            self._texts[file] = self._tree.read(file)
        return self._texts[file]

    def _nodes(self, file: str) -> tuple[Node, ...]:
        if file not in self._objects:
            try:
                roots = [each.root for each in parse(decode(self._text(file))) if each.root is not None]
            except DocumentError:
                roots = []  # a template, say: nothing that an object could be found in
            self._objects[file] = tuple(node for root in roots for node in _expand(root))
        return self._objects[file]


def _expand(node: Node) -> Iterator[Node]:
    """The objects of a document: of a List its items, of a kustomization's generators their entries."""
    node = resolve(node)
    if isinstance(node, Sequence):
        for item in node.items:
            yield from _expand(item)
        return
    if not isinstance(node, Mapping):
        return
    yield node
    for field in ("items", *_GENERATORS.values()):
        items = get(node, field)
        if items is not None and isinstance(resolve(items), Sequence):
            yield from _expand(items)


def _name_of(node: Node, kind: str) -> str | None:
    """The name of an object of that kind; a generator's entry has no kind, and its name on top."""
    found = string(get(node, "kind"))
    if found is None and kind in _GENERATORS:
        return string(get(node, "name"))
    return string(get(node, "metadata", "name")) if found == kind else None


def _deepest(node: Node, message: str) -> tuple[int, int, bool]:
    """How far the field that the message names can be followed, the line of what is found there, and whether that is
    all of it.
    """
    best = (0, node.line, False)
    for field in _FIELD.findall(message):
        best = max(best, _follow(node, field), key=lambda each: each[0])
    return best


def _follow(node: Node, field: str) -> tuple[int, int, bool]:
    depth, line = 0, node.line
    current: Node | None = node
    for index, name in _STEP.findall(field):
        holder = resolve(current) if current is not None else None
        current = _item(holder, index) if index else get(holder, name)
        if current is None:
            return depth, line, False
        depth, line = depth + 1, _key_line(holder, name, current)
    return depth, line, True


def _key_line(holder: Node | None, name: str, value: Node) -> int:
    """The line of the key: the value of a block begins below it."""
    if isinstance(holder, Mapping):
        return next((k.line for k, _ in holder.items if isinstance(k, Scalar) and k.value == name), value.line)
    return value.line


def _item(holder: Node | None, index: str) -> Node | None:
    """`0`, or as server-side apply names it: `name="web"`, `containerPort=80,protocol="TCP"`."""
    if index.isdigit():
        return get(holder, int(index))
    if not isinstance(holder, Sequence):
        return None
    wanted = [part.partition("=") for part in index.split(",")]
    for item in holder.items:
        if all(string(get(item, key)) in (value.strip('"'), None) for key, _, value in wanted):
            return item
    return None
