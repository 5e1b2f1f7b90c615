"""What the commands are asked and what they answer: frozen values, and the JSON of design section 10.

`as_json()` gives exactly the documented keys (further ones only where a script that ignores them loses nothing), in a
stable order.
Nothing here acts: the line fills these values, `cli/` prints them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from image_updater.patch.decisions import State

if TYPE_CHECKING:
    from image_updater.api.model import ImagePolicy, ImageUpdateAutomation, ObjectKey, Objects, Secret
    from image_updater.errors import ImageUpdaterError
    from image_updater.images import Digest, ImageName
    from image_updater.pipeline.selection import Selector
    from image_updater.pipeline.session import Session
    from image_updater.pipeline.tagsfile import TagsFile
    from image_updater.policy.model import Chosen, Judgement
    from image_updater.settings import Settings

Secrets = Callable[["ObjectKey"], "Secret | None"]
Progress = Callable[[str], None]
"""One short line about what is done now; never kept, only shown on a terminal."""
PullResolver = Callable[["ImageUpdateAutomation", Mapping[str, "ImagePolicy"]], Awaitable[Mapping[str, "ImagePolicy"]]]
"""In a cluster: the policies that an automation found in annotations, by key, with the pull secrets that their
workloads have and that may serve this automation."""


def silent(_: str) -> None:
    """The `Progress` of those who do not watch."""


class Mode(StrEnum):
    """How far an update goes; each includes what the ones before it check."""

    DRY_RUN = "dry-run"
    WRITE = "write"
    COMMIT = "commit"
    PUSH = "push"


# ------------------------------------------------------------------------------------------------------ requests


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """One run of the line. `target`: a path, a URL, or None (all automations, each on its own GitRepository)."""

    objects: Objects
    settings: Settings
    secrets: Secrets
    now: datetime
    target: str | None = None
    branch: str | None = None
    tags: TagsFile | None = None
    mode: Mode = Mode.DRY_RUN
    roots: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    selector: Selector | None = None
    """The daemon's, kept between runs; None = one is made from `settings`, `secrets` and `tags` for this run alone."""
    session: Session | None = None
    """The daemon's store, renderer and mirrors, kept between runs; None = opened and closed by this run."""
    automations: frozenset[ObjectKey] | None = None
    """Only these (the daemon: those of one branch); None = all that `target` names."""
    progress: Progress = silent
    apart: bool = False
    """The daemon's runs: an automation that is invalid fails alone, and each has a report of its own."""
    active: Callable[[ObjectKey], bool] = lambda _: True
    """Asked right before a plan is made: may this automation (still) write?"""
    pulls: PullResolver | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesRequest:
    """`image-updater images [PATH]`: every image site. `claims`: -f was given, else only annotations claim."""

    objects: Objects
    settings: Settings
    target: str | None = None
    roots: tuple[str, ...] = ()
    claims: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    progress: Progress = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentValue:
    """`--current [IMAGE=]TAG[@DIGEST]`: what a site holds now; `image` None = for every image that has none of its
    own.
    """

    tag: str
    image: ImageName | None = None
    digest: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainRequest:
    """`image-updater explain`. `policy`: only this one, by `name` or `namespace/name`."""

    objects: Objects
    settings: Settings
    secrets: Secrets
    now: datetime
    policy: str | None = None
    tags: TagsFile | None = None
    current: tuple[CurrentValue, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    progress: Progress = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class SetImage:
    """One `IMAGE=[NEWNAME][:TAG][@DIGEST]`: what is None stays as it is."""

    image: str
    new_name: str | None = None
    tag: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRequest:
    """`image-updater set`: edit DIR's kustomization by hand. Later entries for one image win."""

    images: tuple[SetImage, ...]
    settings: Settings
    folder: str = "."
    dry_run: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    progress: Progress = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """`image-updater render [PATH] [--root DIR]…`."""

    settings: Settings
    target: str | None = None
    roots: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    progress: Progress = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRequest:
    """`image-updater diff [PATH] [REV [REV]]`: `old` None = HEAD, `new` None = the files as they stand."""

    settings: Settings
    target: str | None = None
    old: str | None = None
    new: str | None = None
    roots: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    progress: Progress = silent


# ------------------------------------------------------------------------------------------------------ reports


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
    error: ImageUpdaterError | None = None


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


def rfc3339(moment: datetime) -> str:
    """`2024-05-01T12:00:00Z`, the form that our JSON and messages use."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


__all__ = [
    "AutomationReport",
    "ChangedObject",
    "CommitReport",
    "DiffReport",
    "DiffRequest",
    "EditReport",
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
    "rfc3339",
    "silent",
]
