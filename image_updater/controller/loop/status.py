"""What the closed loop keeps in an ImagePolicy's status, as values and back: proven tags, the rollback, the hold that a
failed rollout left, the breaker, lead times. Pure.

Each function gives the fields that change (None = they go away) and the Events that tell of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.moments import exact_rfc3339, moment_of
from image_updater.api.policystatus import FIELDS
from image_updater.api.shapes import Record
from image_updater.controller.status import Happening
from image_updater.errors import Terminal
from image_updater.pipeline.rollback.decision import IntentState
from image_updater.pipeline.rollback.placements import Value
from image_updater.policy.situation import Origin, Proven, Quarantined

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ObjectKey
    from image_updater.pipeline.rollback.reverting import Answer
    from image_updater.store.model import Milestone

KEPT: Final = 20
_SHAPE: Final = Record(FIELDS)

Fields = "Mapping[str, Any]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """`status.rollback`, and each of `status.rollbacks`."""

    state: IntentState
    image: str = ""
    bad: Value | None = None
    to: Value | None = None
    kustomization: str = ""
    object: str = ""
    reason: str = ""
    since: datetime | None = None
    commit: str | None = None
    requested: datetime | None = None
    message: str = ""

    @property
    def open(self) -> bool:
        """Something is still to come."""
        return self.state in (IntentState.INTENDED, IntentState.PUSHED)

    @property
    def place(self) -> tuple[str, str]:
        """What failed; two empty words where somebody asked for it."""
        return self.kustomization, self.object


# ------------------------------------------------------------------------------------------------- rollback


def rollbacks_of(status: Mapping[str, Any]) -> tuple[Rollback, ...]:
    """What status says: the last one, then those of other workloads that are not at their end."""
    said = (status.get("rollback") or {}, *(status.get("rollbacks") or ()))
    return tuple(each for each in map(_rollback, said) if each is not None)


def rollback_of(status: Mapping[str, Any], place: tuple[str, str] = ("", "")) -> Rollback | None:
    """That of a place; None where that is nothing, or cannot be read."""
    return next((each for each in rollbacks_of(status) if each.place == place), None)


def _rollback(said: Mapping[str, Any]) -> Rollback | None:
    try:
        return Rollback(
            state=IntentState(said["state"]),
            image=str(said.get("image") or ""),
            bad=_value(said, "tag", "digest"),
            to=_value(said, "to", "toDigest"),
            kustomization=str(said.get("kustomization") or ""),
            object=str(said.get("object") or ""),
            reason=str(said.get("reason") or ""),
            since=moment_of(said.get("since")),
            commit=said.get("commit"),
            requested=moment_of(said.get("requested")),
            message=str(said.get("message") or ""),
        )
    except (KeyError, ValueError):
        return None


def rollback_fields(rollback: Rollback, before: Mapping[str, Any]) -> dict[str, Any]:
    """With what `before`, the fields as they are, says of other workloads: none of that is lost."""
    known = rollbacks_of(before)
    answered = max((each.requested for each in (rollback, *known) if each.requested is not None), default=None)
    others = [each for each in known if each.open and each.place != rollback.place]
    return {
        **_json("rollback", _said(replace(rollback, requested=answered))),
        **_json("rollbacks", [_said(each) for each in others] or None),
    }


def _said(rollback: Rollback) -> dict[str, Any]:
    bad, to = rollback.bad or Value(), rollback.to or Value()
    said = {
        "state": str(rollback.state),
        "image": rollback.image,
        "tag": bad.tag,
        "digest": bad.digest,
        "to": to.tag,
        "toDigest": to.digest,
        "kustomization": rollback.kustomization,
        "object": rollback.object,
        "reason": rollback.reason,
        "since": rollback.since,
        "commit": rollback.commit,
        # To the microsecond: two wishes of one second are two.
        "requested": exact_rfc3339(rollback.requested) if rollback.requested is not None else None,
        "message": rollback.message,
    }
    return {name: value for name, value in said.items() if value not in (None, "")}


def requested(status: Mapping[str, Any]) -> datetime | None:
    """The wish that was answered last."""
    return max((each.requested for each in rollbacks_of(status) if each.requested is not None), default=None)


def reverted(answer: Answer, before: Mapping[str, Any]) -> tuple[dict[str, Any], Happening]:
    """What became of what people asked. `before`: the fields as they are."""
    error = answer.error
    state, text = IntentState.ENDED, answer.message
    if answer.commit is not None:
        state, text = IntentState.PUSHED, ""
    elif error is not None:
        state, text = IntentState.REFUSED, str(error)
    done = error is None or isinstance(error, Terminal)
    known = rollback_of(before)
    asked = (IntentState.PUSHED, answer.reason, answer.since.replace(microsecond=0))
    if state is IntentState.ENDED and known is not None and (known.state, known.reason, known.since) == asked:
        # Another automation of the policy has taken it back: that is what became of it.
        return {}, _nothing(answer, text)
    fields = rollback_fields(
        Rollback(
            state=state,
            image=answer.spec.image,
            bad=answer.bad,
            to=answer.to,
            reason=answer.reason,
            since=answer.since,
            commit=answer.commit.commit if answer.commit is not None else None,
            requested=answer.asked if done else None,
            message=text,
        ),
        before,
    )
    if answer.commit is not None:
        return fields, rolled_back(answer.commit.subject, answer.commit.commit, answer.reason)
    return fields, _nothing(answer, text)


def _nothing(answer: Answer, text: str) -> Happening:
    message = f"nothing is taken back ({answer.reason}): {text}"
    return Happening(reason="RollbackRefused", message=message, warning=answer.error is not None)


def rolled_back(subject: str, commit: str, reason: str) -> Happening:
    return Happening(reason="RolledBack", message=f"{subject} ({commit[:12]}): {reason}", warning=True)


# ------------------------------------------------------------------------------------------------- proven


def proven_fields(proven: Sequence[Proven]) -> dict[str, Any]:
    return _json(
        "proven",
        [
            {
                "tag": each.tag,
                "digest": each.digest,
                "since": each.at,
                "environment": each.environment or None,
                "revision": each.revision,
                "withdrawn": each.withdrawn,
            }
            for each in proven
        ],
    )


def value_of(proven: Proven) -> Value:
    return Value(proven.tag, proven.digest)


def with_healthy(proven: Iterable[Proven], new: Proven) -> tuple[Proven, ...]:
    """With a tag that is healthy. One that was proven before keeps the time from which it was, unless it had failed."""
    rest, known = [], None
    for each in proven:
        if _same(each, new):
            known = each
        else:
            rest.append(each)
    if known is not None and known.withdrawn is None:
        new = replace(new, at=known.at, digest=known.digest or new.digest)
    return _newest((new, *rest))


def with_failed(proven: Iterable[Proven], environment: str, value: Value, at: datetime) -> tuple[Proven, ...]:
    """Without the right to be called proven, where it was."""
    return tuple(
        replace(each, withdrawn=at)
        if each.withdrawn is None and each.environment == environment and Value(each.tag, each.digest).is_of(value)
        else each
        for each in proven
    )


def _same(one: Proven, other: Proven) -> bool:
    return one.environment == other.environment and Value(one.tag, one.digest).is_of(Value(other.tag, other.digest))


def _newest(proven: Iterable[Proven]) -> tuple[Proven, ...]:
    """The last ones; of each environment at least what still counts there."""
    ordered = sorted(proven, key=lambda each: each.at, reverse=True)
    last: dict[str, Proven] = {}
    for each in ordered:
        if each.withdrawn is None:
            last.setdefault(each.environment, each)
    kept = list(last.values())[:KEPT]
    kept += [each for each in ordered if each not in kept][: KEPT - len(kept)]
    return tuple(sorted(kept, key=lambda each: each.at, reverse=True))


# ------------------------------------------------------------------------------------------------- lead time


def lead_times(milestones: Iterable[Milestone]) -> dict[str, Any]:
    """`leadTime` and `history`: what was applied somewhere, newest first."""
    made = [_lead_time(each) for each in milestones if each.environment and each.applied is not None]
    return {**_json("leadTime", made[0] if made else None), **_json("history", made[1 : KEPT + 1] or None)}


def _lead_time(milestone: Milestone) -> dict[str, Any]:
    # Of the times as they are written, in whole seconds: whoever reads them reckons the same.
    begun, healthy = milestone.begun, milestone.healthy
    taken = None
    if begun is not None and healthy is not None:
        taken = max(healthy.replace(microsecond=0) - begun.replace(microsecond=0), timedelta(0))
    return {
        "tag": milestone.tag,
        "digest": milestone.digest,
        "environment": milestone.environment,
        "pushed": milestone.pushed,
        "seen": milestone.seen,
        "eligible": milestone.eligible,
        "committed": milestone.committed,
        "applied": milestone.applied,
        "healthy": milestone.healthy,
        "failed": milestone.failed,
        "commit": milestone.commit,
        "revision": milestone.revision,
        "seconds": int(taken.total_seconds()) if taken is not None else None,
    }


# ------------------------------------------------------------------------------------------------- hold, breaker


def hold_fields(failed: Sequence[Quarantined]) -> dict[str, Any]:
    """What a failed rollout left with `onFailure: hold`; `by` names the Kustomization."""
    if not failed:
        return {"hold": None}
    last = failed[-1]
    return _json(
        "hold",
        {"reason": last.reason, "tag": last.tag, "digest": last.digest, "by": last.source, "since": last.since},
    )


def held_by_rollout(status: Mapping[str, Any], image: str) -> tuple[Quarantined, ...]:
    """The same, read back. A person's hold is none."""
    hold = status.get("hold") or {}
    source = str(hold.get("by") or "")
    if not source.startswith(KUSTOMIZATION) or not (hold.get("tag") or hold.get("digest")):
        return ()
    return (
        Quarantined(
            image=image,
            tag=hold.get("tag"),
            digest=hold.get("digest"),
            reason=str(hold.get("reason") or ""),
            source=source,
            origin=Origin.ROLLOUT,
            since=moment_of(hold.get("since")),
        ),
    )


KUSTOMIZATION: Final = "Kustomization "


def source_of(kustomization: ObjectKey) -> str:
    return f"{KUSTOMIZATION}{kustomization}"


def breaker_fields(reason: str, since: datetime | None) -> dict[str, Any]:
    """An empty reason closes it."""
    return _json("breaker", {"reason": reason, "since": since} if reason else None)


def breaker_of(status: Mapping[str, Any]) -> tuple[str, datetime | None]:
    said = status.get("breaker") or {}
    return str(said.get("reason") or ""), moment_of(said.get("since"))


# ------------------------------------------------------------------------------------------------- small parts


def _json(name: str, value: Any) -> dict[str, Any]:
    return {name: _SHAPE.json({name: value}, "status").get(name)}


def _value(said: Mapping[str, Any], tag: str, digest: str) -> Value | None:
    return Value(said.get(tag), said.get(digest)) if said.get(tag) or said.get(digest) else None
