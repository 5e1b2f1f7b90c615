"""Branches that automations write to: one writer each (law 7), and the batch window before its next push.

What changed is found by comparing, so that a thousand policies made one by one cost a thousand small steps.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from image_updater.api.model import Batch, Objects
from image_updater.errors import ImageUpdaterError, SpecError, Waiting, Where
from image_updater.git.urls import normalise
from image_updater.pipeline.daemon.scheduler import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from image_updater.api.model import GitRepository, ImagePolicy, ImageUpdateAutomation, ObjectKey

Changes = "Mapping[ObjectKey, ImagePolicy | None]"
"""Policies that are new, or other ones than before; None = gone."""


class SourceNotFound(Waiting):
    """The GitRepository that an object names is not there (yet)."""

    reason = "SourceNotFound"


@dataclass(slots=True)
class Branch:
    """One repository and branch, its automations, and whether it should be looked at."""

    key: str
    repository: GitRepository
    branch: str
    automations: tuple[ImageUpdateAutomation, ...]
    window: Window
    policies: frozenset[str] = frozenset()
    implicit: frozenset[str] = frozenset()
    """Policies from annotations in Git: known after the first run."""
    names: frozenset[str] = frozenset()
    """The policies whose answers this branch waits for: both of these."""
    changed_at: float | None = None
    """When a hint or a list first changed something that is not pushed yet."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    asked: list[asyncio.Future[None]] = field(default_factory=list)
    """Who wants a run now, and hears of its end."""

    @property
    def interval(self) -> float:
        """Seconds between looks when nothing is known to have changed: people commit too."""
        return min(*(each.interval for each in self.automations), self.repository.interval).total_seconds()

    def follow(self, *, policies: frozenset[str] | None = None, implicit: frozenset[str] | None = None) -> None:
        """Other policies are waited for."""
        self.policies = self.policies if policies is None else policies
        self.implicit = self.implicit if implicit is None else implicit
        self.names = self.policies | self.implicit

    def answer(self) -> None:
        """There will be no run for those who asked."""
        for future in self.asked:
            if not future.done():
                future.set_result(None)
        self.asked.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What other objects mean: keys of branches that should be looked at, at once or (`around`: only what names their
    roots changed) soon, and the branches that are no more.
    """

    touched: frozenset[str]
    around: frozenset[str]
    gone: tuple[Branch, ...]


class Branches:
    """All of them, by key. `invalid` has the automations that cannot have one, with the reason."""

    def __init__(self) -> None:
        self.by_key: dict[str, Branch] = {}
        self.invalid: dict[ObjectKey, ImageUpdaterError] = {}
        self._objects = Objects()
        self._members: dict[ObjectKey, tuple[ImageUpdateAutomation, set[str]]] = {}
        """By automation the names of the policies that its selector matches."""
        self._homes: dict[ObjectKey, str] = {}
        """By automation its branch's key."""

    def __iter__(self) -> Iterator[Branch]:
        return iter(tuple(self.by_key.values()))

    def of(self, automation: ObjectKey) -> Branch | None:
        home = self._homes.get(automation)
        return self.by_key.get(home) if home is not None else None

    def adopt(self, objects: Objects, policies: Mapping[ObjectKey, ImagePolicy | None]) -> Moved:
        """Take other objects over. `policies` are those that differ."""
        before, self._objects = self._objects, objects
        touched: set[str] = set()
        gone: tuple[Branch, ...] = ()
        if before.automations != objects.automations or before.repositories != objects.repositories:
            touched, gone = self._arrange(objects)
        changed = {home for key in self._select(objects, policies) if (home := self._homes.get(key)) is not None}
        for home in changed | touched:
            branch = self.by_key[home]
            members = (self._members[each.key][1] for each in branch.automations)
            branch.follow(policies=frozenset().union(*members))
        touched |= changed
        if before.secrets != objects.secrets:
            touched |= set(self.by_key)
        around = self._around(before, objects) if before.kustomizations != objects.kustomizations else set()
        return Moved(touched=frozenset(touched), around=frozenset(around - touched), gone=gone)

    def _arrange(self, objects: Objects) -> tuple[set[str], tuple[Branch, ...]]:
        """Branches for the automations: which are touched, and which are gone."""
        found, self.invalid = _places(objects)
        gone = tuple(branch for key, branch in self.by_key.items() if key not in found)
        touched: set[str] = set()
        branches: dict[str, Branch] = {}
        for key, (repository, name, each) in found.items():
            automations = tuple(each)
            branch = self.by_key.get(key)
            if branch is None:
                branch = Branch(
                    key=key, repository=repository, branch=name, automations=(), window=Window(batch=Batch())
                )
            if branch.repository != repository or branch.automations != automations:
                touched.add(key)
            branch.repository, branch.automations = repository, automations
            branch.window.batch = Batch(
                quiet=max(each.batch.quiet for each in automations), max=max(each.batch.max for each in automations)
            )
            branches[key] = branch
        self.by_key = branches
        self._homes = {each.key: key for key, branch in branches.items() for each in branch.automations}
        return touched, gone

    def _select(self, objects: Objects, policies: Mapping[ObjectKey, ImagePolicy | None]) -> set[ObjectKey]:
        """Bring the members of every automation up to date; the automations that have other ones now."""
        changed: set[ObjectKey] = set()
        present = {automation.key: automation for automation in objects.automations}
        for key in self._members.keys() - present.keys():
            del self._members[key]
        for key, automation in present.items():
            known = self._members.get(key)
            if known is None or (known[0] is not automation and known[0] != automation):
                names = {str(each.key) for each in objects.policies if _selects(automation, each)}
                self._members[key] = (automation, names)
                changed.add(key)
                continue
            names = known[1]
            for place, policy in policies.items():
                name = str(place)
                was = name in names
                if policy is not None and _selects(automation, policy):
                    names.add(name)
                elif was:
                    names.discard(name)
                else:
                    continue
                changed.add(key)
        return changed

    def _around(self, before: Objects, objects: Objects) -> set[str]:
        """Branches of repositories whose Kustomizations changed."""
        old, new = ({each.key: each for each in known.kustomizations} for known in (before, objects))
        sources = {
            each.source_ref
            for key in old.keys() | new.keys()
            if old.get(key) != new.get(key)
            for each in (old.get(key), new.get(key))
            if each is not None
        }
        return {key for key, branch in self.by_key.items() if None in sources or branch.repository.key in sources}


def _selects(automation: ImageUpdateAutomation, policy: ImagePolicy) -> bool:
    return policy.key.namespace == automation.key.namespace and automation.policy_selector.matches(policy.meta.labels)


def _places(
    objects: Objects,
) -> tuple[dict[str, tuple[GitRepository, str, list[ImageUpdateAutomation]]], dict[ObjectKey, ImageUpdaterError]]:
    """By branch its repository, name and automations; and the automations that can have none."""
    repositories = {repository.key: repository for repository in objects.repositories}
    found: dict[str, tuple[GitRepository, str, list[ImageUpdateAutomation]]] = {}
    invalid: dict[ObjectKey, ImageUpdaterError] = {}
    for automation in objects.automations:
        place = Where(object=f"ImageUpdateAutomation {automation.key}", field="spec.sourceRef")
        repository = repositories.get(automation.source_ref) if automation.source_ref is not None else None
        if repository is None:
            invalid[automation.key] = SourceNotFound(
                f"there is no GitRepository {automation.source_ref}", where=place, remedy="add it, or correct the name"
            )
            continue
        if automation.suspend or repository.suspend:
            continue
        ref = repository.ref
        if not ref.branch and (ref.tag or ref.commit):
            what = "tag" if ref.tag else "commit"
            invalid[automation.key] = SpecError(
                f"GitRepository {repository.key} reads a {what}, and a {what} cannot be pushed to",
                where=place,
                remedy="give the repository ref.branch",
            )
            continue
        try:
            key = f"{normalise(repository.url)}#{ref.branch or ''}#{repository.key}"
        except SpecError as error:
            invalid[automation.key] = error
            continue
        found.setdefault(key, (repository, ref.branch or "", []))[2].append(automation)
    return found, invalid
