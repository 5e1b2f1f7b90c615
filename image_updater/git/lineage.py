"""Who changed what stands at a place of a file: the commits of a history that did, newest first.

Many places are followed in one walk, each back along the parents that it came from. At a merge it follows the parent
that brought the value. A merge that took a side's change back (or decided between two) is itself the commit that
changed it, and the side that lost is followed: that is where the displaced value was set. A file that a commit moved is
followed to where it was, one that was deleted and put back to what it was before. Nothing here judges.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import cast

import pygit2

from image_updater.git import address
from image_updater.git.address import Place, Reading, Value, Version, alike, carried, lacks, read, renamed, substituted
from image_updater.git.commits import CommitInfo, get, info, shallow
from image_updater.git.comparing import Compared, Folder
from image_updater.git.errors import MirrorDamaged

MAX_COMMITS = 1000
_MOVES = 50
"""Files of one commit that are looked into for what one of them lost to another."""
_KEEP = 500


class End(StrEnum):
    """Why a chain goes no further back."""

    ENOUGH = "enough"
    START = "start"
    """The place came into being here."""
    BOUNDARY = "boundary"
    """More was not fetched."""
    LIMIT = "limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A place of a file of the commit that is begun at."""

    file: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A commit, and what it made of the place."""

    commit: CommitInfo
    before: Value | None
    after: Value | None
    at: Wanted | None = None
    """Where the place was in that commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """`now` is what stands there; `changes` are newest first; `end` is the oldest commit that was looked at."""

    now: Value | None
    changes: tuple[Changed, ...] = ()
    end: End = End.START
    last: str = ""


Enough = Callable[[str, Sequence[Changed]], bool]
"""Name of a place, and its changes so far → need no more be read?"""


@dataclass(frozen=True, slots=True)
class _Trail:
    """One place on its way back: what it is in the commit that is looked at."""

    name: str
    file: str
    reading: Reading
    now: Value | None
    changes: tuple[Changed, ...] = ()
    doubt: str | None = None
    """The newest of the commits in which the file could not be read."""
    made: str | None = None
    """The commit that made its file, which is not there now: it may have been deleted and put back."""


def trace(
    repository: pygit2.Repository,
    tip: str,
    wanted: Mapping[str, Wanted],
    *,
    enough: Enough,
    limit: int = MAX_COMMITS,
    versions: Mapping[str, Version] | None = None,
) -> dict[str, Chain]:
    """The chains of these places from `tip` back, at most `limit` commits each. `versions`: files that were read
    already, by blob id. Raises MirrorDamaged, RevisionNotFound.
    """
    return _Walk(repository, enough, limit, versions or {}).run(tip, wanted)


def version_of(repository: pygit2.Repository, commit: str, path: str) -> Version | None:
    """A file of a commit; None where there is none."""
    entry = _entry(get(repository, commit), path)
    return _read_blob(repository, entry) if entry is not None else None


def holds(repository: pygit2.Repository, commit: str, path: str) -> bool:
    """Has a commit a file or folder there?"""
    try:
        get(repository, commit).tree[path]
    except KeyError:
        return False
    return True


def files_of(repository: pygit2.Repository, commit: str) -> frozenset[str] | None:
    """The files that a commit changed, against its first parent; None where one of the two was not fetched."""
    if commit not in repository or commit in shallow(repository):
        return None
    found = get(repository, commit)
    diff = found.tree.diff_to_tree(*((get(repository, str(found.parent_ids[0])).tree,) if found.parent_ids else ()))
    return frozenset(path for delta in diff.deltas for path in (delta.old_file.path, delta.new_file.path))


_Trails = dict[str, list[_Trail]]
"""By file."""


class _Walk:
    def __init__(
        self, repository: pygit2.Repository, enough: Enough, limit: int, versions: Mapping[str, Version]
    ) -> None:
        self.repository = repository
        self.enough = enough
        self.limit = limit
        self.boundaries = shallow(repository)
        self.chains: dict[str, Chain] = {}
        self.versions: OrderedDict[str, Version] = OrderedDict(versions)
        self.keep = max(_KEEP, len(self.versions))
        self.common: dict[tuple[str, str], tuple[int, int]] = {}
        """By two blobs how many characters they begin, and end, alike."""
        self.waiting: dict[str, _Trails] = {}
        self.order: list[tuple[int, str]] = []
        self.depth: dict[str, int] = {}
        self.folders: dict[frozenset[str], Folder] = {}

    def run(self, tip: str, wanted: Mapping[str, Wanted]) -> dict[str, Chain]:
        start = self.commit(tip)
        self.depth[tip] = 0
        trails: _Trails = {}
        for name, each in wanted.items():
            entry = _entry(start, each.file)
            found = self.reading(entry, each.place) if entry is not None else None
            if found is None:
                found = Reading(None, each.place)
            trails.setdefault(each.file, []).append(_Trail(name, each.file, found, found.value))
        self.put(start, trails, 0)
        while self.order:
            _, identity = heapq.heappop(self.order)
            self.visit(self.commit(identity), self.waiting.pop(identity))
        return self.chains

    # -- the way back

    def commit(self, identity: str) -> pygit2.Commit:
        return get(self.repository, identity)

    def put(self, commit: pygit2.Commit, trails: _Trails, depth: int) -> None:
        """Look at these places in that commit, later. Whole groups go from commit to commit as they are."""
        if not trails:
            return
        identity = str(commit.id)
        known = self.waiting.get(identity)
        self.depth[identity] = min(depth, self.depth.get(identity, depth))
        if known is None:
            self.waiting[identity] = trails
            # Children before parents, as far as the clocks of those who made them were right.
            heapq.heappush(self.order, (-commit.commit_time, identity))
            return
        for file, each in trails.items():
            known.setdefault(file, []).extend(each)

    def queue(self, child: pygit2.Commit, commit: pygit2.Commit, trail: _Trail) -> None:
        self.put(commit, {trail.file: [trail]}, self.depth[str(child.id)] + 1)

    def end(self, trail: _Trail, why: End, commit: pygit2.Commit) -> None:
        last = str(commit.id)
        if trail.made is not None:
            why, last = End.START, trail.made
        self.chains[trail.name] = Chain(now=trail.now, changes=trail.changes, end=why, last=last)

    def visit(self, commit: pygit2.Commit, trails: _Trails) -> None:
        identity = str(commit.id)
        depth = self.depth[identity]
        if identity in self.boundaries or depth >= self.limit:
            for trail in _all(trails):
                self.end(trail, End.BOUNDARY if identity in self.boundaries else End.LIMIT, commit)
            return
        parents = [self.commit(str(each)) for each in commit.parent_ids]
        if not parents:
            for trail in _all(trails):
                self.change(trail, commit, None, None)
            return
        folder = self.folder(trails)
        compared = [Compared(commit, each, folder) for each in parents]
        if len(parents) == 1:
            rest = {file: each for file, each in trails.items() if file not in compared[0].files}
            for file, (newer, older) in compared[0].files.items():
                kept, looked = self.sort(trails[file], newer, older)
                if kept:
                    rest[file] = kept
                away = newer is None and (None, older) in {(old, new) for new, old in compared[0].everything().values()}
                for trail in looked:
                    if away:
                        # What is here now is another file than the one that went to another place.
                        self.end(trail, End.START, commit)
                        continue
                    self.back(trail, commit, parents[0], self.before(trail, compared[0]))
            self.put(parents[0], rest, depth + 1)
            return
        rest = {file: each for file, each in trails.items() if all(file not in one.files for one in compared)}
        self.put(parents[0], rest, depth + 1)
        for trail in _all({file: each for file, each in trails.items() if file not in rest}):
            self.merge(trail, commit, parents, compared)

    def sort(
        self, trails: Sequence[_Trail], newer: str | None, older: str | None
    ) -> tuple[list[_Trail], Sequence[_Trail]]:
        """Those that the difference of two blobs leaves alone, as they are in the older one, and the others."""
        if newer is None or older is None or (lengths := self.lengths(newer, older)) is None:
            return [], trails
        common = self.alike(newer, older)
        kept, looked = [], []
        for trail in trails:
            span = trail.reading.span
            there = carried(span, common, *lengths) if span is not None and trail.doubt is None else None
            if there is None:
                looked.append(trail)
            elif there == span:
                kept.append(trail)
            else:
                kept.append(replace(trail, reading=address.moved(trail.reading, there)))
        return kept, looked

    def lengths(self, newer: str, older: str) -> tuple[int, int] | None:
        new, old = self.version(newer).text, self.version(older).text
        return (len(new), len(old)) if new is not None and old is not None else None

    def alike(self, newer: str, older: str) -> tuple[int, int]:
        found = self.common.get((newer, older))
        if found is None:
            found = self.common[newer, older] = alike(self.version(newer).text or "", self.version(older).text or "")
        return found

    def folder(self, trails: _Trails) -> Folder:
        files = frozenset(trails)
        found = self.folders.get(files)
        if found is None:
            found = self.folders[files] = Folder.of(files)
        return found

    def back(self, trail: _Trail, commit: pygit2.Commit, parent: pygit2.Commit, before: _Before) -> None:
        """On to the parent, with the change of this commit if it is one."""
        if before.unreadable:
            doubt = trail.doubt or str(commit.id)
            self.queue(commit, parent, replace(trail, file=before.file, reading=before.reading, doubt=doubt))
            return
        if before.reading.value == trail.reading.value and not before.gone:
            self.queue(commit, parent, replace(trail, file=before.file, reading=before.reading, doubt=None))
            return
        self.change(trail, self.commit(trail.doubt) if trail.doubt else commit, before, parent)

    def change(
        self,
        trail: _Trail,
        commit: pygit2.Commit,
        before: _Before | None,
        parent: pygit2.Commit | None,
    ) -> None:
        value = before.reading.value if before is not None else None
        if value != trail.reading.value:
            at = Wanted(file=trail.file, place=trail.reading.place)
            changed = Changed(commit=info(commit), before=value, after=trail.reading.value, at=at)
            trail = replace(trail, changes=(*trail.changes, changed), made=None)
            if self.enough(trail.name, trail.changes):
                self.end(trail, End.ENOUGH, commit)
                return
        if before is None or parent is None:
            self.end(trail, End.START, commit)
            return
        made = trail.made or (str(commit.id) if before.gone else None)
        self.queue(commit, parent, replace(trail, file=before.file, reading=before.reading, doubt=None, made=made))

    def merge(
        self, trail: _Trail, commit: pygit2.Commit, parents: Sequence[pygit2.Commit], changed: Sequence[Compared]
    ) -> None:
        befores = [
            _Before(trail.file, trail.reading) if trail.file not in each.files else self.before(trail, each)
            for each in changed
        ]
        value = trail.reading.value
        same = [n for n, each in enumerate(befores) if not each.unreadable and each.reading.value == value]
        other = [n for n, each in enumerate(befores) if not each.unreadable and each.reading.value != value]
        if not same:
            first = other[0] if other else 0
            self.back(trail, commit, parents[first], befores[first])
            return
        for number in other:
            if self.taken_back(trail, parents[same[0]], parents[number], befores[number]):
                self.change(trail, commit, befores[number], parents[number])
                return
        chosen = befores[same[0]]
        self.queue(commit, parents[same[0]], replace(trail, file=chosen.file, reading=chosen.reading, doubt=None))

    def taken_back(self, trail: _Trail, kept: pygit2.Commit, lost: pygit2.Commit, before: _Before) -> bool:
        """Had the side that lost changed the value, since the two went apart?"""
        try:
            base = cast("pygit2.Oid | None", self.repository.merge_base(kept.id, lost.id))
        except (KeyError, pygit2.GitError):
            base = None
        if base is None:
            # They meet in what was not fetched, or nowhere.
            return False
        entry = _entry(self.commit(str(base)), before.file)
        found = self.reading(entry, before.reading.place) if entry is not None else None
        return (found.value if found is not None else None) != before.reading.value

    # -- what was there

    def before(self, trail: _Trail, compared: Compared) -> _Before:
        """The place in the parent."""
        newer, older = compared.files[trail.file]
        if older is None:
            return self.moved(trail, compared) or _Before(trail.file, Reading(None, trail.reading.place), gone=True)
        return self.older(trail, newer, older, trail.file)

    def older(self, trail: _Trail, newer: str | None, older: str, file: str) -> _Before:
        reading, old = trail.reading, self.version(older)
        new = self.version(newer) if newer is not None else None
        if reading.value is None and lacks(old, reading.place):
            return _Before(file, Reading(None, reading.place))
        if new is not None and newer is not None and reading.span is not None and new.text and old.text:
            common = self.alike(newer, older)
            span = carried(reading.span, common, len(new.text), len(old.text))
            if span is not None:
                return _Before(file, address.moved(reading, span))
            simple = substituted(reading, new.text, old.text, common)
            if simple is not None:
                return _Before(file, simple)
        # What the newer version calls things now may have been carried past changes of names elsewhere.
        named = read(new, reading.place) if new is not None else None
        place = named.place if named is not None and named.value == reading.value else reading.place
        found = read(old, place)
        if found is None:
            return _Before(file, Reading(reading.value, place), unreadable=True)
        if not found.exact and new is not None:
            other = renamed(new, old, place)
            found = (read(old, other) if other is not None else None) or Reading(None, place)
        elif not found.exact:
            found = Reading(None, place)
        return _Before(file, found)

    def moved(self, trail: _Trail, compared: Compared) -> _Before | None:
        """Where the place was before this commit made its file: a file with the same bytes, or one that had it by name
        and has it no more.
        """
        newer, _ = compared.files[trail.file]
        gone = [(path, old) for path, (new, old) in compared.everything().items() if old is not None and new is None]
        for path, old in gone:
            if old == newer:
                return _Before(path, trail.reading)
        if trail.reading.value is None:
            return None
        rest = [(path, old, new) for path, (new, old) in compared.everything().items() if old and new and old != new]
        for path, old, new in [*((path, old, None) for path, old in gone), *rest][:_MOVES]:
            if not path.endswith((".yaml", ".yml", ".json")):
                continue
            found = read(self.version(old), trail.reading.place)
            if found is None or not found.exact or found.value is None or _nameless(found.place):
                continue
            left = read(self.version(new), trail.reading.place) if new is not None else None
            if left is None or not left.exact or left.value is None:
                return _Before(path, found)
        return None

    def reading(self, oid: str, place: Place) -> Reading | None:
        version = self.version(oid)
        if lacks(version, place):
            return Reading(None, place)
        found = read(version, place)
        return found if found is None or found.exact else Reading(None, place)

    def version(self, oid: str) -> Version:
        found = self.versions.get(oid)
        if found is None:
            found = self.versions[oid] = _read_blob(self.repository, oid)
            while len(self.versions) > self.keep:
                self.versions.popitem(last=False)
        return found


@dataclass(frozen=True, slots=True)
class _Before:
    """A place in a parent: in which file, and what it is there."""

    file: str
    reading: Reading
    gone: bool = False
    """Its file was not there."""
    unreadable: bool = False


def _all(trails: _Trails) -> Iterable[_Trail]:
    return (trail for each in trails.values() for trail in each)


def _nameless(place: Place) -> bool:
    """Is there nothing but the position to know it by, so that finding it elsewhere says nothing?"""
    return any(field.identity is None or not field.identity[2] for field in place.fields) and not any(
        step.key is not None for field in place.fields for step in field.steps
    )


def _entry(commit: pygit2.Commit, path: str) -> str | None:
    try:
        found = commit.tree[path]
    except KeyError:
        return None
    return str(found.id) if isinstance(found, pygit2.Blob) else None


def _read_blob(repository: pygit2.Repository, oid: str) -> Version:
    try:
        found = repository[oid]
    except (KeyError, ValueError, pygit2.GitError) as exc:
        raise MirrorDamaged(f"object {oid} cannot be read: {exc}", remedy="the mirror is made anew") from exc
    return Version(found.data if isinstance(found, pygit2.Blob) else b"")
