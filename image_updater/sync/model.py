"""What the sync is asked and what it answers: frozen values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from image_updater.api.model import Kustomization, ObjectKey
    from image_updater.cluster.model import Body, Ref
    from image_updater.errors import ImageUpdaterError, Where

MANAGER = "image-updater"
"""Our field manager, for objects and for status."""

OWNER_NAME = "kustomize.image-updater.dev/name"
OWNER_NAMESPACE = "kustomize.image-updater.dev/namespace"
"""Labels of everything that is applied: which Kustomization it belongs to. They can veto a prune, never cause one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One rendered object, with all that the Kustomization adds (namespace, owner labels, common metadata)."""

    ref: Ref
    api_version: str
    body: Body = field(repr=False)
    digest: str
    """Of the body: equal digests are equal objects."""
    where: Where | None = field(default=None, compare=False)
    """Where it was read (file and line, when they are known), with the object's name."""
    scaled: bool = False
    """Something in the cluster sets its `spec.replicas`: it is not in the body, and not to be taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of an inventory: Flux's `{id, v}`. `version` is the API version without group that was applied."""

    ref: Ref
    version: str


class Action(StrEnum):
    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    """Sent, and the server found nothing to change."""
    EQUAL = "equal"
    """Known to be equal: not sent."""
    DRIFTED = "drifted"
    """It differs, and `drift: warn` leaves it."""
    SKIPPED = "skipped"
    """An annotation says that we leave it alone."""
    RECREATED = "recreated"
    PRUNED = "pruned"
    ORPHANED = "orphaned"
    """It left Git and stays in the cluster (prune is off, vetoed or disabled): out of the inventory."""
    HELD = "held"
    """It left Git, but another Kustomization takes it over, or may: neither deleted nor out of the inventory yet."""
    YIELDED = "yielded"
    """It was ours, and another Kustomization has taken it, which may know a newer commit than we do: left to it."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What happened to one object. `fields` are the paths that differed, `reason` why it was skipped or failed."""

    ref: Ref
    action: Action
    fields: tuple[str, ...] = ()
    reason: str = ""
    error: ImageUpdaterError | None = None


class Condition(StrEnum):
    """kstatus' answers about one object."""

    CURRENT = "Current"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    NOT_FOUND = "NotFound"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    ref: Ref
    condition: Condition
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What the other Kustomizations that apply to this cluster have to do with one object.

    `renders` is one that holds it in its newest build. `unsettled` is one whose newest revision has not been built (it
    is under way, or it failed), so that it may hold it; whoever answers should name only those that can be meant.
    `behind` is the source of that one, where the commit that we are at was not read from it yet.
    """

    renders: ObjectKey | None = None
    unsettled: ObjectKey | None = None
    behind: ObjectKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """One sync of one Kustomization: these manifests, from this revision, beside what the inventory holds.

    `manifests` have been built and prepared; `inventory` is what status held. `digests` are the manifests' digests that
    the cluster is known to hold with the hash of our managedFields entry (an empty mapping: nothing is known).
    """

    kustomization: Kustomization
    revision: str
    manifests: tuple[Manifest, ...]
    inventory: tuple[Entry, ...] = ()
    known: Mapping[Ref, Applied] = field(default_factory=dict)
    force_all: bool = False
    """Ask the server about every object, whatever is known (the interval is over, or somebody asked)."""
    elsewhere: Callable[[Ref], Elsewhere] | None = field(default=None, compare=False, repr=False)
    """Asked at the moment of a decision: an object that another Kustomization renders, or may render, is not pruned,
    and is not taken from it while it says so. None: nothing is known of others, and only the owner labels veto."""
    yields: Callable[[Ref, ObjectKey], bool] | None = field(default=None, compare=False, repr=False)
    """Asked before an object that we had applied, and that carries the labels of another Kustomization now (the second
    argument, as labels name it), is taken back: whether it is left to that one for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What the cluster held after our last apply: the manifest's digest, the object's uid, and the hash of our own
    managedFields entry (`fieldsV1`), which changes when, and only when, a field that we set was changed or taken.
    """

    digest: str
    uid: str
    fields: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What one sync did. `inventory` is what must stand in status now; `ok` says that everything was applied."""

    revision: str
    done: tuple[Done, ...] = ()
    inventory: tuple[Entry, ...] = ()
    known: Mapping[Ref, Applied] = field(default_factory=dict)
    errors: tuple[ImageUpdaterError, ...] = ()
    preempted: bool = False
    """It stopped between two objects because something more urgent came: the inventory is still the union."""

    @property
    def ok(self) -> bool:
        return not self.errors and not self.preempted

    @property
    def held(self) -> tuple[Ref, ...]:
        """What waits for another Kustomization: sync again when that one was built or synced."""
        return tuple(each.ref for each in self.done if each.action is Action.HELD)

    @property
    def yielded(self) -> tuple[Ref, ...]:
        """What another Kustomization has for now: sync again soon."""
        return tuple(each.ref for each in self.done if each.action is Action.YIELDED)

    @property
    def changed(self) -> bool:
        return any(each.action not in _QUIET for each in self.done)


_QUIET = frozenset({Action.EQUAL, Action.UNCHANGED, Action.SKIPPED, Action.DRIFTED, Action.HELD, Action.YIELDED})
