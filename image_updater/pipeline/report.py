"""What the commands and the daemon answer: frozen values, and the JSON of design section 10.

`as_json()` gives exactly the documented keys (further ones only where a script that ignores them loses nothing), in a
stable order. Nothing here acts: the line fills these values, `cli/` prints them. What they are asked is `requests.py`,
whose names can be had from here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from image_updater.patch.decisions import State
from image_updater.pipeline.requests import (
    CurrentValue,
    DiffRequest,
    ExplainRequest,
    ImagesRequest,
    Mode,
    Progress,
    PullResolver,
    RenderRequest,
    Secrets,
    SetImage,
    SetRequest,
    UpdateRequest,
    silent,
)

if TYPE_CHECKING:
    from image_updater.api.model import ImagePolicy
    from image_updater.errors import ImageUpdaterError
    from image_updater.pipeline.rollback.placements import Placement
    from image_updater.policy.model import Chosen, Judgement
    from image_updater.policy.situation import Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class EditReport:
    file: str
    line: int
    field: str
    old: str | None
    new: str | None
    policy: str
    kind: str

    def as_json(self) -> dict[str, object]:
        return {
            "file": self.file,
            "line": self.line,
            "field": self.field,
            "old": self.old,
            "new": self.new,
            "policy": self.policy,
            "kind": str(self.kind),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteReport:
    file: str
    line: int
    field: str
    image: str
    state: State
    policy: str | None = None
    roots: tuple[str, ...] = ()
    reason: str = ""

    def as_json(self) -> dict[str, object]:
        return {
            "file": self.file,
            "line": self.line,
            "field": self.field,
            "image": self.image,
            "policy": self.policy,
            "roots": list(self.roots),
            "state": str(self.state),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemReport:
    """Something that could not be read or is wrong; `field` and `remedy` only where there is one."""

    file: str | None
    line: int | None
    reason: str
    field: str | None = None
    remedy: str | None = None

    @classmethod
    def of(cls, error: ImageUpdaterError) -> ProblemReport:
        where = error.where
        return cls(file=where.file, line=where.line, reason=error.message, field=where.field, remedy=error.remedy)

    def as_json(self) -> dict[str, object]:
        document: dict[str, object] = {"file": self.file, "line": self.line, "reason": self.reason}
        if self.field:
            document["field"] = self.field
        if self.remedy:
            document["remedy"] = self.remedy
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReport:
    """A registry, Git or render that failed for one policy or automation: exit code 1, the others' work is done."""

    subject: str
    """`namespace/name` of a policy or automation, or the file of an annotation."""
    reason: str
    message: str

    @classmethod
    def of(cls, subject: str, error: ImageUpdaterError) -> FailureReport:
        return cls(subject=subject, reason=error.reason, message=str(error))

    def as_json(self) -> dict[str, object]:
        return {"subject": self.subject, "reason": self.reason, "message": self.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitReport:
    """One commit of one automation, for URLs and the daemon that may make several."""

    repository: str
    branch: str
    commit: str
    automation: str
    subject: str
    pushed: bool
    attempts: int = 1
    """Pushes that it took; more than one means lost races."""
    stood: bool = False
    """It was on that branch already, and waits to be merged: nothing was pushed."""

    def as_json(self) -> dict[str, object]:
        return {
            "repository": self.repository,
            "branch": self.branch,
            "commit": self.commit,
            "automation": self.automation,
            "subject": self.subject,
            "pushed": self.pushed,
            "attempts": self.attempts,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomationReport:
    """One automation's part of an update. `error`: why it did not come to its end; `sites` may be there all the same.

    `sites` are without the unmanaged ones, of which there is only the number. `implicit` are the policies of
    annotations.
    """

    sites: tuple[SiteReport, ...] = ()
    unmanaged: int = 0
    problems: tuple[ProblemReport, ...] = ()
    implicit: tuple[ImagePolicy, ...] = ()
    revision: str | None = None
    """The commit that was planned on."""
    commit: CommitReport | None = None
    until: datetime | None = None
    """From when on something that is held may move without any news: look again then."""
    last: tuple[str, datetime] | None = None
    """In the first run of a process: the newest commit of this automation that Git has, and when it was made. Whoever
    pushed it may have been killed before it said so."""
    error: ImageUpdaterError | None = None
    placements: tuple[Placement, ...] = field(default=(), repr=False)
    """Which policy has its hand on which image of which object."""
    holds: Mapping[str, tuple[Hold, ...]] = field(default_factory=dict)
    """By policy, as sites name it: what people, or a rollback, took back in Git and the policy would write again."""
    missing: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By policy, as sites name it: a tag that is not written as it cannot be pulled, and what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """What an update did, or with `Mode.DRY_RUN` would do. `files`: path → (old, new) text, for `-o diff`."""

    changed: bool = False
    commit: str | None = None
    """The last commit made (the only one for a path)."""
    edits: tuple[EditReport, ...] = ()
    sites: tuple[SiteReport, ...] = ()
    problems: tuple[ProblemReport, ...] = ()
    failures: tuple[FailureReport, ...] = ()
    commits: tuple[CommitReport, ...] = ()
    proof: tuple[str, ...] = ()
    """One line a root: what was built before and after, with which renderer, or why only the parse was compared."""
    files: Mapping[str, tuple[str | None, str]] = field(default_factory=dict, repr=False)
    automations: Mapping[str, AutomationReport] = field(default_factory=dict, repr=False)
    """By `namespace/name`, for requests that want them `apart`."""
    holds: Mapping[str, tuple[Hold, ...]] = field(default_factory=dict)
    """Those of all automations."""

    def as_json(self) -> dict[str, object]:
        document: dict[str, object] = {
            "changed": self.changed,
            "commit": self.commit,
            "edits": [edit.as_json() for edit in self.edits],
            "sites": [site.as_json() for site in self.sites],
            "problems": [problem.as_json() for problem in self.problems],
        }
        if self.failures:
            document["failures"] = [failure.as_json() for failure in self.failures]
        if self.commits:
            document["commits"] = [commit.as_json() for commit in self.commits]
        if self.proof:
            document["proof"] = list(self.proof)
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesReport:
    sites: tuple[SiteReport, ...] = ()
    problems: tuple[ProblemReport, ...] = ()

    def as_json(self) -> dict[str, object]:
        return {
            "sites": [site.as_json() for site in self.sites],
            "problems": [problem.as_json() for problem in self.problems],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderReport:
    """Manifests by root id in order; a root that does not build is a problem with kustomize's words."""

    manifests: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problems: tuple[ProblemReport, ...] = ()
    failures: tuple[FailureReport, ...] = ()

    def as_json(self) -> dict[str, object]:
        return {
            "roots": [
                {"root": root, "manifests": text.decode("utf-8", "replace")} for root, text in self.manifests.items()
            ],
            "problems": [problem.as_json() for problem in self.problems],
            "failures": [failure.as_json() for failure in self.failures],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedObject:
    """An object of a root whose render differs.

    `change`: added, removed or changed; `fields`: (dotted field, old, new), images first.
    """

    root: str
    object: str
    change: str
    fields: tuple[tuple[str, str | None, str | None], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "root": self.root,
            "object": self.object,
            "change": self.change,
            "fields": [{"field": name, "old": old, "new": new} for name, old, new in self.fields],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffReport:
    """`images`: (root, old reference, new reference), None for the side that lacks it."""

    objects: tuple[ChangedObject, ...] = ()
    images: tuple[tuple[str, str | None, str | None], ...] = ()
    problems: tuple[ProblemReport, ...] = ()
    failures: tuple[FailureReport, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.objects)

    def as_json(self) -> dict[str, object]:
        return {
            "changed": self.changed,
            "objects": [item.as_json() for item in self.objects],
            "images": [{"root": root, "old": old, "new": new} for root, old, new in self.images],
            "problems": [problem.as_json() for problem in self.problems],
            "failures": [failure.as_json() for failure in self.failures],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReport:
    """`explain`'s answer for one policy: the fate of every tag. `error`: the registry failed, tags are old."""

    policy: str
    image: str
    chosen: Chosen | None
    reason: str
    judgement: Judgement | None = field(default=None, repr=False)
    error: ImageUpdaterError | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        chosen = None
        if self.chosen is not None:
            chosen = {"tag": self.chosen.tag, "digest": self.chosen.digest}
        verdicts = self.judgement.verdicts if self.judgement is not None else ()
        document: dict[str, object] = {
            "policy": self.policy,
            "image": self.image,
            "chosen": chosen,
            "reason": "; ".join((self.reason, *self.notes)),
            "tags": [{"tag": each.tag, "verdict": str(each.fate), "reason": each.reason} for each in verdicts],
        }
        if self.error is not None:
            document["error"] = {"reason": self.error.reason, "message": str(self.error)}
        return document


__all__ = [
    "AutomationReport",
    "ChangedObject",
    "CommitReport",
    "CurrentValue",
    "DiffReport",
    "DiffRequest",
    "EditReport",
    "ExplainRequest",
    "FailureReport",
    "ImagesReport",
    "ImagesRequest",
    "Mode",
    "PolicyReport",
    "ProblemReport",
    "Progress",
    "PullResolver",
    "RenderReport",
    "RenderRequest",
    "Secrets",
    "SetImage",
    "SetRequest",
    "SiteReport",
    "State",
    "UpdateReport",
    "UpdateRequest",
    "silent",
]
