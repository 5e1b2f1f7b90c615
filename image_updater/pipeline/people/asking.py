"""Where a command leaves what a person asks of a policy: at its ImagePolicy in a cluster, or in `run`'s state file.

Whoever asks is only noted: what he may do is decided by his own rights in the cluster, or by those on the file. Two
people who ask at once both get what they asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from image_updater.api.decode import SpecErrors, suggest
from image_updater.api.model import GROUP
from image_updater.api.wishes import (
    APPROVALS,
    DENY,
    ApprovalWish,
    DenyWish,
    UndenyWish,
    read_wishes,
    to_annotations,
    wish,
)
from image_updater.cluster.errors import Conflict, KindUnknown, ObjectNotFound
from image_updater.cluster.model import Resource
from image_updater.errors import ImageUpdaterError, SpecError
from image_updater.pipeline.answers.outcome import ANNOTATION
from image_updater.pipeline.people.standing import Standing, quarantined_of, standing_of
from image_updater.store.milestones import proven as proven_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from image_updater.api.wishes import Wish
    from image_updater.cluster import Body, Cluster
    from image_updater.policy.situation import Quarantined
    from image_updater.store import Store

log = logging.getLogger("image_updater.run")

IN_GIT: Final = (
    "say it in Git: a commit with `Image-Updater: hold` or `resume`, or with the tag that you want; or let the"
    " annotation name an ImagePolicy: `ref NAME`"
)
"""How a policy without an object is held, resumed and taken back."""

_TRIES: Final = 8
"""How often it is asked again when somebody else was faster."""

_POLICIES: Final = Resource(
    group=GROUP, version="v1alpha1", kind="ImagePolicy", plural="imagepolicies", namespaced=True
)
_BAD: Final = tuple(
    Resource(group=GROUP, version="v1alpha1", kind=kind, plural=f"{kind.lower()}s", namespaced=kind == "Quarantine")
    for kind in ("Quarantine", "ClusterQuarantine")
)
_WHO: Final = Resource(
    group="authentication.k8s.io",
    version="v1",
    kind="SelfSubjectReview",
    plural="selfsubjectreviews",
    namespaced=False,
)


class Desk(Protocol):
    async def me(self) -> str:
        """Who asks, in a word."""

    async def find(self, policy: str) -> Standing:
        """`NAME` or `NAMESPACE/NAME`. Raises SpecError when there is no such policy."""

    async def ask(self, policy: str, new: Wish, now: datetime) -> Standing:
        """Leave the wish at the policy (`NAMESPACE/NAME`); how it stands then."""

    async def against(self, standing: Standing, tag: str, now: datetime) -> tuple[str, ...]:
        """What speaks against that policy going to a tag, as far as whoever asks may see it: clauses after "it is"."""


# ------------------------------------------------------------------------------------------- the state file


class StateDesk:
    """The state file of a `run`, which looks at it every second."""

    def __init__(self, store: Store, *, me: str, namespace: str | None = None) -> None:
        self._store = store
        self._me = me
        self._namespace = namespace

    async def me(self) -> str:
        return self._me

    async def find(self, policy: str) -> Standing:
        return await asyncio.to_thread(self._find, policy)

    async def ask(self, policy: str, new: Wish, now: datetime) -> Standing:
        await asyncio.to_thread(self._store.save_wish, policy, new, now)
        return await self.find(policy)

    async def against(self, standing: Standing, tag: str, now: datetime) -> tuple[str, ...]:
        return standing.against(tag, (), now)

    def _find(self, policy: str) -> Standing:
        name = self._name(policy)
        decisions = self._store.decisions(name)
        milestones = self._store.milestones(name)
        return Standing(
            policy=name,
            wishes=self._store.wishes(name),
            tag=decisions[0].tag if decisions else None,
            reason=decisions[0].reason if decisions else "",
            proven=proven_of(milestones),
            milestones=milestones,
        )

    def _name(self, policy: str) -> str:
        known = self._store.policies()
        if "/" not in policy and self._namespace is not None:
            policy = f"{self._namespace}/{policy}"
        if "/" in policy:
            found = [policy] if policy in known else []
        else:
            found = [each for each in known if each.rpartition("/")[2] == policy]
        if len(found) == 1:
            return found[0]
        file = self._store.path
        if found:
            raise SpecError(f"several namespaces have a policy {policy}", remedy=f"name one of {', '.join(found)}")
        if not known:
            raise SpecError(
                f"no policy is known in {file}", remedy="name the --state file of a `run` that has judged its policies"
            )
        raise _unknown(policy, known, f"there is no policy {policy} in {file}")


def _unknown(policy: str, known: Iterable[str], message: str) -> SpecError:
    names = sorted(known)
    namespace, _, short = policy.rpartition("/")
    shorts = {each.rpartition("/")[2]: each for each in names}
    close = suggest(policy, names) or suggest(short, list(shorts))
    if namespace and close in shorts:
        close = shorts[close]
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return SpecError(message, remedy=f"did you mean {close!r}?" if close else f"known are {listed}" if names else None)


# ------------------------------------------------------------------------------------------- the cluster


class ClusterDesk:
    """Annotations of the ImagePolicy, with the rights of whoever asks."""

    def __init__(self, cluster: Cluster, *, namespace: str, account: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._account = account

    async def me(self) -> str:
        """As the server knows him; as the kubeconfig names him where the server does not say."""
        try:
            answer = await self._cluster.create(_WHO, {"apiVersion": "authentication.k8s.io/v1", "kind": _WHO.kind})
        except ImageUpdaterError as error:
            log.debug("the server does not say who asks: %s", error)
            return self._account
        name = ((answer.get("status") or {}).get("userInfo") or {}).get("username")
        return str(name) if name else self._account

    async def find(self, policy: str) -> Standing:
        return standing_of(await self._get(policy))

    async def ask(self, policy: str, new: Wish, now: datetime) -> Standing:
        for _ in range(_TRIES):
            body = await self._get(policy)
            patch = change(body["metadata"].get("annotations") or {}, new)
            if not patch:
                return standing_of(body)
            metadata = {"resourceVersion": body["metadata"]["resourceVersion"], "annotations": patch}
            namespace, _, name = policy.partition("/")
            try:
                # Of the resourceVersion depends that nobody's wish is lost.
                changed = await self._cluster.patch(
                    _POLICIES, name, namespace, {"metadata": metadata}, manager="image-updater-command"
                )
            except Conflict:
                continue
            return standing_of(changed)
        raise Conflict(f"ImagePolicy {policy} changes faster than it can be asked", remedy="try again")

    async def against(self, standing: Standing, tag: str, now: datetime) -> tuple[str, ...]:
        namespace, _, _ = standing.policy.partition("/")
        found: list[Quarantined] = []
        unseen: list[str] = []
        for kind in _BAD:
            try:
                bodies, _ = await self._cluster.list(kind, namespace if kind.namespaced else None)
            except ImageUpdaterError as error:
                unseen.append(f"not looked up among the {kind.kind}s, which cannot be read: {error}")
            else:
                found += map(quarantined_of, bodies)
        return (*standing.against(tag, found, now), *unseen)

    async def _get(self, policy: str) -> Body:
        if policy.startswith(ANNOTATION):
            raise SpecError("the policy of an annotation has no object in a cluster", remedy=IN_GIT)
        namespace, slash, name = policy.rpartition("/")
        namespace = namespace if slash else self._namespace
        try:
            body = await self._cluster.get(_POLICIES, name, namespace)
        except KindUnknown as error:
            raise SpecError(
                "the cluster has no ImagePolicies", remedy="image-updater install | kubectl apply -f -"
            ) from error
        except ObjectNotFound:
            body = None
        if body is None:
            others, _ = await self._cluster.list(_POLICIES, namespace, metadata_only=True)
            known = [str(each["metadata"]["name"]) for each in others]
            message = f"there is no ImagePolicy {namespace}/{name}"
            if not known:
                raise SpecError(message, remedy=f"for an annotation on a workload in Git: {IN_GIT}")
            raise _unknown(name, known, message)
        return body


def change(annotations: Mapping[str, str], new: Wish) -> dict[str, str | None]:
    """The annotations that one wish changes; None takes one away.

    Raises SpecErrors where it would overwrite wishes that cannot be read.
    """
    wishes, errors = read_wishes(annotations)
    listed = {ApprovalWish: APPROVALS, DenyWish: DENY, UndenyWish: DENY}.get(type(new))
    unreadable = [error for error in errors if error.where.field == f"metadata.annotations[{listed}]"]
    if unreadable:
        raise SpecErrors(unreadable)
    before, after = to_annotations(wishes), to_annotations(wish(wishes, new))
    return {name: text for name, text in after.items() if text != before[name]}
