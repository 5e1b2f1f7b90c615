"""kopf, and all that it does here: it lists and watches our kinds, and says to the cache what it sees.

Nothing else of kopf is used: handlers of any other sort write finalizers and annotations on the objects of people, and
its timers have no jitter. What it does not do is done beside it:

- When it ends it cancels every task of its loop, and it takes the process's signals. So it has a thread and a loop of
  its own.
- It does not tell which objects went while its watch was broken. Each of its lists is therefore followed by one of
  ours, of metadata only, and what is not in that any more is forgotten.
- It does not tell when its first lists are through: `synced` is set when everything that our list names was seen.
- It ends when a list or a watch is refused: our definitions were taken away, or our rights. Both come back, so that it
  is begun anew until they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

from image_updater.api.model import API_VERSION
from image_updater.cluster.errors import ClusterError, KindUnknown
from image_updater.controller.cache import OF_THE_CLUSTER, PLURALS, key_of
from image_updater.controller.status import resource_of
from image_updater.errors import ImageUpdaterError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import aiohttp

    from image_updater.cluster import Body, Cluster
    from image_updater.controller.cache import Cache

log = logging.getLogger("image_updater.operator")

LOOK_AGAIN = 0.1
"""Seconds between looks whether kopf has told of everything."""
LOOKS_A_LIST = 20
KOPF_GRACE = 10.0
"""Seconds that kopf gets to end; its thread is a daemon and holds nobody up."""
CRD_PAUSE = 2.0
"""Seconds between looks for our kinds while they are not installed."""
ANEW = 5.0
"""Seconds until watching begins anew after it was refused."""


class Operator:
    """`await run(stop)` until `stop` is set. Raises when kopf fails by a fault of its own or of ours, and ClusterError
    when it was refused and does not come to its end: only another process gets rid of it then.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        *,
        connect: Callable[[], Awaitable[Cluster]],
        namespaces: Sequence[str] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`connect` makes another connection to the same server as the same account: called in kopf's own loop."""
        self._cluster = cluster
        self._cache = cache
        self._connect = connect
        self._namespaces = tuple(namespaces)
        self._sleep = sleep
        self._kinds = {
            kind: plural for kind, plural in PLURALS.items() if not self._namespaces or kind not in OF_THE_CLUSTER
        }
        """In namespaces alone nothing of the cluster can be read: ClusterFreeze and ClusterQuarantine do not count."""
        self._unsynced = {
            (kind, None if kind in OF_THE_CLUSTER else namespace) for kind in self._kinds for namespace in self._scopes
        }
        self._checks: dict[tuple[str, str | None], asyncio.Task[None]] = {}
        self._refused = asyncio.Event()
        """The server has refused kopf a list or a watch: it stops, but may wait for its other watches for ever."""
        self.synced = asyncio.Event()
        """Everything that there was at the start is in the cache."""

    @property
    def _scopes(self) -> tuple[str | None, ...]:
        return self._namespaces or (None,)

    async def run(self, stop: asyncio.Event) -> None:
        while True:
            await self._await_kinds()
            try:
                await self._run(stop)
            except Exception as error:
                if not _of_the_server(error):
                    raise
                log.warning("our objects cannot be watched: %s; watching begins anew", error)
            if stop.is_set():
                return
            self._cluster.forget_discovery()
            await self._sleep(ANEW)

    async def _run(self, stop: asyncio.Event) -> None:
        """Raises what kopf ends with."""
        self._refused.clear()
        watching = _Thread(self._watch, name="kopf")
        watching.start()
        waiting, refused = asyncio.create_task(stop.wait()), asyncio.create_task(self._refused.wait())
        try:
            ends: list[asyncio.Future[Any]] = [watching.ended, waiting, refused]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if refused.done() and not stop.is_set():
                await watching.stop(KOPF_GRACE)
                if not watching.ended.done():
                    raise ClusterError(
                        "our objects cannot be watched any more: the definitions are gone, or our rights",
                        remedy="the process starts anew, and waits for them",
                    )
            if watching.ended.done():
                watching.ended.result()
                if not stop.is_set():
                    raise ClusterError("watching our objects ended by itself", remedy="the process starts anew")
        finally:
            waiting.cancel()
            refused.cancel()
            checks = list(self._checks.values())
            for check in checks:
                check.cancel()
            await asyncio.gather(*checks, return_exceptions=True)
            await watching.stop(KOPF_GRACE)

    async def _watch(self, flag: asyncio.Event, main: asyncio.AbstractEventLoop) -> None:
        """kopf, in its own loop; what it sees is handed to `main`."""
        kopf = import_kopf()
        registry = kopf.OperatorRegistry()
        for kind, plural in self._kinds.items():
            self._handle(kopf, registry, main, kind, plural)
        cluster = await self._connect()

        @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator]
        async def login(**_: Any) -> Any:
            session = cluster.open_session([self._trace(main)])
            return kopf.AiohttpSession(server=cluster.server, aiohttp_session=session)

        try:
            await kopf.operator(
                registry=registry,
                settings=settings(kopf),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=flag,
            )
        finally:
            await cluster.close()

    async def _await_kinds(self) -> None:
        """Until the server serves all of our kinds."""
        said = False
        while True:
            try:
                for kind in self._kinds:
                    await self._cluster.resource(API_VERSION, kind)
            except KindUnknown as error:
                if not said:
                    log.warning("%s; waiting (image-updater crds | kubectl apply -f -)", error)
                said = True
                self._cluster.forget_discovery()
                await self._sleep(CRD_PAUSE)
            else:
                return

    def _handle(self, kopf: Any, registry: Any, main: asyncio.AbstractEventLoop, kind: str, plural: str) -> None:
        group, _, version = API_VERSION.partition("/")

        @kopf.on.event(group, version, plural, registry=registry, id=plural)  # type: ignore[untyped-decorator]
        async def observe(event: Any, **_: Any) -> None:
            main.call_soon_threadsafe(self._see, kind, event["type"], event["object"])

    def _see(self, kind: str, happened: str | None, body: Body) -> None:
        if happened == "DELETED":
            metadata = body["metadata"]
            self._cache.forget(kind, key_of(kind, metadata), metadata["uid"])
        else:
            self._cache.observe(kind, body)

    # ------------------------------------------------------------------------------------------------- after a list

    def _trace(self, main: asyncio.AbstractEventLoop) -> aiohttp.TraceConfig:
        """Hears of kopf's lists, and of what it is refused."""
        import aiohttp

        trace = aiohttp.TraceConfig()

        async def started(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
            query = params.url.query
            if params.method != "GET" or "watch" in query or "continue" in query:
                return
            parts = params.url.path.strip("/").split("/")
            kind = next((kind for kind, plural in PLURALS.items() if parts[-1] == plural), None)
            if kind is not None:
                main.call_soon_threadsafe(self._listed, kind, parts[-2] if parts[-3:-2] == ["namespaces"] else None)

        async def ended(_: object, __: object, params: aiohttp.TraceRequestEndParams) -> None:
            if params.response.status in (403, 404):
                main.call_soon_threadsafe(self._refused.set)

        trace.on_request_start.append(started)
        trace.on_request_end.append(ended)
        return trace

    def _listed(self, kind: str, namespace: str | None) -> None:
        running = self._checks.get((kind, namespace))
        if running is None or running.done():
            task = asyncio.create_task(self._check(kind, namespace), name=f"list of {kind}")
            self._checks[kind, namespace] = task

    async def _check(self, kind: str, namespace: str | None) -> None:
        """List what there is, forget what is not, and wait until kopf has told of the rest."""
        pause = LOOK_AGAIN
        while True:
            known = self._cache.uids(kind, namespace)
            try:
                bodies, _ = await self._cluster.list(resource_of(kind), namespace, metadata_only=True)
            except ImageUpdaterError as error:
                log.warning("%s cannot be listed: %s", PLURALS[kind], error)
                pause = min(pause * 2, 30.0)
                await self._sleep(pause)
                continue
            break
        present = {str(body["metadata"]["uid"]) for body in bodies}
        self._cache.keep(kind, known, present)
        if (kind, namespace) not in self._unsynced:
            return
        looks = 0
        while not present <= set(self._cache.uids(kind, namespace).values()):
            await self._sleep(LOOK_AGAIN)
            looks += 1
            if looks % LOOKS_A_LIST == 0:
                # Some of it may be gone again before kopf could tell.
                bodies, _ = await self._cluster.list(resource_of(kind), namespace, metadata_only=True)
                present &= {str(body["metadata"]["uid"]) for body in bodies}
        self._unsynced.discard((kind, namespace))
        if not self._unsynced:
            self.synced.set()


class _Thread:
    """A coroutine in a loop of its own: `run(flag, loop of the caller)`, where `flag` asks it to end."""

    def __init__(
        self, run: Callable[[asyncio.Event, asyncio.AbstractEventLoop], Awaitable[None]], *, name: str
    ) -> None:
        self._run = run
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._main = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flag: asyncio.Event | None = None
        self.ended: asyncio.Future[None] = self._main.create_future()

    def start(self) -> None:
        self._thread.start()

    def _work(self) -> None:
        failure: BaseException | None = None
        try:
            asyncio.run(self._inside())
        except BaseException as error:  # handed to whoever waits in the other thread
            failure = error
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody waits any more
            self._main.call_soon_threadsafe(self._end, failure)

    async def _inside(self) -> None:
        self._loop, self._flag = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_note_fault)
        await self._run(self._flag, self._main)

    def _end(self, failure: BaseException | None) -> None:
        if self.ended.done():
            return
        if failure is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(failure)

    async def stop(self, seconds: float) -> None:
        """Ask it to end, and wait so long. What it raised is not raised again."""
        if self._loop is not None and self._flag is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._flag.set)
        await asyncio.wait([self.ended], timeout=seconds)
        if self.ended.done() and not self.ended.cancelled():
            self.ended.exception()
            await asyncio.to_thread(self._thread.join, 1.0)  # it has said so, and has nothing left to do


def _note_fault(_: object, context: dict[str, Any]) -> None:
    """Of a callback of kopf: one of its own fails whenever it stops a watch that has no answer yet."""
    log.debug("kopf: %s", context.get("message"), exc_info=context.get("exception"))


def _of_the_server(error: Exception) -> bool:
    """Whether kopf ended because of what the API server, or the way to it, has answered."""
    names = {f"{each.__module__}.{each.__qualname__}" for each in type(error).__mro__}
    return not names.isdisjoint(_ANSWERS) or isinstance(error, OSError)


_ANSWERS = frozenset(
    {
        "aiohttp.client_exceptions.ClientError",
        "kopf._cogs.clients.errors.APIError",
        "kopf._cogs.clients.watching.WatchingError",
    }
)
"""By name: kopf shows none of them, and importing aiohttp is left to it."""


def import_kopf() -> Any:
    """kopf without the Kubernetes client's models, which it imports when they are installed (350 ms, 19 MB)."""
    if "kopf" in sys.modules:
        return sys.modules["kopf"]
    # Each event handled, signals it was kept from, and tracebacks of what the server refused, which we say in a line.
    logging.getLogger("kopf").setLevel(logging.CRITICAL)
    names = ("kubernetes", "kubernetes.client", "kubernetes_asyncio", "pykube")
    kept = {name: sys.modules.get(name) for name in names}
    try:
        for name in names:
            sys.modules[name] = None  # type: ignore[assignment]
        import kopf
    finally:
        for name, module in kept.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
    return kopf


def settings(kopf: Any) -> Any:
    """Quiet, small and silent: no Events, no scans of CRDs, no state, workers that end when they have nothing to do."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.watching.chunk_size = 500
    chosen.queueing.worker_limit = 200
    chosen.queueing.idle_timeout = 0.05
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 5
    # It would kill its thread, and with it the process, some minutes after an end that it calls unclean.
    chosen.process.ultimate_exiting_timeout = None
    return chosen
