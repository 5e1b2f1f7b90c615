"""What the daemon works on in a cluster: the valid objects of this shard, with their pull secrets and Secrets at hand.

An object that is invalid, or that names what it may not, is left out alone; `blocked` says why. Objects of other shards
come in only where ours need them: a GitRepository as a source, a policy that an automation of ours selects, a
Kustomization as the name of a root.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from image_updater.api.model import (
    Freeze,
    GitRepository,
    ImagePolicy,
    ImageUpdateAutomation,
    Kustomization,
    ObjectKey,
    Objects,
    Quarantine,
)
from image_updater.api.wishes import wish_annotations
from image_updater.errors import AccessDenied, ImageUpdaterError, SpecError, Waiting, Where
from image_updater.git import urls
from image_updater.pipeline.daemon.branches import SourceNotFound
from image_updater.pipeline.daemon.watching import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from image_updater.controller.cache import Changed, Entry
    from image_updater.controller.context import Context
    from image_updater.controller.update.pullsecrets import PullSecrets

POLICY: Final = "ImagePolicy"
AUTOMATION: Final = "ImageUpdateAutomation"
REPOSITORY: Final = "GitRepository"
KUSTOMIZATION: Final = "Kustomization"
FREEZES: Final = ("ClusterFreeze", "Freeze")
QUARANTINES: Final = ("ClusterQuarantine", "Quarantine")


_Object = TypeVar("_Object", ImagePolicy, ImageUpdateAutomation)


class SourceInvalid(Waiting):
    """An automation's GitRepository is there, and not as it has to be."""

    reason = "SourceInvalid"


class ClusterObjects:
    """The daemon's `ObjectSource`. `adopted(changed)` is called once the daemon has taken a reading over."""

    def __init__(self, context: Context, pulls: PullSecrets, adopted: Callable[[Changed], None]) -> None:
        self._context = context
        self._pulls = pulls
        self._adopted = adopted
        kinds = (POLICY, AUTOMATION, REPOSITORY, KUSTOMIZATION, *FREEZES, *QUARANTINES)
        self._changes = context.cache.subscribe(kinds)
        self._waiting: asyncio.Task[Changed] | None = None
        self._again: set[ObjectKey] = set()
        self._wake = asyncio.Event()
        self._told: Changed = frozenset()
        self._policies: dict[ObjectKey, ImagePolicy] = {}
        self._automations: tuple[ImageUpdateAutomation, ...] = ()
        self._repositories: tuple[GitRepository, ...] = ()
        self._kustomizations: tuple[Kustomization, ...] = ()
        self._freezes: tuple[Freeze, ...] = ()
        self._quarantines: tuple[Quarantine, ...] = ()
        self._secrets: dict[ObjectKey, set[tuple[str, ObjectKey]]] = {}
        """By Secret the objects that refer to it."""
        self._refers: dict[tuple[str, ObjectKey], frozenset[ObjectKey]] = {}
        self.blocked: dict[ObjectKey, ImageUpdaterError] = {}
        """Automations that are left out."""
        pulls.subscribe(self._pulls_changed)

    # ------------------------------------------------------------------------------------------- the source

    async def first(self) -> Objects:
        """What there is at the start."""
        changed = await self._changes.next(debounce=0.0) if any(self._entries()) else frozenset()
        self._told = changed
        await self._take(changed)
        return self._objects()

    async def next(self) -> Reading:
        told, self._told = self._told, frozenset()
        self._adopted(told)
        changed = await self._change()
        before = (self._automations, self._repositories, self._kustomizations)
        policies = await self._take(changed)
        self._told = changed
        if not policies and before == (self._automations, self._repositories, self._kustomizations):
            return Reading(objects=self._objects(), policies={})
        return Reading(objects=self._objects(), policies=policies)

    async def _change(self) -> Changed:
        """Objects that changed, or whose service account did."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._changes.next())
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({self._waiting, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
        self._wake.clear()
        again, self._again = self._again, set()
        changed = frozenset((POLICY, key) for key in again)
        if self._waiting.done():
            changed |= self._waiting.result()
            self._waiting = None
        return changed

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def _entries(self) -> Iterable[Mapping[ObjectKey, Entry]]:
        return (self._context.cache.entries(kind) for kind in self._changes.kinds)

    def _pulls_changed(self, policies: frozenset[ObjectKey]) -> None:
        self._again |= policies
        self._wake.set()

    def _objects(self) -> Objects:
        return Objects(
            policies=tuple(self._policies.values()),
            repositories=self._repositories,
            automations=self._automations,
            kustomizations=self._kustomizations,
            freezes=self._freezes,
            quarantines=self._quarantines,
        )

    # ------------------------------------------------------------------------------------------- what changed

    async def _take(self, changed: Changed) -> dict[ObjectKey, ImagePolicy | None]:
        """Bring everything up to date; the policies that are other ones now."""
        kinds = {kind for kind, _ in changed}
        keys = {key for kind, key in changed if kind == POLICY}
        # Those of every shard: whom they stop is said by namespace and labels of the policies.
        if not kinds.isdisjoint((*FREEZES, *QUARANTINES)):
            self._freezes = self._context.cache.freezes()
        if not kinds.isdisjoint(QUARANTINES):
            self._quarantines = tuple(each for kind in QUARANTINES for each in self._valid(kind))
        if AUTOMATION in kinds or REPOSITORY in kinds:
            before = self._automations
            self._arrange()
            if self._context.settings.selector and before != self._automations:
                # Policies of other shards come and go with the automations that select them.
                keys |= self._context.cache.entries(POLICY).keys()
        if not kinds.isdisjoint((KUSTOMIZATION, AUTOMATION, REPOSITORY)):
            self._kustomizations = tuple(self._readers())
        wanted = {key: self._policy(key) for key in keys}
        present = [policy for policy in wanted.values() if policy is not None]
        made = dict(
            zip((each.key for each in present), await asyncio.gather(*map(self._pulls.of, present)), strict=True)
        )
        differing: dict[ObjectKey, ImagePolicy | None] = {}
        for key in sorted(keys):
            policy, known = made.get(key), self._policies.get(key)
            if policy is known or policy == known:
                continue
            differing[key] = policy
            if policy is None:
                del self._policies[key]
                self._pulls.drop(key)
                self._refer(POLICY, key, ())
            else:
                self._policies[key] = policy
                names = (policy.secret_ref, policy.cert_secret_ref, policy.proxy_secret_ref, *_verifying(policy))
                self._refer(POLICY, key, (*_named(key, *names), *policy.pull_secrets))
        await self._context.secrets.need(
            secret for place in self._touched(differing, kinds) for secret in self._refers.get(place, ())
        )
        return differing

    def _touched(self, policies: Iterable[ObjectKey], kinds: set[str]) -> Iterable[tuple[str, ObjectKey]]:
        yield from ((POLICY, key) for key in policies)
        if AUTOMATION in kinds or REPOSITORY in kinds:
            yield from (place for place in self._refers if place[0] != POLICY)

    def _valid(self, kind: str) -> Iterable[Any]:
        for entry in self._context.cache.entries(kind).values():
            if entry.value is not None and not entry.deleting:
                yield entry.value

    def _policy(self, key: ObjectKey) -> ImagePolicy | None:
        """The policy, if it is valid and ours or needed by an automation of ours."""
        entry = self._context.cache.get(POLICY, key)
        if entry is None or entry.deleting or not isinstance(entry.value, ImagePolicy):
            return None
        if not self._context.owns(entry) and not any(
            each.key.namespace == key.namespace and each.policy_selector.matches(entry.labels)
            for each in self._automations
        ):
            return None
        return _plain(entry.value)

    def _arrange(self) -> None:
        """The automations of this shard that can work, and the repositories they write to."""
        automations: list[ImageUpdateAutomation] = []
        repositories: dict[ObjectKey, GitRepository] = {}
        blocked: dict[ObjectKey, ImageUpdaterError] = {}
        known = {each.key: each for each in self._automations}
        for key, entry in sorted(self._context.cache.entries(AUTOMATION).items()):
            automation = entry.value
            if entry.deleting or not isinstance(automation, ImageUpdateAutomation) or not self._context.owns(entry):
                continue
            try:
                repository = self._source(automation)
            except ImageUpdaterError as error:
                blocked[key] = error
                continue
            automation = _plain(automation)
            automations.append(known[key] if known.get(key) == automation else automation)
            repositories[repository.key] = repository
        self.blocked = blocked
        self._automations = tuple(automations)
        self._repositories = tuple(repositories[key] for key in sorted(repositories))
        places = {(AUTOMATION, each.key): _named(each.key, each.commit.signing_key) for each in automations}
        places |= {(REPOSITORY, each.key): _git_secrets(each) for each in self._repositories}
        for place in [place for place in self._refers if place[0] != POLICY and place not in places]:
            self._refer(*place, ())
            if place[0] == AUTOMATION:
                self._pulls.forget(place[1])
        for (kind, key), secrets in places.items():
            self._refer(kind, key, secrets)

    def _source(self, automation: ImageUpdateAutomation) -> GitRepository:
        """Its GitRepository. Raises what keeps it from being used."""
        place = Where(object=f"{AUTOMATION} {automation.key}", field="spec.sourceRef")
        name = automation.source_ref
        if name is None:
            raise SpecError("is required", where=place, remedy="name a GitRepository")
        if name.namespace != automation.key.namespace and not self._context.settings.allow_cross_namespace_refs:
            raise AccessDenied(
                f"GitRepository {name} is in another namespace",
                where=place,
                remedy="put it into this namespace, or start the controller with --allow-cross-namespace-refs",
            )
        entry = self._context.cache.get(REPOSITORY, name)
        if entry is None or entry.deleting:
            raise SourceNotFound(f"there is no GitRepository {name}", where=place, remedy="add it, or correct the name")
        if not isinstance(entry.value, GitRepository):
            raise SourceInvalid(
                f"GitRepository {name} is invalid: {entry.error}", where=place, remedy="correct the GitRepository"
            )
        if urls.parse(entry.value.url, where=Where(object=f"{REPOSITORY} {name}", field="spec.url")).local:
            raise SpecError(
                f"GitRepository {name} names a path of the controller's own file system",
                where=place,
                remedy="write https://, http:// or ssh://",
            )
        return entry.value

    def _readers(self) -> Iterable[Kustomization]:
        """The Kustomizations that read what automations write, by the GitRepository that those have of it. One whose
        source is missing, invalid or forbidden reads nothing: it is a root of no repository.
        """
        known = {each.key for each in self._repositories}
        homes: dict[str, ObjectKey] = {}
        for repository in self._repositories:
            homes.setdefault(urls.normalise(repository.url), repository.key)
        for each in self._valid(KUSTOMIZATION):
            url = self._read_by(each)
            if url in homes:
                yield each if each.source_ref in known else replace(each, source_ref=homes[url])

    def _read_by(self, kustomization: Kustomization) -> str:
        """The repository, as queues name it; empty: none."""
        name = kustomization.source_ref
        entry = self._context.cache.get(REPOSITORY, name) if name is not None else None
        if name is None or entry is None or not isinstance(entry.value, GitRepository):
            return ""
        if name.namespace != kustomization.key.namespace and not self._context.settings.allow_cross_namespace_refs:
            return ""
        try:
            return urls.normalise(entry.value.url)
        except SpecError:
            return ""  # the GitRepository says so itself

    # ------------------------------------------------------------------------------------------- secrets

    def _refer(self, kind: str, key: ObjectKey, secrets: Iterable[ObjectKey]) -> None:
        place, wanted = (kind, key), frozenset(secrets)
        before = self._refers.get(place, frozenset())
        if wanted == before:
            return
        for secret in before - wanted:
            users = self._secrets[secret]
            users.discard(place)
            if not users:
                del self._secrets[secret]
        for secret in wanted:
            self._secrets.setdefault(secret, set()).add(place)
        if wanted:
            self._refers[place] = wanted
        else:
            self._refers.pop(place, None)
        self._context.secrets.want(f"{kind} {key} (update)", wanted)

    def secrets(self, kind: str, key: ObjectKey) -> frozenset[ObjectKey]:
        """The Secrets that an object refers to."""
        return self._refers.get((kind, key), frozenset())

    def users(self, secrets: Iterable[ObjectKey]) -> tuple[set[ObjectKey], set[ObjectKey]]:
        """The policies, and the repositories, that have to do with any of these Secrets."""
        places = {place for secret in secrets for place in self._secrets.get(secret, ())}
        sources = {each.key: each.source_ref for each in self._automations}
        repositories = {key for kind, key in places if kind == REPOSITORY}
        repositories |= {
            source for kind, key in places if kind == AUTOMATION and (source := sources.get(key)) is not None
        }
        return {key for kind, key in places if kind == POLICY}, repositories

    def value(self, policy: ObjectKey) -> ImagePolicy | None:
        """The policy as the daemon was given it."""
        return self._policies.get(policy)

    def writers(self, policy: ObjectKey) -> Iterable[ObjectKey]:
        """The automations that write its images, and are not suspended."""
        entry = self._context.cache.get(POLICY, policy)
        labels = entry.labels if entry is not None else {}
        return (
            each.key
            for each in self._automations
            if each.key.namespace == policy.namespace and not each.suspend and each.policy_selector.matches(labels)
        )

    def automation(self, key: ObjectKey) -> ImageUpdateAutomation | None:
        """The automation as the daemon was given it: the same value until it says something else."""
        return next((each for each in self._automations if each.key == key), None)


def _plain(value: _Object) -> _Object:
    """Without annotations that are no wishes: none of them has a meaning for the line, and `requestedAt` is no edit."""
    if not value.meta.annotations:
        return value
    return replace(value, meta=replace(value.meta, annotations=wish_annotations(value.meta.annotations)))


def _named(key: ObjectKey, *names: str | None) -> tuple[ObjectKey, ...]:
    return tuple(ObjectKey(key.namespace, name) for name in names if name is not None)


def _verifying(policy: ImagePolicy) -> tuple[str | None, ...]:
    return (policy.verify.secret_ref, policy.verify.trust_root) if policy.verify is not None else ()


def _git_secrets(repository: GitRepository) -> tuple[ObjectKey, ...]:
    verify = repository.verify.secret_ref if repository.verify is not None else None
    names = (repository.secret_ref, repository.cert_secret_ref, repository.proxy_secret_ref, verify)
    return _named(repository.key, *names)
