"""What the sync half keeps of one Kustomization between two looks at it, and what counts as its content."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from image_updater.api.model import Kustomization
from image_updater.controller.sync.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.api.model import ObjectKey
    from image_updater.cluster.model import Ref
    from image_updater.controller.cache import Entry
    from image_updater.controller.sources.fetching import Revision
    from image_updater.controller.status import Ready
    from image_updater.controller.sync.agenda import Priority
    from image_updater.errors import ImageUpdaterError
    from image_updater.pipeline.building import Plan
    from image_updater.sync.model import Applied
    from image_updater.sync.model import Entry as Line

_NO_CONTENT: Final = frozenset({"meta", "interval", "retry_interval", "timeout", "suspend", "depends_on", "on_failure"})
"""Fields of a Kustomization that change nothing of what is applied, and how."""


def content_of(plan: Plan, kustomization: Kustomization, account: str | None) -> str:
    """Equal for equal renders that are applied in the same way by the same account."""
    names = [each.name for each in dataclasses.fields(kustomization) if each.name not in _NO_CONTENT]
    parts = [plan.key, account or "", *(f"{name}={getattr(kustomization, name)!r}" for name in names)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def content_of_error(error: ImageUpdaterError) -> str:
    """An equal error is not told twice."""
    return "error " + hashlib.sha256(str(error).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True)
class State:
    """See the module."""

    key: ObjectKey
    entry: Entry
    owned: bool
    """Of our shard: we work on it. Of the others it is known what they will be."""
    revision: Revision | None = None
    plan: Plan | ImageUpdaterError | None = None
    """Of `revision`; None: there is no revision yet."""
    content: str | None = None
    """Of `plan`, or of its error."""
    tried: str | None = None
    """The content that was worked on last."""
    applied: str | None = None
    """The content that was applied whole."""
    settled: str | None = None
    """The content that was applied, and is healthy where that is waited for."""
    built: str | None = None
    """The content that the index of objects knows."""
    unbuilt: str | None = None
    """The content of which the index knows only what its files can be about."""
    means: tuple[str | None, Callable[[Ref], bool]] | None = None
    """Of another shard's: for which content, what its files can be about."""
    listed: str | None = None
    """The content that the objects in its status are of: what failed, differs, is not healthy. None: not known."""
    generation: int = 0
    """Of the object, when it was worked on last."""
    ready: Ready | None = None
    """What its status was told last."""
    since: float | None = None
    """When it was worked on before its source was fetched for the first time."""
    untold: bool = False
    """Its status says what may be over in a moment, and no Event does yet."""

    inventory: tuple[Line, ...] | None = None
    """As it stands on the server; None: not read yet."""
    known: dict[Ref, Applied] = field(default_factory=dict)
    held: tuple[Ref, ...] = ()
    """What left Git and waits for another Kustomization."""
    contested: tuple[Ref, ...] = ()
    """What is another Kustomization's as long as that one renders it."""
    yielded: dict[Ref, float] = field(default_factory=dict)
    """What was its own and one of another shard has taken, with the moment when that was seen."""
    breaker: Breaker = field(default_factory=Breaker)

    dirty: bool = True
    """Something else than its content asks for work: it is new, its spec changed, somebody asked."""
    force: bool = False
    """Every object is to be asked about, whatever is known."""
    working: bool = False
    again: Priority | None = None
    """Something happened while it was being worked on."""
    newer: bool = False
    """What is being done is out of date."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends the wait for health that is under way."""
    waiter: asyncio.Task[None] | None = None
    deadline: float | None = None
    """When the wait for the health of this content is over."""
    waits_for: frozenset[ObjectKey] = frozenset()
    """The Kustomizations whose readiness it was refused for."""
    failures: int = 0
    memory: str | None = None
    """What `known` is remembered as: it is of one cluster and one account. None: not read yet."""

    def tried_another(self, applied: str | None) -> bool:
        """Whether what was tried is something else than the objects in its status are of: they may not even be in it.
        `applied` is what status says was applied whole: before anything was told, the best guess.
        """
        if not isinstance(self.entry.value, Kustomization):
            return True
        return self.tried is not None and self.tried == self.content != (self.listed or applied)

    @property
    def uid(self) -> str:
        return self.entry.uid
