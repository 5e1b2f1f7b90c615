"""Which images of ours each Kustomization applies: what the runs of the line found, by branch and folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.model import GitRepository, ImageUpdateAutomation
from image_updater.controller.update.inputs import AUTOMATION, REPOSITORY
from image_updater.errors import SpecError
from image_updater.git import urls
from image_updater.pipeline.rollback.placements import Placement, folder_of, of_kustomization, of_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from image_updater.api.model import Kustomization, ObjectKey
    from image_updater.cluster.model import Ref
    from image_updater.controller.context import Context
    from image_updater.pipeline.daemon.branches import Branch
    from image_updater.pipeline.report import UpdateReport

Place = tuple[str, str]
"""Normalised URL and branch."""


class Placing:
    """See the module. Used from one event loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._placed: dict[ObjectKey, tuple[Place, tuple[Placement, ...]]] = {}
        """By automation, as its last run found it."""
        self._folders: dict[tuple[Place, str], tuple[Placement, ...]] = {}
        self._tips: dict[Place, str] = {}
        """The commit that those are of."""

    def ran(self, branch: Branch, report: UpdateReport) -> frozenset[str]:
        """The line ran over a branch. The folders of which something is another one than before."""
        place = (urls.normalise(branch.repository.url), branch.branch)
        moved: set[Placement] = set()
        for automation in branch.automations:
            part = report.automations.get(str(automation.key))
            if part is None or (part.error is not None and not part.placements):
                continue
            if part.revision is not None:
                commit = part.commit
                ours = commit is not None and not commit.stood and automation.push_branch in (None, branch.branch)
                self._tips[place] = commit.commit if commit is not None and ours else part.revision
            known = self._placed.get(automation.key)
            if known is None or known[0] != place:
                moved.update(part.placements)
            elif known[1] != part.placements:
                moved |= set(known[1]) ^ set(part.placements)
            else:
                continue
            self._placed[automation.key] = (place, part.placements)
        if moved:
            self._index()
        return frozenset(each.folder for each in moved)

    def retain(self, automations: Iterable[ObjectKey]) -> None:
        """All others write no more."""
        gone = self._placed.keys() - set(automations)
        for key in gone:
            del self._placed[key]
        if gone:
            self._index()

    def _index(self) -> None:
        found: dict[tuple[Place, str], list[Placement]] = {}
        for place, placed in self._placed.values():
            for each in placed:
                found.setdefault((place, each.folder), []).append(each)
        self._folders = {key: tuple(each) for key, each in found.items()}

    def of(self, kustomization: Kustomization) -> tuple[Placement, ...]:
        """The images of ours that it applies."""
        place = self._place(kustomization)
        if place is None:
            return ()
        return of_kustomization(self._folders.get((place, folder_of(kustomization)), ()), kustomization)

    def among(self, kustomization: Kustomization, placed: Iterable[Placement]) -> tuple[Placement, ...]:
        """What it applies of these, which a run found that is still under way."""
        place = self._place(kustomization)
        if place is None:
            return ()
        found = list(placed)
        homes = {key: self._home(key) for key in {each.automation for each in found}}
        return of_kustomization((each for each in found if homes[each.automation] == place), kustomization)

    def of_policy(self, policy: str) -> tuple[Placement, ...]:
        """All places of one policy, as answers name it."""
        return tuple(each for _, placed in self._placed.values() for each in placed if each.name == policy)

    def is_tip(self, kustomization: Kustomization, revision: str) -> bool:
        """Is that what the runs of the line have seen?"""
        place = self._place(kustomization)
        return place is not None and self._tips.get(place) == revision.rpartition(":")[2]

    def _home(self, automation: ObjectKey) -> Place | None:
        entry = self._context.cache.get(AUTOMATION, automation)
        value = entry.value if entry is not None else None
        return self._place(value) if isinstance(value, ImageUpdateAutomation) else None

    def _place(self, reader: Kustomization | ImageUpdateAutomation) -> Place | None:
        source = reader.source_ref
        entry = self._context.cache.get(REPOSITORY, source) if source is not None else None
        repository = entry.value if entry is not None else None
        if not isinstance(repository, GitRepository) or repository.ref.tag or repository.ref.commit:
            return None
        try:
            return urls.normalise(repository.url), repository.ref.branch or ""
        except SpecError:
            return None


def by_ref(placed: Iterable[Placement]) -> Callable[[Ref], tuple[Placement, ...]]:
    """The same for many workloads: each costs what it holds, not what all hold."""
    found: dict[tuple[str, str, str], list[Placement]] = {}
    for each in placed:
        found.setdefault((each.object.group, each.object.kind, each.object.name), []).append(each)
    return lambda ref: of_ref(found.get((ref.group, ref.kind, ref.name), ()), ref)


def of_ref(placed: Iterable[Placement], ref: Ref) -> tuple[Placement, ...]:
    """Those of one workload."""
    return of_object(placed, group=ref.group, kind=ref.kind, namespace=ref.namespace, name=ref.name)
