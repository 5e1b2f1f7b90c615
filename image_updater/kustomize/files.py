"""A tree as the engine sees it: folders, kustomizations, parsed documents. One per `locate`."""

from __future__ import annotations

import bisect
import copy
import re
from typing import TYPE_CHECKING, Any, TypeVar, cast

from image_updater.documents import decode, parse
from image_updater.documents.parse import MAX_BYTES
from image_updater.kustomize import facts
from image_updater.kustomize.facts import BulkCache, FactCache, Facts
from image_updater.kustomize.model import Entry, EntryKind, Tree
from image_updater.kustomize.paths import KUSTOMIZATION_NAMES, folder_of, join, parents
from image_updater.kustomize.values import INLINE, Leaf, Map, Origin, Value, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

T = TypeVar("T")

_YAML = (".yaml", ".yml", ".json")
_HEADER = re.compile(r"[|>][^\r\n]*(?:\r\n|\r|\n)")
_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_TOO_LARGE = f"more than {MAX_BYTES:,} bytes: too large to be a manifest"
_SLACK = 20_000
"""Parsed files that may be kept beyond those of the tree at hand."""


def changed(new: Mapping[str, Entry], old: Mapping[str, Entry]) -> frozenset[str]:
    """Paths whose content or kind differs. An entry that did not change is mostly the very same object."""
    found = [
        path
        for path, entry in new.items()
        if (was := old.get(path)) is not entry and (was is None or was.oid != entry.oid or was.kind is not entry.kind)
    ]
    return frozenset(found) | (old.keys() - new.keys())


def _folders(entries: Mapping[str, Entry]) -> dict[str, list[str]]:
    known: dict[str, list[str]] = {".": []}
    for path in entries:
        folder = path.rpartition("/")[0] or "."
        if folder in known:
            known[folder].append(path)
            continue
        known[folder] = [path]
        while folder != ".":
            folder = folder_of(folder)
            if folder in known:
                break
            known[folder] = []
    return known


def _kustomizations(entries: Mapping[str, Entry]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in KUSTOMIZATION_NAMES:
        suffix = "/" + name
        for path in entries:
            if path == name or path.endswith(suffix):
                found.setdefault(folder_of(path), []).append(path)
    return found


class Files:
    """Reads a tree through the facts cache. `previous` hands over what was parsed for files that did not change."""

    def __init__(self, tree: Tree, cache: FactCache, previous: Files | None = None) -> None:
        self.tree = tree
        self.cache = cache
        self.entries = tree.files()
        self._facts: dict[tuple[str, bool], Facts] = {} if previous is None else previous._facts
        self._documents: dict[tuple[str, str, str, bool], tuple[Value | None, ...]] = {}
        self._remembered: dict[tuple[str, str, str], Any] = {}
        if previous is not None:
            old = previous.entries
            self._documents, self._remembered = previous._documents, previous._remembered
            self._forget_old()
            self.changed = changed(self.entries, old)
        else:
            self.changed = frozenset(self.entries)
        self.children: dict[str, list[str]]
        """Files directly in each folder; every folder that exists has an entry."""
        self.kustomizations: dict[str, list[str]]
        if previous is not None and all(path in old and path in self.entries for path in self.changed):
            self.children, self.kustomizations = previous.children, previous.kustomizations
        else:
            self.children, self.kustomizations = _folders(self.entries), _kustomizations(self.entries)

    def moved_to(self, tree: Tree) -> Files:
        """The same files under another tree's name."""
        twin = copy.copy(self)
        twin.tree, twin.entries = tree, tree.files()
        return twin

    def _forget_old(self) -> None:
        """A long life sees many versions of a file: what no current file needs goes when it is much."""
        if len(self._documents) > len(self.entries) * 3 + _SLACK:
            entries = self.entries
            self._documents = {
                k: v for k, v in self._documents.items() if k[0] in entries and entries[k[0]].oid == k[1]
            }
            self._remembered = {
                k: v for k, v in self._remembered.items() if k[1] in entries and entries[k[1]].oid == k[2]
            }
        if len(self._facts) > len(self.entries) * 3 + _SLACK:
            alive = {entry.oid for entry in self.entries.values()}
            self._facts = {k: v for k, v in self._facts.items() if k[0] in alive}

    def exists(self, path: str) -> bool:
        return path in self.entries

    def is_folder(self, path: str) -> bool:
        return path in self.children

    def resolve(self, path: str, links: set[str] | None = None) -> str | None:
        """Where symlinks lead, inside the repository; None when they leave it, loop or dangle. `links` gets those
        followed."""
        for _ in range(16):
            if path in self.entries:
                if self.entries[path].kind is not EntryKind.SYMLINK:
                    return path
                target = join(folder_of(path), self.tree.read(path).decode("utf-8", "replace"))
                if links is not None:
                    links.add(path)
                if target is None:
                    return None
                path = target
                continue
            if path in self.children:
                return path
            parts = path.split("/")
            for i in range(1, len(parts)):
                head = "/".join(parts[:i])
                entry = self.entries.get(head)
                if entry is not None and entry.kind is EntryKind.SYMLINK:
                    target = join(folder_of(head), self.tree.read(head).decode("utf-8", "replace"))
                    if links is not None:
                        links.add(head)
                    if target is None:
                        return None
                    path = join(target, "/".join(parts[i:])) or "."
                    break
            else:
                return path
        return None

    def in_submodule(self, path: str) -> bool:
        """Is it, or does it lie in, another repository's tree?"""
        entries = (self.entries.get(folder) for folder in parents(path))
        return any(entry is not None and entry.kind is EntryKind.SUBMODULE for entry in entries)

    def below(self, folder: str) -> Iterator[str]:
        """Every file of a folder and of those below it."""
        prefix = "" if folder == "." else folder + "/"
        for path in self.entries:
            if path.startswith(prefix):
                yield path

    def is_yaml(self, path: str) -> bool:
        return path.endswith(_YAML) or path.rpartition("/")[2] in KUSTOMIZATION_NAMES

    def facts(self, path: str, *, full: bool = False) -> Facts:
        """What a file holds. Never raises for bad content: `Facts.error` says it."""
        entry = self.entries[path]
        key = (entry.oid, full)
        found = self._facts.get(key)
        if found is not None:
            return found
        name = entry.oid + ("+" if full else "")
        data = self.cache.get(name)
        found = facts.load(data) if data is not None else None
        if found is None:
            if entry.kind is EntryKind.SUBMODULE:
                found = Facts(error=("a submodule: its files are not here", None))
            else:
                too_large = entry.size is not None and entry.size > MAX_BYTES
                found = Facts(error=(_TOO_LARGE, None)) if too_large else facts.read(self.tree.read(path), full=full)
                self.cache.put(name, facts.dump(found))
        self._facts[key] = found
        return found

    def prefetch(self, paths: Iterable[str]) -> None:
        """Have the kept facts of these files read together, where the cache can."""
        if not isinstance(self.cache, BulkCache):
            return
        wanted = []
        for path in paths:
            entry = self.entries.get(path)
            if entry is not None and entry.kind is EntryKind.FILE and self.is_yaml(path):
                unknown = (full for full in (False, True) if (entry.oid, full) not in self._facts)
                wanted += [entry.oid + ("+" if full else "") for full in unknown]
        self.cache.prefetch(wanted)

    def documents(self, path: str, *, full: bool = False, role: str = "") -> tuple[Value | None, ...]:
        """The trees of a file's documents; none for a file that does not parse (`facts` says why)."""
        entry = self.entries[path]
        key = (path, entry.oid, role, full)
        known = self._documents.get(key)
        if known is not None:
            return known
        found = self.facts(path, full=full)
        if found.error is not None:
            return ()
        origin = Origin(path, role, "a symlink: edit what it leads to" if entry.kind is EntryKind.SYMLINK else None)
        trees = tuple(None if doc is None else unpack(doc, origin, i) for i, doc in enumerate(found.documents))
        self._documents[key] = trees
        return trees

    def remember(self, what: str, path: str, make: Callable[[], T]) -> T:
        """Something that follows from one file's content and place alone, made once."""
        key = (what, path, self.entries[path].oid)
        try:
            return cast("T", self._remembered[key])
        except KeyError:
            made = self._remembered[key] = make()
            return made

    def text(self, path: str) -> str:
        """The decoded text. Raises DocumentError."""
        return decode(self.tree.read(path), file=path)

    def inline(self, leaf: Leaf, role: str) -> list[Value | None]:
        """The documents written inside a scalar (an inline patch), whose scalars map back to the outer file. Raises
        DocumentError."""
        documents = parse(leaf.value, file=leaf.origin.file)
        spots = self._spots(leaf)
        frozen = leaf.origin.frozen
        if spots is None:
            frozen = frozen or "an inline text in this style does not map back to the file: use `|`"
        origin = Origin(leaf.origin.file, role, frozen)
        found: list[Value | None] = []
        for document in documents:
            tree = None if document.root is None else unpack(pack(document.root), origin, leaf.document, leaf.path)
            if tree is not None:
                _shift(tree, leaf, spots)
            found.append(tree)
        return found

    def _spots(self, leaf: Leaf) -> _Spots | None:
        """Where each line of a literal block begins in the file; None when it does not map character by character."""
        if leaf.style != "|":
            return None
        text = self.text(leaf.origin.file)
        header = _HEADER.match(text, leaf.start)
        if header is None:
            return None
        inner: list[int] = []
        outer: list[int] = []
        at, position, number = header.end(), 0, leaf.line + 1
        lines = leaf.value.split("\n")
        if lines and lines[-1] == "":
            lines.pop()
        indent: int | None = None
        for line in lines:
            match = _LINE.match(text, at)
            assert match is not None
            raw = match.group(1)
            if line:
                if not raw.endswith(line):
                    return None
                if indent is None:
                    indent = len(raw) - len(line)
                if len(raw) - len(line) != indent or raw[:indent].strip(" "):
                    return None
            inner.append(position)
            outer.append(at + (indent or 0))
            position += len(line) + 1
            at = match.end()
        return _Spots(inner, outer, number)


class _Spots:
    """Line starts of an inline text: in its value and in the file."""

    __slots__ = ("first", "inner", "outer")

    def __init__(self, inner: list[int], outer: list[int], first: int) -> None:
        self.inner = inner
        self.outer = outer
        self.first = first

    def place(self, offset: int) -> int:
        i = max(bisect.bisect_right(self.inner, offset) - 1, 0)
        return self.outer[i] + offset - self.inner[i]


def _shift(value: Value, leaf: Leaf, spots: _Spots | None) -> None:
    """Moves freshly unpacked inline values to their places in the outer file (in place: nobody else has them yet)."""
    if isinstance(value, list):
        for item in value:
            _shift(item, leaf, spots)
        return
    if isinstance(value, Map):
        for item in value.values():
            _shift(item, leaf, spots)
    if isinstance(value, Leaf):
        value.bits |= INLINE | (leaf.bits & 2)
    assert isinstance(value, Map | Leaf)
    if spots is None:
        value.start, value.end, value.line = leaf.start, leaf.end, leaf.line
    else:
        value.line += spots.first - 1
        value.start, value.end = spots.place(value.start), spots.place(value.end)
