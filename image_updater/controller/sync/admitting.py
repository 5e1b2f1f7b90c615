"""What keeps a Kustomization from being applied: its references, its source, what it depends on. No requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.model import Kustomization, ObjectKey
from image_updater.controller.status import standing
from image_updater.controller.sync.dependencies import DependencyCycle, DependencyNotReady
from image_updater.errors import AccessDenied, DocumentError, ImageUpdaterError, SpecError, Waiting, Where
from image_updater.pipeline.daemon.branches import SourceNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from image_updater.controller.context import Context
    from image_updater.controller.sources.fetching import Revision
    from image_updater.controller.sources.repositories import Sources
    from image_updater.controller.sync.states import State
    from image_updater.pipeline.building import Plan


class SourceNotReady(Waiting):
    """There is no revision to apply yet. What was applied from an older one stays, and what was said of it."""

    reason = "SourceNotReady"


class Admitting:
    """See the module."""

    def __init__(
        self,
        context: Context,
        sources: Sources,
        *,
        states: Mapping[ObjectKey, State],
        cycles: Callable[[], Mapping[ObjectKey, tuple[ObjectKey, ...]]],
    ) -> None:
        self._context = context
        self._sources = sources
        self._states = states
        self._cycles = cycles

    def check(self, state: State, kustomization: Kustomization) -> tuple[Plan, Revision]:
        """Raises what keeps it from being applied."""
        where = Where(object=f"Kustomization {state.key}", field="spec.sourceRef")
        source = kustomization.source_ref
        if source is None:
            raise SpecError("a cluster needs it", where=where, remedy="name a GitRepository")
        for field, key in (("spec.sourceRef", source), *(("spec.dependsOn", key) for key in kustomization.depends_on)):
            if key.namespace != state.key.namespace and not self._context.settings.allow_cross_namespace_refs:
                raise AccessDenied(
                    f"{key} is in another namespace",
                    where=Where(object=where.object, field=field),
                    remedy="--allow-cross-namespace-refs lets objects name others there",
                )
        cycle = self._cycles().get(state.key)
        if cycle is not None:
            place = Where(object=where.object, field="spec.dependsOn")
            raise DependencyCycle(f"it waits for itself: {' → '.join(map(str, cycle))}", where=place)
        repository = self._context.cache.get("GitRepository", source)
        if repository is None:
            raise SourceNotFound(
                f"there is no GitRepository {source}", where=where, remedy="add it, or correct the name"
            )
        if state.plan is None or state.revision is None:
            error, name = self._sources.error(source), f"GitRepository {source}"
            said = f": {str(error).removeprefix(f'{name}: ')}" if error else " is not fetched yet"
            raise SourceNotReady(f"{name}{said}")
        self._check_dependencies(state, kustomization)
        state.tried = state.content
        if isinstance(state.plan, ImageUpdaterError):
            raise state.plan
        return state.plan, state.revision

    def _check_dependencies(self, state: State, kustomization: Kustomization) -> None:
        missing = {key: why for key in kustomization.depends_on if (why := self.unready(key)) is not None}
        if missing:
            state.waits_for = frozenset(missing)
            shown = "; ".join(f"{key}, which {why}" for key, why in list(missing.items())[:3])
            more = f"; and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise DependencyNotReady(f"waits for {shown}{more}")

    def unready(self, key: ObjectKey) -> str | None:
        """Why a Kustomization does not count as applied and ready at its source's newest revision; None: it does."""
        state = self._states.get(key)
        if state is None:
            return "does not exist"
        entry = state.entry if state.owned else self._context.cache.get("Kustomization", key) or state.entry
        if entry.deleting:
            return "is being deleted"
        status = self._context.status.current(entry) if state.owned else entry.status
        worked = state.owned and state.generation > 0
        if (state.generation if worked else status.get("observedGeneration")) != entry.generation:
            return "is not applied yet"
        source = entry.value.source_ref if isinstance(entry.value, Kustomization) else None
        newest = self._sources.revision(source) if source is not None else None
        # Of another shard, from a source that nothing here reads: what its status says is all there is to go by.
        unread = newest is None and not state.owned
        if not unread and (newest is None or state.revision is None or newest.commit != state.revision.commit):
            return "is not at the newest revision of its source"
        # Status is written behind what it was told.
        ready = state.ready if worked and state.ready is not None else standing(status)
        settled = state.settled if worked else status.get("lastAppliedContent")
        if (not unread and settled != state.content) or (not worked and (ready is None or ready.state is not True)):
            reason = ready.reason if ready is not None else "Progressing"
            return "is suspended" if reason == "Suspended" else f"is not ready ({reason})"
        return None

    def may_come(self, state: State, error: ImageUpdaterError) -> bool:
        """Whether it is only too early for a new object: objects of one file are made one after the other, and the
        commit that brings its path may be newer than the last fetch. Nobody is told by an Event before a second look.
        """
        kustomization = state.entry.value
        if isinstance(error, SourceNotFound):
            return True
        if not isinstance(kustomization, Kustomization) or kustomization.source_ref is None:
            return False
        if self._sources.error(kustomization.source_ref) is not None:
            return False
        if isinstance(error, SourceNotReady):
            return True
        if error is not state.plan or state.revision is None or not isinstance(error, DocumentError):
            return False
        folder = kustomization.path.removeprefix("./").strip("/") + "/"
        if any(path.startswith(folder) for path in state.revision.tree.files()):
            return False
        self._sources.hurry(kustomization.source_ref)
        return True
