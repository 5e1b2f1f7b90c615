"""What has become of the rollouts, for those who act on it: one hub a process, and how a status keeps them.

The sync half publishes, whenever a decision changes; whoever subscribed is told at once. Another process, and this one
after a restart, reads from the Kustomizations' statuses what was not healthy.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.moments import format_rfc3339, parse_rfc3339
from image_updater.sync.inventory import object_id, parse_id
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from image_updater.api.model import ObjectKey
    from image_updater.cluster.model import Ref

LISTED: Final = 50
"""Rollouts that a status lists."""


class Rollouts:
    """See the module. Used from one event loop."""

    def __init__(self) -> None:
        self._known: dict[ObjectKey, tuple[str, tuple[Rollout, ...], Mapping[Ref, str]]] = {}
        self._settled: dict[ObjectKey, frozenset[Ref]] = {}
        self._callbacks: list[Callable[[ObjectKey], None]] = []

    def subscribe(self, callback: Callable[[ObjectKey], None]) -> None:
        """Called with the Kustomization after each change of its rollouts; it must not wait."""
        self._callbacks.append(callback)

    def publish(
        self,
        kustomization: ObjectKey,
        revision: str,
        rollouts: Sequence[Rollout],
        revisions: Mapping[Ref, str] | None = None,
    ) -> None:
        """All that are known of a Kustomization at this revision; what is equal to the last ones is not told again.
        `revisions`: what was applied when their templates changed, where that is another one.
        """
        new = (revision, tuple(rollouts), dict(revisions or {}))
        if self._known.get(kustomization) != new:
            self._known[kustomization] = new
            self._tell(kustomization)

    def settle(self, kustomization: ObjectKey, refs: Iterable[Ref]) -> None:
        """All that has settled, before this process began too; to be said before what `publish` tells."""
        self._settled[kustomization] = frozenset(refs)

    def settled(self, kustomization: ObjectKey) -> frozenset[Ref]:
        """What is left alone (an annotation says so) is not among it, whatever Git holds."""
        return self._settled.get(kustomization, frozenset())

    def forget(self, kustomization: ObjectKey) -> None:
        """It is gone, suspended, or not ours any more."""
        self._settled.pop(kustomization, None)
        if self._known.pop(kustomization, None) is not None:
            self._tell(kustomization)

    def _tell(self, kustomization: ObjectKey) -> None:
        for callback in self._callbacks:
            callback(kustomization)

    def knows(self, kustomization: ObjectKey) -> bool:
        """Has anything been published of it? If not, its status tells more."""
        return kustomization in self._known

    def of(self, kustomization: ObjectKey) -> tuple[Rollout, ...]:
        """The healthy ones too; none of those that had settled before this process began."""
        return self._known.get(kustomization, ("", (), {}))[1]

    def revision(self, kustomization: ObjectKey) -> str:
        """What was applied when they were published last; "" where nothing is known."""
        return self._known.get(kustomization, ("", (), {}))[0]

    def revision_of(self, kustomization: ObjectKey, ref: Ref) -> str:
        """What was applied when the template of this workload changed last; "" where nothing is known."""
        revision, _, revisions = self._known.get(kustomization, ("", (), {}))
        return revisions.get(ref) or revision

    def counts(self) -> Mapping[RolloutState, int]:
        """How many are in which state."""
        # From another thread: a copy of the values first.
        return Counter(each.state for _, rollouts, _ in list(self._known.values()) for each in rollouts)


# ------------------------------------------------------------------------------------------- in a status


def to_status(rollouts: Iterable[Rollout], revisions: Mapping[Ref, str]) -> list[dict[str, Any]] | None:
    """For `status.rollouts`: those that are not healthy, failed ones first; with what was applied then."""
    bad = sorted((each for each in rollouts if not each.healthy), key=lambda each: (not each.failed, each.ref))
    return [_entry(each, revisions.get(each.ref)) for each in bad[:LISTED]] or None


def from_status(status: Mapping[str, Any]) -> tuple[Rollout, ...]:
    """What `to_status` wrote. What cannot be read (of a later version, or by hand) is left out: it is judged anew."""
    found = []
    for entry in status.get("rollouts") or ():
        try:
            found.append(_rollout(entry))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return tuple(found)


def unproven_of(status: Mapping[str, Any]) -> tuple[Ref, ...]:
    """Workloads that are healthy and prove nothing, by a status."""
    found = []
    for each in status.get("rolloutsUnproven") or ():
        try:
            found.append(parse_id(str(each)))
        except ValueError:
            continue  # of a later version, or by hand
    return tuple(found)


def revisions_of(status: Mapping[str, Any]) -> dict[Ref, str]:
    """What was applied when the rollouts that it lists began."""
    listed = {each.ref for each in from_status(status)}
    entries = ((entry.get("id"), entry.get("revision")) for entry in status.get("rollouts") or () if listed)
    found = {object_id(ref): ref for ref in listed}
    return {found[id_]: str(revision) for id_, revision in entries if revision and id_ in found}


def _entry(rollout: Rollout, revision: str | None) -> dict[str, Any]:
    fields = {
        "id": object_id(rollout.ref),
        "state": str(rollout.state),
        "culprit": str(rollout.culprit) if rollout.state is RolloutState.FAILED else None,
        "reason": rollout.reason or None,
        "revision": revision or None,
        "since": format_rfc3339(rollout.since) if rollout.since is not None else None,
        "images": [f"{container}={image}" for container, image in rollout.images] or None,
        "failing": list(rollout.failing) or None,
        "canary": object_id(rollout.canary) if rollout.canary is not None else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _rollout(entry: Mapping[str, Any]) -> Rollout:
    since, canary = entry.get("since"), entry.get("canary")
    images = (str(each).partition("=") for each in entry.get("images") or ())
    return Rollout(
        ref=parse_id(entry["id"]),
        state=RolloutState(entry["state"]),
        culprit=Culprit(entry.get("culprit") or Culprit.UNKNOWN),
        reason=str(entry.get("reason") or ""),
        since=parse_rfc3339(since) if since else None,
        images=tuple((container, image) for container, _, image in images),
        failing=tuple(map(str, entry.get("failing") or ())),
        canary=parse_id(canary) if canary else None,
    )
