"""What decides over a policy's tags beside the tags and their facts: values, gathered by the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from image_updater.api.model import Start

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from image_updater.api.model import Freeze, ImagePolicy
    from image_updater.api.wishes import ApprovalWish, DenyWish


class Need(StrEnum):
    """A fact of a tag that a gate asks for."""

    DIGEST = "digest"
    PLATFORMS = "platforms"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A person's (or a rollback's) word that a policy, or a site, moves no further.

    `tag` None: nothing is written. With `tag` (and `digest`): no tag up to this one, in the policy's own order; a newer
    one ends it, unless `until_resume`.
    """

    reason: str
    by: str = ""
    since: datetime | None = None
    until: datetime | None = None
    tag: str | None = None
    digest: str | None = None
    until_resume: bool = False
    then: Hold | None = None
    """What holds once this one's `until` has come."""


class Origin(StrEnum):
    """Who said that an image is bad."""

    PERSON = "person"
    """A Quarantine that somebody made: a site that holds the image goes down to the last proven one."""
    COMMIT = "commit"
    """The trailer of a commit in the branch (a rollback's record), or a Quarantine derived from one: never chosen."""
    ROLLOUT = "rollout"
    """Its rollout failed here (`onFailure: hold`): never chosen here, and Git stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An image that may not be chosen. With `digest`: these bytes under any tag, and no other bytes."""

    image: str
    tag: str | None = None
    digest: str | None = None
    reason: str = ""
    source: str = ""
    """`commit 1234abcd`, `Quarantine apps/web-1`, `Kustomization apps/shop`: for people."""
    origin: Origin = Origin.COMMIT
    since: datetime | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A tag whose rollout was healthy in `environment` (`namespace/name` of a Kustomization) since `at`."""

    tag: str
    at: datetime
    digest: str | None = None
    environment: str = ""
    revision: str | None = None
    """`branch@sha1:<commit>` that was applied."""
    withdrawn: datetime | None = None
    """It failed later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All of it for one policy. Two equal situations give equal answers, until `Gated.until`."""

    freezes: tuple[Freeze, ...] = ()
    """Those that apply to this policy, by namespace and labels; their times are judged by the gate."""
    quarantined: tuple[Quarantined, ...] = ()
    hold: Hold | None = None
    denied: tuple[DenyWish, ...] = ()
    """By command. Of two about the same, the first is told."""
    approvals: tuple[ApprovalWish, ...] = ()
    upstream: tuple[Proven, ...] | None = None
    """What the policy of `after` has proven; None = there is no source: it holds."""
    upstream_source: str = ""
    """Where that was read, or why there is none."""
    group: Mapping[str, frozenset[str]] | None = field(default=None, hash=False)
    """For `group`: by other member the tags that it would take (its ordered eligible candidates)."""
    group_problem: str = ""
    """Why the group cannot move at all (a member failed, another strategy)."""
    node_platforms: tuple[str, ...] | None = None
    """For `fromNodes`; None = not known: it holds."""
    breaker: str = ""
    """Why the breaker is open."""
    start: tuple[Proven, ...] | None = None
    """For `start: proven` while this environment has proven nothing: what others have proven."""
    start_problem: str = ""
    """Why that cannot be known: it holds."""


def has_gates(policy: ImagePolicy) -> bool:
    """Does the policy itself ask for anything beside its tags? Most do not."""
    return bool(
        policy.min_age
        or policy.platforms
        or policy.from_nodes
        or policy.verify is not None
        or policy.windows
        or policy.after is not None
        or policy.group is not None
        or policy.approvals > 0
        or policy.start is not Start.NEWEST
    )
