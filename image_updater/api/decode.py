"""YAML nodes to typed values: the cursor (`At`) and the collector of errors behind it.

Every mistake of an object is reported, not only the first: a reader that finds one notes it and returns `INVALID`, its
parents go on with their other fields, and nothing is built from an object that has any. An error names file and line of
the very scalar, the object, the field path, and what to do.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from image_updater.documents import Mapping, Node, Scalar, Sequence, resolve, walk
from image_updater.documents.values import implicit_tag, reads_as_string
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from collections.abc import Iterable


class SpecErrors(SpecError):
    """All errors of the input that was read; `errors` has each with its file, line, field path and remedy."""

    def __init__(self, errors: Iterable[SpecError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        if len(self.errors) == 1:
            super().__init__(first.message, where=first.where, remedy=first.remedy)
        else:
            super().__init__("\n".join(str(error) for error in self.errors))

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class Invalid:
    """The type of `INVALID`: a value that was there and wrong, and has been reported."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "INVALID"


INVALID: Final = Invalid()


class Lines:
    """From a field path to its place, in one string an object instead of its nodes (a thousand policies stay small)."""

    __slots__ = ("_file", "_label", "_line", "_table")

    def __init__(self, root: Node, *, file: str | None, label: str) -> None:
        self._file = file
        self._label = label
        self._line = root.line
        rows = [f"\n{join_path(path)}\t{node.line}" for path, node in walk(root) if path]
        self._table = "".join(rows) + "\n"

    def __call__(self, path: str) -> Where:
        """The place of a field; the nearest one above it where the field itself is absent (a default, an alias)."""
        probe = path
        while probe:
            at = self._table.find(f"\n{probe}\t")
            if at >= 0:
                start = at + len(probe) + 2
                line = int(self._table[start : self._table.index("\n", start)])
                return Where(file=self._file, line=line, field=path, object=self._label)
            probe = probe[: max(probe.rfind("."), probe.rfind("["), 0)]
        return Where(file=self._file, line=self._line, field=path or None, object=self._label)


def join_path(path: Iterable[str | int]) -> str:
    """`("spec", "deny", 0)` as `spec.deny[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


MAX_ERRORS: Final = 100
"""Errors of one file that are told; a file with more is another file than was meant."""


class EnoughErrors(Exception):
    """The rest of this file is not looked at."""


@dataclass(slots=True, kw_only=True)
class Report:
    """Where the errors of one file go. Raises EnoughErrors behind the last that is told."""

    file: str | None = None
    errors: list[SpecError] = field(default_factory=list)

    def add(
        self, message: str, *, line: int | None, path: str = "", label: str | None = None, remedy: str | None = None
    ) -> Invalid:
        where = Where(file=self.file, line=line, field=path or None, object=label)
        self.errors.append(SpecError(message, where=where, remedy=remedy))
        if len(self.errors) >= MAX_ERRORS:
            raise EnoughErrors
        return INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """The cursor: which field of which object is being read.

    `line` is where its parent stands, for fields that are absent.
    """

    report: Report
    label: str
    path: str = ""
    line: int | None = None

    def child(self, name: str | int, node: Node) -> At:
        if isinstance(name, int):
            path = f"{self.path}[{name}]"
        else:
            path = f"{self.path}.{name}" if self.path else name
        return At(report=self.report, label=self.label, path=path, line=node.line)

    def fail(
        self, message: str, *, node: Node | None = None, field: str | None = None, remedy: str | None = None
    ) -> Invalid:
        """Note an error at this field, or at `field` below it; the line is the node's where there is one."""
        path = self.path if field is None else (f"{self.path}.{field}" if self.path else field)
        line = node.line if node is not None else self.line
        return self.report.add(message, line=line, path=path, label=self.label, remedy=remedy)

    @property
    def count(self) -> int:
        """Errors so far: a parent compares two counts to learn whether its children are sound."""
        return len(self.report.errors)


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was meant, whatever its case, or None."""
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str], *, what: str = "known") -> str:
    """The remedy for a mistyped word: the one that was meant, or all there are."""
    names = sorted(known)
    close = suggest(word, names)
    return f"did you mean {close!r}?" if close else f"{what}: {', '.join(names)}"


def is_null(node: Node) -> bool:
    """Is this an absent value (`field:`, `~`, `null`)? The server drops nulls, and so do we."""
    node = resolve(node)
    if not isinstance(node, Scalar) or node.style or node.tag not in (None, "tag:yaml.org,2002:null"):
        return False
    return implicit_tag(node.value) == "tag:yaml.org,2002:null"


def is_text(node: Scalar) -> bool:
    """Is this a string for every reader? A plain `1.10`, `on` or `~` is none; a plain date stays one, as in
    Kubernetes.
    """
    if node.style or node.tag is not None:
        return node.tag in (None, "!", "tag:yaml.org,2002:str")
    return reads_as_string(node.value) or implicit_tag(node.value) == "tag:yaml.org,2002:timestamp"


def kind_of(node: Node) -> str:
    """What a person calls this node: `a list`, `a mapping`, `the number 1.2`, `true`, `nothing`, `a string`."""
    node = resolve(node)
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    assert isinstance(node, Scalar)
    if is_null(node):
        return "nothing"
    if is_text(node):
        return "a string"
    if node.tag is not None and node.tag.startswith("!"):
        return f"the tag {node.tag}"
    kind = (node.tag or implicit_tag(node.value)).rpartition(":")[2]
    if kind == "bool" or node.value in ("y", "n", "Y", "N"):
        return f"the boolean {node.value}"
    return f"the number {node.value}" if kind in ("int", "float", "str") else f"a {kind}"


def members(node: Mapping, at: At, *, seen: set[int] | None = None) -> dict[str, tuple[Node, Node]]:
    """The fields of a mapping as (key, value) nodes; merge keys (`<<`) are honoured, duplicates and odd keys
    reported.
    """
    seen = {id(node)} if seen is None else seen
    found: dict[str, tuple[Node, Node]] = {}
    merged: list[Mapping] = []
    for key, value in node.items:
        name_node = resolve(key)
        if not isinstance(name_node, Scalar):
            at.fail(f"a key is {kind_of(key)}, not a string", node=key, remedy="write one name before the colon")
            continue
        name = name_node.value
        if name == "<<" and not name_node.style:
            merged.extend(_merge_sources(value, at))
        elif name in found:
            first = found[name][0].line
            at.child(name, key).fail(
                f"is set twice, in lines {first} and {key.line}", node=key, remedy="remove one of them"
            )
        else:
            found[name] = (key, value)
    for source in merged:
        if id(source) in seen:  # it has nothing new, and chains of merges would double with every link
            continue
        seen.add(id(source))
        for name, pair in members(source, at, seen=seen).items():
            found.setdefault(name, pair)
    return found


def _merge_sources(value: Node, at: At) -> list[Mapping]:
    target = resolve(value)
    nodes = [resolve(item) for item in target.items] if isinstance(target, Sequence) else [target]
    sources = [node for node in nodes if isinstance(node, Mapping)]
    if len(sources) != len(nodes):
        at.fail(f"a merge key (<<) takes mappings, not {kind_of(value)}", node=value, remedy="write <<: *ANCHOR")
    return sources
