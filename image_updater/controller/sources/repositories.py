"""GitRepository objects: what each points to, fetched at its interval, verified before anybody uses it.

A fetch that fails, a spec that is wrong and a signature that is missing keep the revision that was there: nothing is
decided on what could not be read. Git is asked at `interval` only for those that a Kustomization or an automation
refers to; for the others once, so that their status can say whether they would work.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import GitRepository, ObjectKey
from image_updater.api.status import status_fields
from image_updater.controller.sources.fetching import Fetch, FetchKey, Revision, fetch_key
from image_updater.controller.sources.twins import place_of
from image_updater.controller.status import Decision, Ready, suspended
from image_updater.controller.sync.outcomes import short
from image_updater.errors import ImageUpdaterError, SecretNotFound, SpecError, Transient, Where
from image_updater.git import access_for, keys_from_secret, urls
from image_updater.git.errors import GitAuthenticationFailed
from image_updater.pipeline.daemon.scheduler import Schedule
from image_updater.pipeline.tasks import Tasks, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.git import GitAccess, Mirror, Tip, TrustedKeys

AT_ONCE: Final = 16
"""Fetches under way."""

KIND: Final = "GitRepository"
_USERS: Final = ("Kustomization", "ImageUpdateAutomation")
_PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY")


@dataclass(slots=True)
class _Source:
    """What is known of one GitRepository."""

    entry: Entry
    fetch: FetchKey | None = None
    revision: Revision | None = None
    verified: str | None = None
    error: ImageUpdaterError | None = None
    secrets: frozenset[ObjectKey] = field(default_factory=frozenset)


class Sources:
    """See the module. `await run()` until cancelled; used from one event loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._mirrors = context.session.mirrors
        # What the environment offers to a person at a terminal is not offered to everybody who may create an object.
        self._environment = {name: value for name, value in context.environment.items() if name.upper() in _PROXIES}
        self._sources: dict[ObjectKey, _Source] = {}
        self._used: dict[ObjectKey, bool] = {}
        """The repositories that something refers to; True where it is something of ours."""
        self._fetches: dict[FetchKey, Fetch] = {}
        self._schedule: Schedule[FetchKey] = Schedule(context.dice)
        self._listeners: list[Callable[[Revision], None]] = []
        self._tasks = Tasks()
        self._wake = asyncio.Event()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.fetched = 0
        """Fetches so far."""
        context.secrets.subscribe(self._secrets_changed)

    # ------------------------------------------------------------------------------------------- from outside

    def subscribe(self, listener: Callable[[Revision], None]) -> None:
        """Be told of every new revision. The listener must not wait."""
        self._listeners.append(listener)

    def revision(self, key: ObjectKey) -> Revision | None:
        """The last good one."""
        source = self._sources.get(key)
        return source.revision if source is not None else None

    def error(self, key: ObjectKey) -> ImageUpdaterError | None:
        """Why there is no newer one."""
        source = self._sources.get(key)
        return source.error if source is not None else None

    def reads(self, key: ObjectKey) -> bool:
        return key in self._sources

    def fetch(self, key: ObjectKey) -> Fetch | None:
        """What reads it now."""
        source = self._sources.get(key)
        return self._fetches.get(source.fetch) if source is not None and source.fetch is not None else None

    def alike(self, key: ObjectKey) -> tuple[ObjectKey, ...]:
        """GitRepositories of other shards that are not read here, and are the same repository at the same ref."""
        cache = self._context.cache
        place = place_of(cache, key)
        if not self._context.settings.selector or place is None:
            return ()
        others = cache.entries(KIND).keys() - self._sources.keys()
        return tuple(other for other in sorted(others) if place_of(cache, other) == place)

    def guess(self, key: ObjectKey) -> Revision | None:
        """What a GitRepository that is not read here points to, as far as one of ours that is alike tells. Good for
        planning what others will do, and for nothing else: nobody has shown the login that this one names.
        """
        cache = self._context.cache
        place = place_of(cache, key)
        if key in self._sources or place is None:
            return None
        found = (each.revision for other, each in self._sources.items() if place_of(cache, other) == place)
        return next((revision for revision in found if revision is not None), None)

    def hurry(self, key: ObjectKey) -> None:
        """Ask Git now: somebody needs what may have come since the last fetch."""
        fetch = self.fetch(key)
        if fetch is not None and fetch.ref.commit is None:
            self._hurry(fetch)

    def on_pushed(self, url: str, branch: str, commit: str) -> None:
        """We have pushed: whoever reads that branch goes on at once."""
        try:
            name = urls.normalise(url)
        except SpecError:
            return
        for fetch in self._fetches.values():
            if fetch.key[0] == name and fetch.ref.commit is None and fetch.ref.tag is None:
                if fetch.branch == branch:
                    self._tasks.start(self._take(fetch, branch, commit))
                elif fetch.branch is None:
                    self._hurry(fetch)

    # ------------------------------------------------------------------------------------------- the loop

    async def run(self) -> None:
        """For ever: changes of objects, and what is due."""
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                now = self._context.monotonic()
                while (key := self._schedule.pop(now)) is not None:
                    self._start(key)
                due = self._schedule.next_due()
                seconds = None if due is None or math.isinf(due) else due - self._context.monotonic()
                waiting = asyncio.create_task(pause(self._wake, seconds))
                done, _ = await asyncio.wait({waiting, watching}, return_when=asyncio.FIRST_COMPLETED)
                self._wake.clear()
                if watching in done:
                    waiting.cancel()
                    await watching
        finally:
            watching.cancel()
            await self._tasks.stop()

    async def _watch(self) -> None:
        changes = self._context.cache.subscribe([KIND, *_USERS])
        while True:
            changed = await changes.next()
            named = {key for kind, key in changed if kind == KIND}
            if any(kind != KIND for kind, _ in changed):
                before, self._used = self._used, self._uses()
                named |= {key for key in before | self._used if before.get(key) != self._used.get(key)}
            await asyncio.gather(*(self._look(key) for key in sorted(named)))
            self._wake.set()

    def _uses(self) -> dict[ObjectKey, bool]:
        used: dict[ObjectKey, bool] = {}
        across = self._context.settings.allow_cross_namespace_refs
        for kind in _USERS:
            for entry in self._context.cache.entries(kind).values():
                if entry.value is not None and entry.value.source_ref is not None and not entry.value.suspend:
                    key = entry.value.source_ref
                    if key.namespace != entry.key.namespace and not across:
                        continue
                    used[key] = used.get(key, False) or self._context.owns(entry)
        return used

    # ------------------------------------------------------------------------------------------- one object

    async def _look(self, key: ObjectKey) -> None:
        """The object as it is now: which fetch serves it, and when that is due."""
        entry = self._context.cache.get(KIND, key)
        source = self._sources.get(key)
        if source is not None and (entry is None or source.entry.uid != entry.uid):
            self._drop(key)
            source = None
        if entry is None or entry.deleting or not (self._context.owns(entry) or self._used.get(key, False)):
            self._drop(key)
            return
        if source is None:
            source = self._sources[key] = _Source(entry=entry)
        source.entry = entry
        repository = entry.value
        try:
            if not isinstance(repository, GitRepository):
                raise entry.error or SpecError("is no GitRepository", where=Where(object=f"{KIND} {key}"))
            access = None if repository.suspend else await self._access(repository, source)
        except ImageUpdaterError as error:
            if self._sources.get(key) is source and source.entry is entry:
                self._leave(source)
                source.error = error
                self._tell(source)
            return
        if self._sources.get(key) is not source or source.entry is not entry:
            return  # it has changed meanwhile, and that is looked at by itself
        if access is None:
            self._leave(source)
            self._tell(source)
        else:
            self._join(source, repository, access)

    async def _access(self, repository: GitRepository, source: _Source) -> GitAccess:
        secrets = self._context.secrets
        where = Where(object=f"{KIND} {repository.key}", field="spec.url")
        if urls.parse(repository.url, where=where).local:
            raise SpecError(
                "a path of the controller's own file system is no repository of a cluster",
                where=where,
                remedy="write https://, http:// or ssh://",
            )
        names = [repository.secret_ref, repository.cert_secret_ref, repository.proxy_secret_ref]
        if repository.verify is not None:
            names.append(repository.verify.secret_ref)
        source.secrets = frozenset(ObjectKey(repository.key.namespace, name) for name in names if name is not None)
        secrets.want(f"{KIND} {repository.key}", source.secrets)
        if self._asked(source.entry):
            await secrets.need(source.secrets, fresh=0.0)
        else:
            await secrets.need(source.secrets)
        if repository.verify is not None:
            self._keys(repository)
        return access_for(repository, secrets, self._environment)

    def _asked(self, entry: Entry) -> bool:
        """Whether somebody wants it looked at now, by annotation."""
        handled = self._context.status.current(entry).get("lastHandledReconcileAt")
        return entry.requested is not None and entry.requested != handled

    def _join(self, source: _Source, repository: GitRepository, access: GitAccess) -> None:
        key = fetch_key(repository.url, access, repository.ref)
        fetch = self._fetches.get(key)
        if fetch is None:
            fetch = Fetch(key, repository.url, access, repository.ref, monotonic=self._context.monotonic)
            self._fetches[key] = fetch
        moved = source.fetch != key
        if moved:
            self._leave(source)
            source.fetch = key
            fetch.members.add(repository.key)
        rotated = fetch.access != access
        fetch.access, fetch.url = access, repository.url
        entry = source.entry
        edited = self._context.status.current(entry).get("observedGeneration") != entry.generation
        if moved or rotated or edited or self._asked(entry) or source.revision is None:
            self._hurry(fetch)
        else:
            self._pace(fetch)

    def _leave(self, source: _Source) -> None:
        if source.fetch is None:
            return
        fetch = self._fetches.get(source.fetch)
        source.fetch = None
        if fetch is not None:
            fetch.members.discard(source.entry.key)
            if not fetch.members:
                del self._fetches[fetch.key]
                self._schedule.drop(fetch.key)

    def _drop(self, key: ObjectKey) -> None:
        source = self._sources.pop(key, None)
        if source is not None:
            self._leave(source)
            self._context.secrets.want(f"{KIND} {key}", ())

    def _secrets_changed(self, keys: frozenset[ObjectKey]) -> None:
        touched = [key for key, source in self._sources.items() if source.secrets & keys]
        if touched:
            self._tasks.start(self._look_again(touched))

    async def _look_again(self, keys: Iterable[ObjectKey]) -> None:
        for key in keys:
            await self._look(key)
            source = self._sources.get(key)
            if source is not None and source.fetch is not None:
                self._hurry(self._fetches[source.fetch])

    # ------------------------------------------------------------------------------------------- one fetch

    def _hurry(self, fetch: Fetch) -> None:
        fetch.again = fetch.busy
        now = self._context.monotonic()
        self._schedule.put(fetch.key, interval=self._interval(fetch), due=now)
        self._schedule.hurry(fetch.key, now)
        self._wake.set()

    def _pace(self, fetch: Fetch) -> None:
        """A nearer interval counts at once."""
        if fetch.key in self._schedule:
            self._schedule.put(fetch.key, interval=self._interval(fetch), due=self._context.monotonic())

    def _interval(self, fetch: Fetch, *, failed: bool = False) -> float:
        """Seconds; without end where nobody needs it, and where nothing can change."""
        if fetch.ref.commit is not None and fetch.tip is not None:
            return math.inf
        members = [source.entry.value for key in fetch.members if (source := self._sources.get(key)) is not None]
        wanted = [
            each.interval.total_seconds()
            for each in members
            if isinstance(each, GitRepository) and (failed or each.key in self._used)
        ]
        return min(wanted, default=math.inf)

    def _start(self, key: FetchKey) -> None:
        fetch = self._fetches.get(key)
        if fetch is None:
            self._schedule.drop(key)
            return
        self._tasks.start(self._refresh(fetch))

    async def _refresh(self, fetch: Fetch) -> None:
        error: ImageUpdaterError | None = None
        try:
            async with self._gate:
                fetch.busy, fetch.again = True, False
                self.fetched += 1
                mirror, tip = await fetch.fetch(self._mirrors)
            await self._publish(fetch, mirror, tip)
        except ImageUpdaterError as caught:
            error = caught
            self._failed(fetch, caught)
        finally:
            self._end(fetch, error)
        if isinstance(error, GitAuthenticationFailed):
            sources = [self._sources[key] for key in fetch.members if key in self._sources]
            wanted = [key for source in sources for key in source.secrets]
            await self._context.secrets.need(wanted, fresh=0.0)  # a changed one is told to `_secrets_changed`

    def _end(self, fetch: Fetch, error: ImageUpdaterError | None) -> None:
        if not fetch.members:
            self._schedule.drop(fetch.key)
            return
        now = self._context.monotonic()
        interval = self._interval(fetch, failed=error is not None)
        until = error.until if isinstance(error, Transient) else None
        wait = (until - self._context.clock()).total_seconds() if until is not None else None
        self._schedule.put(fetch.key, interval=interval, due=now)
        not_before = now + wait if wait is not None and not math.isinf(interval) else None
        self._schedule.done(fetch.key, now, failed=error is not None, not_before=not_before)
        fetch.busy = False
        if fetch.again:
            self._schedule.hurry(fetch.key, now)
        self._wake.set()

    async def _take(self, fetch: Fetch, branch: str, commit: str) -> None:
        try:
            taken = await fetch.take(self._mirrors, branch, commit)
            if taken is not None:
                await self._publish(fetch, *taken)
                return
        except ImageUpdaterError as error:
            self._failed(fetch, error)
        self._hurry(fetch)

    async def _publish(self, fetch: Fetch, mirror: Mirror, tip: Tip) -> None:
        committed = (await asyncio.to_thread(mirror.history, tip.commit, limit=1))[0].when
        for key in sorted(fetch.members):
            source = self._sources.get(key)
            if source is None or source.fetch != fetch.key:
                continue
            entry = source.entry
            try:
                verified = await self._verify(entry, mirror, tip)
            except ImageUpdaterError as error:
                source.error = error
                self._tell(source)
                continue
            if source.entry is not entry:
                continue  # other keys, perhaps: it is due at once
            known = source.revision
            source.error, source.verified = None, verified
            source.revision = Revision(
                repository=key,
                commit=tip.commit,
                branch=tip.branch,
                tree=tip.tree,
                committed=committed,
                line=" ".join(fetch.key),
                read_at=fetch.read_at,
                seen_at=fetch.seen_at,
            )
            self._tell(source)
            if known != source.revision:
                for listener in self._listeners:
                    listener(source.revision)

    async def _verify(self, entry: Entry, mirror: Mirror, tip: Tip) -> str | None:
        """Which commit was checked, and who has signed it. Raises SignatureInvalid."""
        repository = entry.value
        if not isinstance(repository, GitRepository) or repository.verify is None:
            return None
        signers = await asyncio.to_thread(mirror.verify, tip, self._keys(repository), repository.verify.mode)
        return f"{tip.commit} by {', '.join(dict.fromkeys(signers))}"

    def _keys(self, repository: GitRepository) -> TrustedKeys:
        assert repository.verify is not None
        name = ObjectKey(repository.key.namespace, repository.verify.secret_ref)
        secret = self._context.secrets(name)
        if secret is None:
            where = Where(object=f"{KIND} {repository.key}", field="spec.verify.secretRef")
            raise SecretNotFound(f"there is no Secret {name}", where=where, remedy="create it with the keys to trust")
        return keys_from_secret(secret)

    def _failed(self, fetch: Fetch, error: ImageUpdaterError) -> None:
        for key in sorted(fetch.members):
            source = self._sources.get(key)
            if source is not None:
                source.error = error
                self._tell(source)

    # ------------------------------------------------------------------------------------------- status

    def _tell(self, source: _Source) -> None:
        entry = source.entry
        if not self._context.owns(entry):
            return
        before = self._context.status.current(entry)
        revision = str(source.revision) if source.revision is not None else before.get("revision")
        verified = source.verified if source.revision is not None else before.get("verified")
        ready = _ready(source, str(revision) if revision else None, before)
        fields = status_fields(KIND, {"revision": revision, "verified": verified})
        self._context.status.write(entry, Decision(ready=ready, fields=fields, handled=entry.requested))


def _ready(source: _Source, revision: str | None, before: Mapping[str, Any]) -> Ready:
    repository = source.entry.value
    if isinstance(repository, GitRepository) and repository.suspend:
        stays = f"; {short(revision)} stays in use" if revision else ""
        return suspended(before, f"suspended: nothing is fetched{stays}")
    if source.error is not None:
        return Ready.of(source.error)
    return Ready(state=True, reason="Succeeded", message=f"{short(revision)} is fetched" if revision else "fetched")
