"""What the commands and the daemon are asked: frozen values. Nothing here acts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from image_updater.api.model import ImagePolicy, ImageUpdateAutomation, ObjectKey, Objects, Secret
    from image_updater.images import Digest, ImageName
    from image_updater.pipeline.answers.selection import Selector
    from image_updater.pipeline.answers.tagsfile import TagsFile
    from image_updater.pipeline.keeping import Busy
    from image_updater.pipeline.rollback.evidence import Noting, Taking
    from image_updater.pipeline.session import Session
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
    busy: Busy | None = None
    """Why a site should not be moved right now: what is being rolled out there ends first."""
    rollback: Taking | None = None
    """Nothing but what it says is done; it is asked on the very tip that is written on."""
    note: Noting | None = None
    """The same for a file that an automation keeps in the branch."""


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
