"""Which Kustomization holds an object: so that one which moved from one to another in a commit is never deleted.

An index over the newest builds of all Kustomizations that apply to one cluster. Between a commit and the build of a
Kustomization that it changed, that one is unsettled: it may hold what another one lost. One that is not built then (it
does not build, or waits for a dependency) stays unsettled, but only for objects that its files can be about, or that it
held before: it must not keep everybody else from pruning. Nor does one that renders what its account may not apply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from image_updater.sync.model import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from image_updater.api.model import ObjectKey
    from image_updater.cluster.model import Ref


@dataclass(slots=True)
class _Holder:
    cluster: str
    refs: frozenset[Ref] = frozenset()
    unsettled: bool = False
    means: Callable[[Ref], bool] | None = None
    """For one that is not built: whether an object can be meant by what it would be."""
    still: Callable[[Ref], bool] | None = None
    """Whether it renders what is in `refs`, where those are an inventory: what it waits to lose is there too."""


@dataclass(slots=True)
class _Cluster:
    holders: dict[Ref, set[ObjectKey]] = field(default_factory=dict)
    unsettled: set[ObjectKey] = field(default_factory=set)


class Index:
    """See the module. Used from one event loop; asked at the moment of each decision."""

    def __init__(self) -> None:
        self._holders: dict[ObjectKey, _Holder] = {}
        self._clusters: dict[str, _Cluster] = {}
        self._refused: dict[ObjectKey, frozenset[Ref]] = {}
        self.late: Callable[[ObjectKey, str, Ref], tuple[ObjectKey, ObjectKey] | None] = lambda *_: None
        """One whose source stands at an older commit than this one's, and may render what this one lost; its source."""

    def built(self, key: ObjectKey, cluster: str, refs: Iterable[Ref]) -> None:
        """Its newest revision was built, and holds these."""
        self._set(key, _Holder(cluster, frozenset(refs)))

    def known(
        self, key: ObjectKey, cluster: str, refs: Iterable[Ref], still: Callable[[Ref], bool] | None = None
    ) -> None:
        """What it held at last (its inventory), while its builds are not known; `still`: whether it renders that."""
        holder = self._holders.get(key)
        unsettled, means = (holder.unsettled, holder.means) if holder is not None else (False, None)
        self._set(key, _Holder(cluster, frozenset(refs), unsettled, means, still))

    def has_refs(self, key: ObjectKey) -> bool:
        """Whether anything is known of what it holds."""
        holder = self._holders.get(key)
        return holder is not None and bool(holder.refs)

    def knows(self, key: ObjectKey) -> bool:
        return key in self._holders

    def unsettle(self, key: ObjectKey, cluster: str, means: Callable[[Ref], bool] | None = None) -> None:
        """There is a newer revision that is not built; with `means` it will not be soon."""
        holder = self._holders.get(key)
        refs: frozenset[Ref] = holder.refs if holder is not None and holder.cluster == cluster else frozenset()
        self._set(key, _Holder(cluster, refs, True, means, holder.still if holder is not None else None))

    def settle(self, key: ObjectKey) -> None:
        """What was built last is what the newest revision is."""
        holder = self._holders.get(key)
        if holder is not None:
            self._set(key, _Holder(holder.cluster, holder.refs, still=holder.still))

    def refuse(self, key: ObjectKey, refs: frozenset[Ref]) -> None:
        """These it may not apply, whatever it renders: they are not there. All of them, those known before too."""
        if refs:
            self._refused[key] = refs
        else:
            self._refused.pop(key, None)

    def refused(self, key: ObjectKey) -> frozenset[Ref]:
        return self._refused.get(key, frozenset())

    def forget(self, key: ObjectKey) -> None:
        self._refused.pop(key, None)
        self._drop(key)

    def _drop(self, key: ObjectKey) -> None:
        holder = self._holders.pop(key, None)
        if holder is None:
            return
        cluster = self._clusters[holder.cluster]
        cluster.unsettled.discard(key)
        for ref in holder.refs:
            keys = cluster.holders.get(ref)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del cluster.holders[ref]

    def _set(self, key: ObjectKey, holder: _Holder) -> None:
        self._drop(key)
        self._holders[key] = holder
        cluster = self._clusters.setdefault(holder.cluster, _Cluster())
        if holder.unsettled:
            cluster.unsettled.add(key)
        for ref in holder.refs:
            cluster.holders.setdefault(ref, set()).add(key)

    def ask(self, key: ObjectKey, cluster: str) -> Callable[[Ref], Elsewhere]:
        """What `SyncRequest.elsewhere` wants, for one Kustomization."""

        def elsewhere(ref: Ref) -> Elsewhere:
            place = self._clusters.get(cluster)
            if place is None:
                return Elsewhere()
            others = sorted(other for other in place.holders.get(ref, ()) if other != key)
            renders = next((other for other in others if self._renders(other, ref)), None)
            unsettled = next((other for other in sorted(place.unsettled) if self._may_hold(other, ref, key)), None)
            if unsettled is None and key not in place.holders.get(ref, ()):
                late = self.late(key, cluster, ref)
                if late is not None:
                    return Elsewhere(renders=renders, unsettled=late[0], behind=late[1])
            return Elsewhere(renders=renders, unsettled=unsettled)

        return elsewhere

    def _renders(self, other: ObjectKey, ref: Ref) -> bool:
        holder = self._holders[other]
        if holder.unsettled or ref in self.refused(other):
            return False
        return holder.still is None or holder.still(ref)

    def _may_hold(self, other: ObjectKey, ref: Ref, key: ObjectKey) -> bool:
        holder = self._holders[other]
        if other == key or ref in self.refused(other):
            return False
        return holder.means is None or ref in holder.refs or holder.means(ref)


_WORD: Final = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_AFFIX: Final = re.compile(rb"""(?:[Pp]refix|[Ss]uffix)["']?:\s*["']?([A-Za-z0-9.-]+)""")
_HASH: Final = re.compile(r"-[a-z0-9]{10}\Z")
"""What Kustomize puts behind the names of generated objects."""
_INFLATES: Final = (b"helmCharts", b"HelmChart")
"""Names come out of templates there."""
_GENERATED: Final = frozenset({"ConfigMap", "Secret"})
_NAMES: Final = 200
"""Ways to read one name, at most."""


def mentions(
    files: Iterable[bytes], *, prefix: str = "", suffix: str = "", namespace: str = "", target: str | None = None
) -> Callable[[Ref], bool]:
    """Whether an object can come out of these files: by its kind, its name without what is put around it (by the
    Kustomization, in the files, or as a generator's hash), and its namespace: `target`, where all objects are put into
    it; else one that the files mention, or the Kustomization's own. In doubt it can.
    """
    joined = b"\n".join(files)
    words = {word.decode() for word in _WORD.findall(joined)}
    inflates = any(word in joined for word in _INFLATES)
    affixes = ({prefix, suffix} | affixes_of(joined)) - {""}

    def means(ref: Ref) -> bool:
        if target is not None:
            if ref.namespace not in ("", target):
                return False
        elif ref.namespace not in ("", namespace) and ref.namespace not in words:
            return False
        if inflates:
            return True
        generated = ref.kind in _GENERATED and b"enerator" in joined
        if not generated and not any(kind in words for kind in (ref.kind, f"{ref.kind}List")):
            return False
        return not words.isdisjoint(readings(ref.name, affixes))

    return means


def affixes_of(text: bytes) -> frozenset[str]:
    """What these files put around names."""
    return frozenset(found.decode() for found in _AFFIX.findall(text))


def readings(name: str, affixes: Iterable[str]) -> set[str]:
    """The name, and what it may have been in the files."""
    found, left = {name}, [name]
    while left and len(found) < _NAMES:
        each = left.pop()
        shortened = {_HASH.sub("", each)}
        for affix in affixes:
            shortened |= {each.removeprefix(affix), each.removesuffix(affix)}
        left += shortened - found - {""}
        found |= shortened - {""}
    return found
