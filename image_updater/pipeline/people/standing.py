"""How it stands with a policy, as commands see it: from the status of its ImagePolicy, or from a state file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.moments import moment_of, parse_rfc3339
from image_updater.api.status import ready_of
from image_updater.api.wishes import Wishes, read_wishes
from image_updater.pipeline.people.despite import despite
from image_updater.policy.situation import Proven, Quarantined
from image_updater.store import Milestone
from image_updater.store.milestones import unite

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from image_updater.cluster import Body


SKEW: Final = timedelta(hours=1)
"""How much a clock may be behind the one that a hold began by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`approvals`: how many it asks for; None = not known (the state file has no specs)."""

    policy: str
    wishes: Wishes
    image: str = ""
    """Empty: not known (the state file has no specs)."""
    tag: str | None = None
    """What it has chosen."""
    reason: str = ""
    approvals: int | None = None
    denied: tuple[str, ...] = ()
    """`spec.deny`."""
    suspend: bool = False
    candidates: tuple[str, ...] = ()
    proven: tuple[Proven, ...] = ()
    """The last one first."""
    milestones: tuple[Milestone, ...] = field(default=(), repr=False)
    problems: tuple[str, ...] = ()
    """Wishes that stand there and cannot be read."""
    stopped: datetime | None = None
    """When the hold or the breaker began that its status tells of."""
    failed: str | None = None
    """What a failed rollout has left in Git, and holds."""
    taken: frozenset[str] = frozenset()
    """Tags that Git does not hold any more: taken back by a person or a rollback."""

    def resumes(self, now: datetime) -> datetime:
        """The moment of a `resume` that is said now: not before what it is to end began, by whatever clock that was.
        Times of a status are whole seconds.
        """
        hold = self.wishes.hold
        begun = (each for each in (self.stopped, hold.at if hold is not None else None) if each is not None)
        ends = (each + timedelta(seconds=1) for each in begun if each - now <= SKEW)
        return max((now, *ends))

    def against(self, tag: str, quarantined: Iterable[Quarantined], now: datetime) -> tuple[str, ...]:
        """What speaks against going to a tag, each as a clause after "TAG is"."""
        return despite(
            self.image,
            tag,
            digest=next((each.digest for each in self.milestones if each.tag == tag and each.digest), None),
            quarantined=quarantined,
            denied=self.wishes.denied,
            deny=self.denied,
            milestones=self.milestones,
            now=now,
        )

    @property
    def serving(self) -> str | None:
        """The tag that Git holds, where that can be told; what it has chosen may be held, or older than that."""
        if self.failed is not None:
            return self.failed
        before = [each.tag for each in self.proven if each.withdrawn is None][1:]
        return self.tag if self.tag not in before and self.tag not in self.taken else None

    @property
    def good(self) -> Proven | None:
        """Where a rollback without a tag goes to, where that can be told: the last proven tag besides what serves."""
        if self.serving is None:
            return None
        bad = {self.serving, *self.denied, *(each.what for each in self.wishes.denied)}
        return next(
            (each for each in self.proven if each.withdrawn is None and not bad & {each.tag, each.digest}), None
        )


def standing_of(body: Body) -> Standing:
    """Of an ImagePolicy as the server gives it."""
    metadata, spec, status = (body.get(part) or {} for part in ("metadata", "spec", "status"))
    wishes, errors = read_wishes(metadata.get("annotations") or {})
    name = f"{metadata['namespace']}/{metadata['name']}"
    number = spec.get("approvals")
    return Standing(
        policy=name,
        wishes=wishes,
        image=str(spec.get("image") or ""),
        tag=(status.get("latest") or {}).get("tag"),
        reason=str(ready_of(status).get("message") or ""),
        approvals=number if isinstance(number, int) else 0,
        denied=tuple(str(each) for each in spec.get("deny") or ()),
        suspend=spec.get("suspend") is True,
        candidates=tuple(str(each.get("tag")) for each in status.get("candidates") or ()),
        proven=proven_of(status),
        milestones=_milestones(name, status),
        problems=tuple(str(error) for error in errors),
        stopped=max(filter(None, (_since(status, "hold"), _since(status, "breaker"))), default=None),
        **_held(status.get("hold") or {}, status.get("rollback") or {}),
    )


def _held(hold: Mapping[str, Any], rollback: Mapping[str, Any]) -> dict[str, Any]:
    """What a hold up to a tag, and a rollback, say of what Git holds."""
    tag = hold.get("tag")
    failed = tag if str(hold.get("by") or "").startswith("Kustomization ") else None
    back = rollback.get("tag") if rollback.get("state") in ("Pushed", "Done") else None
    return {"failed": failed, "taken": frozenset({tag, back} - {None, failed})}


def _since(status: Mapping[str, Any], part: str) -> datetime | None:
    return moment_of((status.get(part) or {}).get("since"))


def quarantined_of(body: Body) -> Quarantined:
    """Of a Quarantine or a ClusterQuarantine as the server gives it."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    namespace = metadata.get("namespace")
    kind = "Quarantine" if namespace else "ClusterQuarantine"
    return Quarantined(
        image=str(spec.get("image") or ""),
        tag=spec.get("tag"),
        digest=spec.get("digest"),
        reason=str(spec.get("reason") or ""),
        source=str(spec.get("source") or "") or f"{kind} {f'{namespace}/' if namespace else ''}{metadata['name']}",
        expires=moment_of(spec.get("expires")),
    )


def proven_of(status: Mapping[str, Any]) -> tuple[Proven, ...]:
    """What the status of an ImagePolicy has as proven, the last one first."""
    found = []
    for row in status.get("proven") or ():
        try:
            found.append(
                Proven(
                    tag=str(row["tag"]),
                    at=parse_rfc3339(str(row["since"])),
                    digest=row.get("digest"),
                    environment=str(row.get("environment") or ""),
                    revision=row.get("revision"),
                    withdrawn=moment_of(row.get("withdrawn")),
                )
            )
        except (KeyError, ValueError, TypeError):
            continue  # of a later version, or by hand: it is proven anew
    return tuple(found)


def _milestones(policy: str, status: Mapping[str, Any]) -> tuple[Milestone, ...]:
    """What status says of the way of its tags, the last one first."""
    rows = [row for row in (status.get("leadTime"), *(status.get("history") or ())) if row]
    found = [
        Milestone(
            policy=policy,
            tag=str(row["tag"]),
            digest=row.get("digest"),
            environment=str(row.get("environment") or ""),
            revision=row.get("revision"),
            commit=row.get("commit"),
            **{
                name: moment_of(row.get(name))
                for name in ("pushed", "seen", "eligible", "committed", "applied", "healthy", "failed")
            },
        )
        for row in rows
    ]
    found += [
        Milestone(
            policy=policy,
            tag=proven.tag,
            digest=proven.digest,
            environment=proven.environment,
            revision=proven.revision,
            healthy=proven.at,
            failed=proven.withdrawn,
        )
        for proven in proven_of(status)
    ]
    return tuple(unite(found))
