"""Which Kustomization holds an object: so that one which moved from one to another in a commit is never deleted.

An index over the newest builds of all Kustomizations that apply to one cluster. Between a commit and the build of a
Kustomization that it changed, that one is unsettled: it may hold what another one lost. One that does not build stays
unsettled, but only for objects whose names its files mention, or that it held before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    """For one that does not build: whether an object can be meant by what it would be."""


@dataclass(slots=True)
class _Cluster:
    holders: dict[Ref, set[ObjectKey]] = field(default_factory=dict)
    unsettled: set[ObjectKey] = field(default_factory=set)


class Index:
    """See the module. Used from one event loop; asked at the moment of each decision."""

    def __init__(self) -> None:
        self._holders: dict[ObjectKey, _Holder] = {}
        self._clusters: dict[str, _Cluster] = {}

    def built(self, key: ObjectKey, cluster: str, refs: Iterable[Ref]) -> None:
        """Its newest revision was built, and holds these."""
        self._set(key, _Holder(cluster, frozenset(refs)))

    def known(self, key: ObjectKey, cluster: str, refs: Iterable[Ref]) -> None:
        """What it held at last (its inventory), while its builds are not known."""
        holder = self._holders.get(key)
        unsettled, means = (holder.unsettled, holder.means) if holder is not None else (False, None)
        self._set(key, _Holder(cluster, frozenset(refs), unsettled, means))

    def has_refs(self, key: ObjectKey) -> bool:
        """Whether anything is known of what it holds."""
        holder = self._holders.get(key)
        return holder is not None and bool(holder.refs)

    def unsettle(self, key: ObjectKey, cluster: str, means: Callable[[Ref], bool] | None = None) -> None:
        """There is a newer revision that is not built; with `means` it failed."""
        holder = self._holders.get(key)
        refs: frozenset[Ref] = holder.refs if holder is not None and holder.cluster == cluster else frozenset()
        self._set(key, _Holder(cluster, refs, True, means))

    def settle(self, key: ObjectKey) -> None:
        """What was built last is what the newest revision is."""
        holder = self._holders.get(key)
        if holder is not None:
            self._set(key, _Holder(holder.cluster, holder.refs))

    def forget(self, key: ObjectKey) -> None:
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
        self.forget(key)
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
            renders = next((other for other in others if not self._holders[other].unsettled), None)
            unsettled = next((other for other in sorted(place.unsettled) if self._may_hold(other, ref, key)), None)
            return Elsewhere(renders=renders, unsettled=unsettled)

        return elsewhere

    def _may_hold(self, other: ObjectKey, ref: Ref, key: ObjectKey) -> bool:
        holder = self._holders[other]
        return other != key and (holder.means is None or ref in holder.refs or holder.means(ref))


def mentions(files: Iterable[bytes], *, prefix: str = "", suffix: str = "") -> Callable[[Ref], bool]:
    """Whether an object's name stands in these files, without what is put around it (also a generator's hash)."""
    joined = b"\n".join(files)

    def means(ref: Ref) -> bool:
        name = ref.name.removeprefix(prefix).removesuffix(suffix)
        names = {name, name.rpartition("-")[0] or name}
        return any(each.encode() in joined for each in names)

    return means
