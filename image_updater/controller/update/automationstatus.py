"""The status of an ImageUpdateAutomation: a run of the line as fields, condition and Events. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.status import AUTOMATION_STATUS
from image_updater.controller.status import Happening, Ready
from image_updater.controller.update.policystatus import failed
from image_updater.errors import Transient
from image_updater.images.names import split
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.report import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import ImagePolicy
    from image_updater.errors import ImageUpdaterError
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.report import AutomationReport, CommitReport, SiteReport

SITES: Final = 100
POLICIES: Final = 100
_ORDER: Final = (
    State.CONFLICT,
    State.REFUSED,
    State.HELD,
    State.MANUAL,
    State.REMOTE,
    State.IGNORED,
)
"""What needs a person comes first."""
_LOUD: Final = (State.CONFLICT, State.REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an automation's status says after a run, and what is told beside it."""

    fields: Mapping[str, Any]
    ready: Ready
    happened: tuple[Happening, ...] = ()


def after_run(
    report: AutomationReport,
    before: Mapping[str, Any],
    *,
    branch: str,
    answers: Mapping[str, Outcome],
    now: datetime,
    selects: bool = True,
) -> Said:
    """`before` are the fields as they are; `answers` by policy name; `selects`: its selector matches a policy."""
    names = {policy.key.name: policy_name(policy) for policy in report.implicit}
    happened: list[Happening] = []
    made = dict(before)
    if report.error is None or report.sites:
        # What status does not name, it cannot be known by the next time: no Event tells of that.
        sites, policies = _worst(report.sites), _failed_first(report.implicit, answers)
        made |= _found(report, sites, policies, before, answers, names)
        if report.error is None:
            happened += _refusals(sites, before)
        happened += _failures(policies, answers, before)
    commit = report.commit
    if commit is not None and commit.stood:
        made["lastPushCommit"] = commit.commit
    elif commit is not None:
        made |= {"lastPushCommit": commit.commit, "lastPushTime": now}
        happened.insert(0, pushed(commit))
    elif report.last is not None and report.last[0] != before.get("lastPushCommit"):
        made |= {"lastPushCommit": report.last[0], "lastPushTime": report.last[1]}
    written = AUTOMATION_STATUS.json(made, "status")
    if report.revision is not None and (written != before or "observedRevision" not in before):
        # A commit that changes nothing here is no reason to write.
        revision = commit.commit if commit is not None and commit.branch == branch else report.revision
        written["observedRevision"] = f"{branch}@sha1:{revision}" if branch else f"sha1:{revision}"
    if report.error is not None:
        return Said(fields=written, ready=failed(report.error), happened=tuple(happened))
    return Said(fields=written, ready=_ready(written, selects=selects), happened=tuple(happened))


def after_failure(error: ImageUpdaterError, before: Mapping[str, Any]) -> Said:
    """The run could not be made: what was found before stays to be read."""
    return Said(fields=dict(before), ready=failed(error))


def _worst(sites: Iterable[SiteReport]) -> Sequence[SiteReport]:
    """What status names of the sites that are not current."""
    rest = [site for site in sites if _settled(site) in _ORDER]
    rest.sort(key=lambda site: _ORDER.index(site.state))
    return rest[:SITES]


def _failed_first(policies: Iterable[ImagePolicy], answers: Mapping[str, Outcome]) -> Sequence[ImagePolicy]:
    """What status names of the policies of annotations."""

    def fails(policy: ImagePolicy) -> bool:
        answer = answers.get(policy_name(policy))
        return answer is not None and answer.error is not None

    return sorted(policies, key=lambda policy: not fails(policy))[:POLICIES]


def _found(
    report: AutomationReport,
    sites: Sequence[SiteReport],
    policies: Sequence[ImagePolicy],
    before: Mapping[str, Any],
    answers: Mapping[str, Outcome],
    names: Mapping[str, str],
) -> dict[str, Any]:
    known = _known_policies(before)
    old = {(each.get("file"), each.get("field"), each.get("policy")): each for each in before.get("sites") or ()}
    counts = Counter(_settled(site).value for site in report.sites)
    if report.unmanaged:
        counts[State.UNMANAGED.value] = report.unmanaged
    return {
        "siteCounts": dict(counts),
        "sites": [_site(site, answers, names, old) for site in sites] or None,
        "problems": [
            {"file": each.file, "line": each.line, "reason": each.reason}
            for each in report.problems
            if each.file is not None
        ]
        or None,
        "policies": [
            _policy(policy, answers.get(policy_name(policy)), known.get(policy.key.name)) for policy in policies
        ]
        or None,
    }


def _settled(site: SiteReport) -> State:
    """What was to be updated is current now: a push that failed has made it refused before."""
    return State.CURRENT if site.state is State.UPDATED else site.state


def _site(
    site: SiteReport,
    answers: Mapping[str, Outcome],
    names: Mapping[str, str],
    old: Mapping[tuple[Any, Any, Any], Mapping[str, Any]],
) -> dict[str, Any]:
    answer = answers.get(names.get(site.policy, site.policy)) if site.policy is not None else None
    selection = answer.selection if answer is not None else None
    reason = site.reason
    if answer is not None and isinstance(answer.error, Transient):
        known = old.get((site.file, site.field, site.policy), {})
        if known.get("state") == site.state and not known.get("wanted"):
            reason = str(known.get("reason") or reason)  # its words may hold a time: each would be a write
    _, tag, digest = split(site.image)
    return {
        "file": site.file,
        "line": site.line,
        "field": site.field,
        "image": site.image,
        "policy": site.policy,
        "current": _tagged(tag, digest),
        "wanted": _tagged(selection.tag, selection.digest) if selection is not None else None,
        "state": site.state,
        "reason": reason,
    }


def pushed(commit: CommitReport) -> Happening:
    return Happening(reason="CommitPushed", message=f"{commit.subject} ({commit.commit[:12]} on {commit.branch})")


def _tagged(tag: str | None, digest: object) -> str | None:
    text = (tag or "") + (f"@{digest}" if digest else "")
    return text or None


def _policy(policy: ImagePolicy, answer: Outcome | None, old: Mapping[str, Any] | None) -> dict[str, Any]:
    selection = answer.selection if answer is not None else None
    reason = answer.reason if answer is not None else "nothing in scope needs it"
    if answer is not None and answer.error is not None:
        if old is not None and _still(old, answer.error):
            return dict(old)  # the words of a failure that goes on may hold a time: each would be a write
        reason = f"{answer.error.reason}: {reason}"
    return {
        "name": policy.key.name,
        "image": policy.image,
        "tag": selection.tag if selection is not None else None,
        "digest": selection.digest if selection is not None else None,
        "reason": "; ".join(part for part in (reason, policy.pull_note) if part),
    }


def _known_policies(before: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(each.get("name")): each for each in before.get("policies") or ()}


def _still(old: Mapping[str, Any], error: ImageUpdaterError) -> bool:
    """Did it fail like this before?"""
    return not old.get("tag") and str(old.get("reason", "")).startswith(f"{error.reason}: ")


def _ready(written: Mapping[str, Any], *, selects: bool) -> Ready:
    counts = dict(written.get("siteCounts") or {})
    said = [f"{counts.pop(state)} {state}" for state in map(str, (State.CURRENT, *_ORDER)) if counts.get(state)]
    message = "sites: " + ", ".join(said) if said else "no image here is claimed by a policy"
    if not said and not selects and not written.get("policies"):
        message += ": spec.policySelector selects no ImagePolicy of this namespace"
    if problems := written.get("problems"):
        message += f"; {len(problems)} {'file' if len(problems) == 1 else 'files'} cannot be read"
    return Ready(state=True, reason="Succeeded", message=message)


def _refusals(sites: Sequence[SiteReport], before: Mapping[str, Any]) -> Iterable[Happening]:
    """Told when one is new; those of the status are known."""
    known = {(each.get("file"), each.get("field"), each.get("reason")) for each in before.get("sites") or ()}
    new = [site for site in sites if site.state in _LOUD and (site.file, site.field, site.reason) not in known]
    if new:
        first = new[0]
        more = f" (and {len(new) - 1} more)" if len(new) > 1 else ""
        yield Happening(reason="SitesRefused", message=f"{first.file}:{first.line}: {first.reason}{more}", warning=True)


def _failures(
    policies: Iterable[ImagePolicy], answers: Mapping[str, Outcome], before: Mapping[str, Any]
) -> Iterable[Happening]:
    """Policies of annotations have no object of their own to tell it about."""
    known = _known_policies(before)
    for policy in policies:
        answer = answers.get(policy_name(policy))
        if answer is None or answer.error is None:
            continue
        old = known.get(policy.key.name)
        if old is None or not _still(old, answer.error):
            yield Happening(reason=answer.error.reason, message=f"{policy.key.name}: {answer.reason}", warning=True)
