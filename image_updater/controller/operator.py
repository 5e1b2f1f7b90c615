"""kopf, and all that it does here: it lists and watches our kinds, and says to the cache what it sees.

Nothing else of kopf is used: handlers of any other sort write finalizers and annotations on the objects of people, and
its timers have no jitter. What it does not do is done beside it:

- It does not tell which objects went while its watch was broken. Each of its lists is therefore followed by one of
  ours, of metadata only, and what is not in that any more is forgotten.
- It does not tell when its first lists are through: `synced` is set when everything that our list names was seen.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

from image_updater.api.model import API_VERSION, ObjectKey
from image_updater.cluster.errors import ClusterError, KindUnknown
from image_updater.controller.cache import PLURALS
from image_updater.controller.status import resource_of
from image_updater.errors import ImageUpdaterError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import aiohttp
    import kopf

    from image_updater.cluster import Cluster
    from image_updater.controller.cache import Cache

log = logging.getLogger("image_updater.operator")

OpenSession = Callable[["Sequence[aiohttp.TraceConfig]"], "aiohttp.ClientSession"] if TYPE_CHECKING else Any

LOOK_AGAIN = 0.1
"""Seconds between looks whether kopf has told of everything."""
LOOKS_A_LIST = 20
CRD_PAUSE = 2.0
"""Seconds between looks for our kinds while they are not installed."""


class Operator:
    """`await run(stop)` until `stop` is set. Raises when kopf fails in a way that it does not mend itself."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        *,
        server: str,
        open_session: OpenSession,
        namespaces: Sequence[str] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._server = server
        self._open_session = open_session
        self._namespaces = tuple(namespaces)
        self._sleep = sleep
        self._unsynced = {(kind, namespace) for kind in PLURALS for namespace in self._scopes}
        self._checks: dict[tuple[str, str | None], asyncio.Task[None]] = {}
        self.synced = asyncio.Event()
        """Everything that there was at the start is in the cache."""

    @property
    def _scopes(self) -> tuple[str | None, ...]:
        return self._namespaces or (None,)

    async def run(self, stop: asyncio.Event) -> None:
        await self._await_kinds()
        kopf = import_kopf()
        registry = kopf.OperatorRegistry()
        for kind, plural in PLURALS.items():
            self._handle(kopf, registry, kind, plural)

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            return kopf.AiohttpSession(server=self._server, aiohttp_session=self._open_session([self._trace()]))

        group, _, version = API_VERSION.partition("/")
        log.debug("watching %s/%s", group, version)
        flag = asyncio.Event()
        task = asyncio.create_task(
            kopf.operator(
                registry=registry,
                settings=settings(kopf),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=flag,
            ),
            name="kopf",
        )
        waiting = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            if task.done() and not stop.is_set():
                await task
                raise ClusterError("watching our objects ended by itself", remedy="the process starts anew")
        finally:
            waiting.cancel()
            flag.set()
            checks = list(self._checks.values())
            for check in checks:
                check.cancel()
            await asyncio.gather(*checks, return_exceptions=True)
            await asyncio.wait([task], timeout=5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _await_kinds(self) -> None:
        """Until the server serves all of our kinds."""
        said = False
        while True:
            try:
                for kind in PLURALS:
                    await self._cluster.resource(API_VERSION, kind)
            except KindUnknown as error:
                if not said:
                    log.warning("%s; waiting (image-updater crds | kubectl apply -f -)", error)
                said = True
                self._cluster.forget_discovery()
                await self._sleep(CRD_PAUSE)
            else:
                return

    def _handle(self, kopf: Any, registry: Any, kind: str, plural: str) -> None:
        group, _, version = API_VERSION.partition("/")

        @kopf.on.event(group, version, plural, registry=registry, id=plural)  # type: ignore[untyped-decorator]
        async def observe(event: Any, **_: Any) -> None:
            body = dict(event["object"])
            if event["type"] == "DELETED":
                metadata = body["metadata"]
                self._cache.forget(kind, ObjectKey(metadata["namespace"], metadata["name"]), metadata["uid"])
            else:
                self._cache.observe(kind, body)

    # ------------------------------------------------------------------------------------------------- after a list

    def _trace(self) -> aiohttp.TraceConfig:
        """Hears of kopf's lists."""
        import aiohttp

        trace = aiohttp.TraceConfig()

        async def started(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
            query = params.url.query
            if params.method != "GET" or "watch" in query or "continue" in query:
                return
            parts = params.url.path.strip("/").split("/")
            kind = next((kind for kind, plural in PLURALS.items() if parts[-1] == plural), None)
            if kind is not None:
                self._listed(kind, parts[-2] if parts[-3:-2] == ["namespaces"] else None)

        trace.on_request_start.append(started)
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


def import_kopf() -> Any:
    """kopf without the Kubernetes client's models, which it imports when they are installed (350 ms, 19 MB)."""
    if "kopf" in sys.modules:
        return sys.modules["kopf"]
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
    return chosen
