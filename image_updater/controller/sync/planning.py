"""What each Kustomization will be at the newest revision of its source: planned together, told one by one.

A commit is planned for all Kustomizations of its repository in one go (milliseconds: pipeline/building.py), before the
first of them is built. So it is known at once which ones it changes, and which ones may take an object over that
another one loses.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from image_updater.api.model import Kustomization
from image_updater.controller.sources.fetching import LAG
from image_updater.controller.sources.twins import Twins
from image_updater.controller.sync.elsewhere import mentions
from image_updater.controller.sync.remoteclusters import target_name
from image_updater.controller.sync.states import State, content_of, content_of_error
from image_updater.errors import DocumentError, ImageUpdaterError
from image_updater.pipeline.building import Plan
from image_updater.pipeline.tasks import Tasks
from image_updater.sync.inventory import load
from image_updater.sync.watches import labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from image_updater.api.model import ObjectKey
    from image_updater.cluster.model import Ref
    from image_updater.controller.context import Context
    from image_updater.controller.sources.fetching import Revision
    from image_updater.controller.sources.repositories import Sources
    from image_updater.controller.sync.elsewhere import Index
    from image_updater.pipeline.building import Builds


class Planning:
    """See the module. Used from one event loop."""

    def __init__(
        self,
        context: Context,
        sources: Sources,
        builds: Builds,
        *,
        states: Mapping[ObjectKey, State],
        index: Index,
        account: Callable[[Kustomization], str | None],
        planned: Callable[[State], None],
        noted: Callable[[], None],
    ) -> None:
        """`planned` is called for each Kustomization of ours, when all of its source are planned; `noted`, when more is
        known of one that is not built.
        """
        self._context = context
        self._sources = sources
        self._twins = Twins(context, sources)
        self._builds = builds
        self._states = states
        self._index = index
        self._account = account
        self._planned = planned
        self._noted = noted
        self._due: dict[ObjectKey, set[ObjectKey]] = {}
        self._busy: dict[ObjectKey, set[ObjectKey]] = {}
        """By source those whose plan is being made."""
        self._tasks = Tasks()
        index.late = self.late

    def plan(self, source: ObjectKey, keys: Iterable[ObjectKey]) -> None:
        """Soon, and once however often it is asked for meanwhile."""
        self._due.setdefault(source, set()).update(keys)
        if source not in self._busy:
            self._busy[source] = set()
            self._tasks.start(self._run(source))

    def plan_all(self, source: ObjectKey) -> None:
        """Its revision moved."""
        self.plan(source, [key for key, state in self._states.items() if _source(state) == source])
        for twin in self._sources.alike(source):
            others = [state for state in self._states.values() if not state.owned and _source(state) == twin]
            for state in others:
                # Until it is planned, what ours lose may go there.
                state.unbuilt = None
                value: Any = state.entry.value
                self._index.unsettle(state.key, target_name(value))
            self.plan(twin, [state.key for state in others])
        revision = self._sources.revision(source)
        if revision is not None:
            for other in {_source(state) for state in self._states.values()} - {None, source}:
                assert other is not None
                self._twins.is_late(other, revision)  # which asks for it

    def late(self, key: ObjectKey, cluster: str, ref: Ref) -> tuple[ObjectKey, ObjectKey] | None:
        """One that may hold what `key` lost, and its source: that one is not read as far as the commit that `key` is
        at, or is being planned for it.
        """
        state = self._states.get(key)
        revision = state.revision if state is not None and _source(state) is not None else None
        if revision is None:
            return None
        found: dict[ObjectKey, bool] = {}
        for other, each in self._states.items():
            source, value = _source(each), each.entry.value
            if source in (None, revision.repository) or not isinstance(value, Kustomization) or value.suspend:
                continue
            if each.revision is not None and each.revision.commit == revision.commit:
                continue
            assert source is not None
            if source not in found:
                newest = self._sources.revision(source)
                planned = newest is not None and newest.commit == revision.commit
                found[source] = planned or self._twins.is_late(source, revision)
            if not found[source] or target_name(value) != cluster or ref in self._index.refused(other):
                continue
            if value.target_namespace is None or ref.namespace in ("", value.target_namespace):
                return other, source
        return None

    async def close(self) -> None:
        await self._tasks.stop()

    async def _run(self, source: ObjectKey) -> None:
        try:
            await self._plan_due(source)
        finally:
            # At once: whoever asks before this task is told to be over has to begin another one.
            del self._busy[source]

    async def _plan_due(self, source: ObjectKey) -> None:
        while keys := self._due.pop(source, None):
            self._busy[source] = keys
            wanted = {
                key: state.entry
                for key in sorted(keys)
                if (state := self._states.get(key)) is not None and _source(state) == source
            }
            revision = self._sources.revision(source)
            if revision is None and not any(self._states[key].owned for key in wanted):
                revision = self._sources.guess(source)
            answers: Mapping[ObjectKey, Plan | ImageUpdaterError] = {}
            if revision is not None:
                specs = [entry.value for entry in wanted.values() if isinstance(entry.value, Kustomization)]
                answers = await self._builds.plan_all(revision.tree, specs, line=revision.line)
            done = []
            for key, entry in wanted.items():
                state = self._states.get(key)
                # A spec that has changed meanwhile is planned again by itself.
                if state is not None and state.entry.uid == entry.uid and state.entry.value == entry.value:
                    await self._note(state, revision, answers.get(key))
                    done.append(state)
                keys.discard(key)
            for state in done:
                if state.owned:
                    self._planned(state)

    async def _note(self, state: State, revision: Revision | None, answer: Plan | ImageUpdaterError | None) -> None:
        kustomization = state.entry.value
        assert isinstance(kustomization, Kustomization)
        state.revision, state.plan = revision, answer
        if isinstance(answer, Plan):
            state.content = content_of(answer, kustomization, self._account(kustomization))
        else:
            state.content = content_of_error(answer) if answer is not None else None
        name = target_name(kustomization)
        if not state.owned:
            await self._note_other(state, name)
        elif answer is None or kustomization.suspend:
            return  # what it held at last is what it holds
        elif isinstance(answer, Plan):
            if state.built == state.content:
                self._index.settle(state.key)
            elif state.unbuilt != state.content:
                state.unbuilt = None
                self._index.unsettle(state.key, name)
        else:
            state.unbuilt = state.content
            self._index.unsettle(state.key, name, await self._meant(state))

    async def _note_other(self, state: State, name: str) -> None:
        """One of another shard, whose builds are not ours to see: until it has applied what it will be, it holds up
        prunes of objects that its files can be about.
        """
        content = state.content
        applied = self._read_other(state, name)
        if self._is_due(state):  # what an older revision says of it holds for nothing
            state.unbuilt = None
            self._index.unsettle(state.key, name)
            return
        if applied:
            self._settle_other(state)
        if applied or content is None or state.unbuilt == content:
            return
        self._index.unsettle(state.key, name)
        means = await self._meant(state)
        if state.content == content and not self._is_due(state):
            state.unbuilt = content
            self._index.unsettle(state.key, name, means)
            self._noted()

    def _read_other(self, state: State, name: str) -> bool:
        """What status says that it has applied; whether that is what it will be, as far as anybody here knows.

        Where its source is not read here, or it is suspended, nothing of it moves for us; and what it has applied
        carries its labels, which veto, so that an inventory in ConfigMaps need not be read.
        """
        status, kustomization = state.entry.status, state.entry.value
        try:
            lines = load(status.get("inventory"))
        except DocumentError:
            lines = ()
        suspended = isinstance(kustomization, Kustomization) and kustomization.suspend
        still = None if suspended or state.plan is None else self._lazily(state)
        self._index.known(state.key, name, (line.ref for line in lines), still)
        return suspended or state.content is None or status.get("lastAppliedContent") == state.content

    def _settle_other(self, state: State) -> None:
        state.unbuilt = None
        self._index.settle(state.key)

    def _is_due(self, state: State) -> bool:
        """Whether it is planned again as soon as the run that is under way is over."""
        source = _source(state)
        return source is not None and state.key in self._due.get(source, ())

    def refresh_others(self) -> None:
        """Their status moves without anybody being told: looked at before it is relied on. Nothing else is taken from
        there: a spec that changed is told.
        """
        for key, state in self._states.items():
            entry = None if state.owned else self._context.cache.get("Kustomization", key)
            value = state.entry.value
            if entry is None or entry.uid != state.uid or not isinstance(value, Kustomization):
                continue
            state.entry = replace(state.entry, status=entry.status)
            name = target_name(value)
            applied = self._read_other(state, name)
            if self._is_due(state) or key in self._busy.get(_source(state) or key, ()):
                continue  # what it will be is being found out: an older revision settles nothing
            if applied:
                self._settle_other(state)
            elif state.unbuilt != state.content:
                self._index.unsettle(key, name)
                if value.source_ref is not None:
                    self.plan(value.source_ref, [key])

    def yields(self, state: State, ref: Ref, owner: ObjectKey) -> bool:
        """Whether what `state` had applied is left to `owner` (as labels name it), which has it now.

        Shards do not read a commit at the same moment: one of another shard takes what moved to it before we know
        that it moved. To set that back would be a fight, which ends with both giving up. So Git is asked first, and
        while what it says is not newer than that look by LAG seconds (replicas), the other one is believed.
        """
        taken = any(labelled(key) == owner and _is_others(other) for key, other in self._states.items())
        source = _source(state)
        revision = self._sources.revision(source) if source is not None else None
        if not taken or source is None or revision is None or not revision.branch:
            return False  # a commit that is pinned is never behind
        now = self._context.monotonic()
        since = state.yielded.setdefault(ref, now)
        if revision.read_at > since + LAG:
            return False
        if revision.read_at <= since or now > since + LAG:
            self._sources.hurry(source)
        return True

    async def note_unbuilt(self, state: State, kustomization: Kustomization) -> None:
        """It was looked at and not built: it does not build, or something keeps it from being applied. Until that is
        mended it holds up no other one's prune, but of objects that its files can be about.
        """
        content = state.content
        if content is None or content in (state.built, state.unbuilt):
            return
        means = await self._meant(state)
        if state.content == content != state.built:
            state.unbuilt = content
            self._index.unsettle(state.key, target_name(kustomization), means)
            self._noted()

    async def _meant(self, state: State) -> Callable[[Ref], bool]:
        """For one that is not built: which objects its files may be about."""
        return await asyncio.to_thread(_mentions, state.revision, state.plan, state.entry.value)

    def _lazily(self, state: State) -> Callable[[Ref], bool]:
        """The same for one of another shard, read when it is asked about an object that it holds: hardly ever."""
        if state.means is not None and state.means[0] == state.content:
            return state.means[1]
        inputs = (state.revision, state.plan, state.entry.value)
        read: list[Callable[[Ref], bool]] = []

        def means(ref: Ref) -> bool:
            if not read:
                read.append(_mentions(*inputs))
            return read[0](ref)

        state.means = (state.content, means)
        return means


def _is_others(state: State) -> bool:
    return not state.owned and not state.entry.deleting


def _source(state: State) -> ObjectKey | None:
    value: Any = state.entry.value
    return value.source_ref if isinstance(value, Kustomization) and not state.entry.deleting else None


def _mentions(revision: Revision | None, plan: object, kustomization: object) -> Callable[[Ref], bool]:
    assert isinstance(kustomization, Kustomization)
    prefix, suffix = kustomization.name_prefix or "", kustomization.name_suffix or ""
    texts: list[bytes] = []
    if isinstance(plan, Plan):
        texts = [plan.tree.read(path) for path in sorted(plan.root.closure)]
    elif revision is not None:
        folder = "" if kustomization.path in (".", "") else kustomization.path.removeprefix("./").rstrip("/") + "/"
        tree = revision.tree
        paths = [path for path in tree.files() if path.startswith(folder) and path.endswith((".yaml", ".yml", ".json"))]
        texts = [tree.read(path) for path in paths]
    return mentions(
        texts,
        prefix=prefix,
        suffix=suffix,
        namespace=kustomization.key.namespace,
        target=kustomization.target_namespace,
    )
