"""What people ask of one policy: hold, resume, approve, deny, roll back.

In a cluster and in objects files they are annotations of the ImagePolicy; for `run` they are rows of its state file.
Both are read into one value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never

from image_updater.api.decode import SpecErrors, suggest
from image_updater.api.model import GROUP
from image_updater.api.moments import exact_rfc3339, parse_rfc3339
from image_updater.api.tags import check_denied, check_digest, check_tag
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from image_updater.api.model import Meta

HOLD: Final = f"{GROUP}/hold"
"""A reason in words, or JSON `{"reason", "by", "at", "until"}`."""
RESUME: Final = f"{GROUP}/resume"
"""RFC 3339: holds from before that moment are over. Or JSON `{"at", "by"}`."""
APPROVALS: Final = f"{GROUP}/approvals"
"""JSON `[{"tag", "digest", "by", "at"}]`, or tags with commas between them."""
DENY: Final = f"{GROUP}/deny"
"""JSON `[{"what", "by", "at", "reason"}]`, or tags and digests with commas between them."""
ROLLBACK: Final = f"{GROUP}/rollback"
"""JSON `{"to", "by", "at", "reason"}`; `to` null = the last proven tag, else the one before. `at` tells two apart."""

NO_REASON: Final = "no reason given"
"""The reason of a hold that has none."""
MOST: Final = 500
"""Approvals, and denied tags, of one policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldWish:
    reason: str
    by: str = ""
    at: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalWish:
    """One person's yes to a tag (with `digest`: to these bytes only)."""

    tag: str
    by: str = ""
    at: datetime | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyWish:
    """`what`: a tag, or bytes by their digest. `by`, `at`, `reason`: as far as they are known."""

    what: str
    by: str = ""
    at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackWish:
    at: datetime
    to: str | None = None
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    hold: HoldWish | None = None
    resumed: datetime | None = None
    resumed_by: str = ""
    approvals: tuple[ApprovalWish, ...] = ()
    denied: tuple[DenyWish, ...] = ()
    rollback: RollbackWish | None = None


# ------------------------------------------------------------------------------------------- reading


def wishes_of(meta: Meta) -> Wishes:
    """What the annotations ask for. Raises SpecErrors, which a policy that was read has not: it was checked then."""
    wishes, errors = read_wishes(meta.annotations)
    if errors:
        raise SpecErrors(errors)
    return wishes


def check_wishes(meta: Meta) -> tuple[SpecError, ...]:
    """What is wrong with the annotations of a policy, mistyped names of ours too."""
    errors = list(read_wishes(meta.annotations)[1])
    for name in meta.annotations:
        word = name.removeprefix(f"{GROUP}/")
        if word == name or name in READERS:
            continue
        close = suggest(word, [*(each.removeprefix(f"{GROUP}/") for each in READERS), "requestedAt"])
        if close is not None and close != word:
            errors.append(_error(name, "unknown annotation", f"did you mean {GROUP}/{close}?"))
    return tuple(errors)


def read_wishes(annotations: Mapping[str, str]) -> tuple[Wishes, tuple[SpecError, ...]]:
    """The wishes that can be read, and what is wrong with the others."""
    found: dict[str, Any] = {}
    errors = []
    for name, (read, remedy) in READERS.items():
        text = annotations.get(name)
        if text is None:
            continue
        try:
            found.update(read(text.strip()))
        except ValueError as exc:
            errors.append(_error(name, str(exc), remedy))
    return Wishes(**found), tuple(errors)


def wish_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Those annotations that are wishes."""
    return {name: text for name, text in annotations.items() if name in READERS}


def _error(name: str, message: str, remedy: str) -> SpecError:
    return SpecError(message, where=Where(field=f"metadata.annotations[{name}]"), remedy=remedy)


def _hold(text: str) -> dict[str, Any]:
    if text.lower() in ("false", "no", "off"):
        raise ValueError(f"{text!r} would be a hold for that reason")
    if not text.startswith("{"):
        said = "" if text.lower() in ("true", "yes", "on") else " ".join(text.split())[:500]
        return {"hold": HoldWish(reason=said or NO_REASON)}
    fields = _fields(text, ("reason", "by", "at", "until"))
    return {
        "hold": HoldWish(
            reason=_word(fields, "reason") or NO_REASON,
            by=_word(fields, "by"),
            at=_moment(fields, "at"),
            until=_moment(fields, "until"),
        )
    }


def _resume(text: str) -> dict[str, Any]:
    fields = _fields(text, ("at", "by")) if text.startswith("{") else {"at": text}
    at = _moment(fields, "at")
    if at is None:
        raise ValueError("says no time")
    return {"resumed": at, "resumed_by": _word(fields, "by")}


def _approvals(text: str) -> dict[str, Any]:
    approvals = []
    for each in _items(text, "tag", ("tag", "digest", "by", "at")):
        tag, digest = _word(each, "tag"), _word(each, "digest")
        if not digest:
            tag, _, digest = tag.partition("@")
        if problem := check_tag(tag) or (check_digest(digest) if digest else None):
            raise ValueError(problem)
        approvals.append(ApprovalWish(tag=tag, digest=digest or None, by=_word(each, "by"), at=_moment(each, "at")))
    return {"approvals": tuple(approvals)}


def _denied(text: str) -> dict[str, Any]:
    denied = []
    for each in _items(text, "what", ("what", "by", "at", "reason")):
        what = _word(each, "what")
        if problem := check_denied(what):
            raise ValueError(problem)
        denied.append(DenyWish(what=what, by=_word(each, "by"), at=_moment(each, "at"), reason=_word(each, "reason")))
    return {"denied": tuple(denied)}


def _rollback(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        raise ValueError("is not JSON with a time: two wishes for the same tag could not be told apart")
    fields = _fields(text, ("to", "by", "at", "reason"))
    at, to = _moment(fields, "at"), _word(fields, "to")
    if at is None:
        raise ValueError("has no 'at'")
    if to and (problem := check_tag(to)):
        raise ValueError(problem)
    return {"rollback": RollbackWish(at=at, to=to or None, by=_word(fields, "by"), reason=_word(fields, "reason"))}


READERS: Final[Mapping[str, tuple[Callable[[str], dict[str, Any]], str]]] = {
    HOLD: (
        _hold,
        'write a reason, or {"reason": …, "until": "2024-05-01T12:00:00Z"}; to end it, remove the annotation',
    ),
    RESUME: (_resume, "write a time such as 2024-05-01T12:00:00Z, or use `image-updater resume`"),
    APPROVALS: (_approvals, "write TAG[@DIGEST] with commas between them, or use `image-updater approve`"),
    DENY: (_denied, "write tags and digests with commas between them, or use `image-updater deny`"),
    ROLLBACK: (_rollback, 'use `image-updater rollback`, or write {"to": TAG, "at": "2024-05-01T12:00:00Z"}'),
}
"""By annotation: what reads it, and what to do about one that cannot be read."""


MEANING: Final[Mapping[str, str]] = {
    HOLD: 'nothing is written: a reason, or `{"reason", "by", "at", "until"}`',
    RESUME: 'what held it before that time is over: a time, or `{"at", "by"}`',
    APPROVALS: 'yes of people to tags: `TAG[@DIGEST]` with commas between them, or `[{"tag", "digest", "by", "at"}]`',
    DENY: 'never these tags or digests: with commas between them, or `[{"what", "by", "at", "reason"}]`',
    ROLLBACK: 'back to a tag, once: `{"to", "by", "at", "reason"}`',
}
"""By annotation, for the reference page."""


def _items(text: str, main: str, names: tuple[str, ...]) -> list[Mapping[str, Any]]:
    if not text.startswith(("[", "{")):
        return [{main: word} for part in text.split(",") if (word := part.strip())]
    listed = _json(text)
    items = listed if isinstance(listed, list) else [listed]
    if len(items) > MOST:
        raise ValueError(f"has {len(items):,} items, more than {MOST}")
    return [_known({main: each} if isinstance(each, str) else each, names) for each in items]


def _fields(text: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    return _known(_json(text), names)


def _known(value: Any, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"holds {json.dumps(value)[:80]} where an object is expected")  # noqa: TRY004  of the input
    unknown = sorted(set(value) - set(names))
    if unknown:
        raise ValueError(f"has the unknown field {unknown[0][:80]!r}: known are {', '.join(names)}")
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"is not JSON: {exc}") from exc


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is not a string")  # noqa: TRY004  of the input
    return " ".join(value.split())[:500]


def _moment(fields: Mapping[str, Any], name: str) -> datetime | None:
    text = _word(fields, name)
    return parse_rfc3339(text) if text else None


# ------------------------------------------------------------------------------------------- writing


def to_annotations(wishes: Wishes) -> dict[str, str | None]:
    """All five annotations as they must stand; None: it is not there."""
    hold, rollback = wishes.hold, wishes.rollback
    return {
        HOLD: _dump({"reason": hold.reason, "by": hold.by, "at": hold.at, "until": hold.until}) if hold else None,
        RESUME: _dump({"at": wishes.resumed, "by": wishes.resumed_by}) if wishes.resumed else None,
        APPROVALS: _dump(
            [{"tag": each.tag, "digest": each.digest, "by": each.by, "at": each.at} for each in wishes.approvals]
        )
        if wishes.approvals
        else None,
        DENY: _dump(
            [{"what": each.what, "by": each.by, "at": each.at, "reason": each.reason} for each in wishes.denied]
        )
        if wishes.denied
        else None,
        ROLLBACK: _dump({"to": rollback.to, "by": rollback.by, "at": rollback.at, "reason": rollback.reason})
        if rollback
        else None,
    }


def _dump(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Without what is empty; times as text."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if each not in (None, "")}
    if isinstance(value, datetime):
        return exact_rfc3339(value)
    return value


# ------------------------------------------------------------------------------------------- one wish more


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeWish:
    """Every hold from before `at` is over."""

    at: datetime
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndenyWish:
    """What was denied is not any more."""

    what: str


Wish: TypeAlias = HoldWish | ResumeWish | ApprovalWish | DenyWish | UndenyWish | RollbackWish
"""What one command, or one person, asks."""

KEPT: Final = 50
"""Approvals that are kept; older ones are of tags that have come and gone."""


def wish(wishes: Wishes, new: Wish) -> Wishes:
    """The wishes with one more. It takes the place of what it contradicts or repeats."""
    match new:
        case HoldWish():
            return replace(wishes, hold=new)
        case ResumeWish():
            return replace(wishes, hold=None, resumed=new.at, resumed_by=new.by)
        case ApprovalWish():
            others = [each for each in wishes.approvals if (each.tag, each.by) != (new.tag, new.by)]
            return replace(wishes, approvals=(*others, new)[-KEPT:])
        case DenyWish():
            others_denied = tuple(each for each in wishes.denied if each.what != new.what)
            return replace(wishes, denied=(*others_denied, new))
        case UndenyWish():
            return replace(wishes, denied=tuple(each for each in wishes.denied if each.what != new.what))
        case RollbackWish():
            return replace(wishes, rollback=new)
        case _:
            assert_never(new)
