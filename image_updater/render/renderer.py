"""Trees and roots to manifests, each render made once.

A build is a child process of 10 ms (kustomize) to 40 ms (kubectl) and reads a handful of files; everything around it
is built so that it adds little: files are laid out once per tree (workspace.py), children start from threads that
already carry the network filter (sandbox.py), equal keys share one build even while it runs. What this module never
does: judge a render.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.errors import RenderError, Where
from image_updater.kustomize.model import RootKind
from image_updater.render import messages, sandbox
from image_updater.render.binaries import find_binary, find_helm, helm_version
from image_updater.render.cache import MemoryCache
from image_updater.render.child import Child
from image_updater.render.closures import Options, closure_id
from image_updater.render.errors import BuildFailed, Unbuildable
from image_updater.render.leases import IDLE_SECONDS, Workspaces
from image_updater.render.plain import concatenate
from image_updater.render.sandbox import Limits, child_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from types import TracebackType

    from image_updater.kustomize.model import Root, Tree
    from image_updater.render.binaries import Kustomize
    from image_updater.render.cache import RenderCache
    from image_updater.render.workspace import Workspace

_FAILURES = 1_000
"""Broken roots whose message is kept: a root that does not build is asked about at every scan."""

_FAILED_FOR = 300.0
"""Seconds that it is kept for: what failed may have been the machine (a full disk, no processes left), not the root."""


@dataclass(slots=True)
class _Counters:
    """What happened, for metrics and tests."""

    builds: int = 0
    hits: int = 0


class _Build:
    """One build's child, which may be ended before it exists."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._cancelled = False

    def begin(self, child: Child) -> None:
        with self._lock:
            self._child = child
            if self._cancelled:
                child.kill()

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            if self._child is not None:
                self._child.kill()


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[bytes]
    waiting: int = 0


class Renderer:
    """Builds roots of trees. One per process, used from one event loop; `close` (or `with`) removes its folders.

    `kustomize` may be a function: then the binary is looked for when the first root needs it, and plain roots never do.
    """

    def __init__(
        self,
        kustomize: Kustomize | Callable[[], Kustomize],
        *,
        helm: str | None = None,
        limits: Limits | None = None,
        cache: RenderCache | None = None,
        allow_remote: bool = False,
        environment: Mapping[str, str] | None = None,
        workers: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`environment`: only PATH and the proxy variables of it reach a child, and only with `allow_remote`."""
        self._kustomize = kustomize
        self._helm = helm
        self._limits = limits or Limits()
        self._cache = cache if cache is not None else MemoryCache()
        self._allow_remote = allow_remote
        self._environment = dict(environment or {})
        self._workers = workers or available_cpus()
        self._pools: dict[bool, ThreadPoolExecutor] = {}  # by whether their children have a network
        self._children: set[Child] = set()
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self._workspaces = Workspaces(limits=self._limits, monotonic=monotonic)
        self._sweeping: asyncio.TimerHandle | None = None
        self._flights: dict[str, _Flight] = {}
        self._failures: OrderedDict[str, tuple[float, RenderError]] = OrderedDict()
        self.counters = _Counters()

    @classmethod
    def open(
        cls,
        environment: Mapping[str, str],
        *,
        explicit: str | None = None,
        helm: str | None = None,
        limits: Limits | None = None,
        cache: RenderCache | None = None,
        allow_remote: bool = False,
        workers: int | None = None,
    ) -> Renderer:
        """A renderer with the binaries of this machine, found when they are needed first."""
        return cls(
            lambda: find_binary(explicit, environment),
            helm=find_helm(helm, environment),
            limits=limits,
            cache=cache,
            allow_remote=allow_remote,
            environment=environment,
            workers=workers,
        )

    @property
    def kustomize(self) -> Kustomize:
        """The binary. Raises RendererMissing or RendererTooOld when there is none that works."""
        if callable(self._kustomize):
            self._kustomize = self._kustomize()
        return self._kustomize

    @property
    def allow_remote(self) -> bool:
        """Whether roots with remote bases are built, with a network."""
        return self._allow_remote

    @property
    def description(self) -> str:
        """The renderer and whether its children are cut off: `kustomize v5.8.1, no network`."""
        if self._allow_remote:
            return f"{self.kustomize.description}, network for remote bases"
        return f"{self.kustomize.description}, {'no network' if sandbox.network_closed() else 'proxies closed'}"

    def options(self, root: Root) -> Options:
        """What decides this root's render beside its files."""
        if root.kind is RootKind.PLAIN:
            return Options(renderer="")
        helm = helm_version(self._helm) if root.helm and self._helm is not None else None
        return Options(renderer=self.kustomize.description, helm=helm, allow_remote=self._allow_remote)

    def key(self, tree: Tree, root: Root) -> str:
        """`closure_id` with this renderer's options."""
        return closure_id(tree, root, self.options(root))

    async def build(self, tree: Tree, root: Root) -> bytes:
        """The manifests of one root. Raises RenderError (its leaves say why), RendererMissing, RendererTooOld."""
        if root.kind is RootKind.PLAIN:
            return await asyncio.to_thread(concatenate, tree, root)
        self._check(root)
        if callable(self._kustomize):
            await asyncio.to_thread(lambda: self.kustomize)  # found once; it starts a process
        key = self.key(tree, root)
        moving = bool(root.remotes)  # what a remote base holds may change under one key
        if not moving:
            known = self._cache.get(key)
            if known is not None:
                self.counters.hits += 1
                return known
            at, failed = self._failures.get(key, (0.0, None))
            if failed is not None and self._monotonic() - at < _FAILED_FOR:
                self.counters.hits += 1
                # A new one: an exception that is raised again and again collects tracebacks.
                raise BuildFailed(failed.message, where=failed.where, remedy=failed.remedy)
        return await self._join(key, tree, root, keep=not moving)

    async def _join(self, key: str, tree: Tree, root: Root, *, keep: bool) -> bytes:
        """Wait for the one build of this key, started by whoever came first and ended when nobody waits any more."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._fly(tree, root, key if keep else None)))
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.waiting == 1 and not flight.task.done():
                del self._flights[key]  # who comes now must not join what is being ended
                flight.task.cancel()
            raise
        finally:
            flight.waiting -= 1

    def _landed(self, key: str, task: asyncio.Task[bytes]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # retrieved, should nobody be left to see it

    async def stream(self, tree: Tree, roots: Iterable[Root]) -> AsyncIterator[tuple[Root, bytes | RenderError]]:
        """Each root with its manifests or its error, as they come. Terminal errors (no renderer) end it."""
        gate = asyncio.Semaphore(self._workers + 1)  # one is laid out while the others build

        async def one(root: Root) -> tuple[Root, bytes | RenderError]:
            async with gate:
                try:
                    return root, await self.build(tree, root)
                except RenderError as exc:
                    return root, exc

        tasks = [asyncio.ensure_future(one(root)) for root in roots]
        try:
            for done in asyncio.as_completed(tasks):
                yield await done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def build_many(self, tree: Tree, roots: Iterable[Root]) -> dict[str, bytes | RenderError]:
        """Root id → manifests or error, in the order of `roots`."""
        wanted = list(roots)
        answers = {root.id: answer async for root, answer in self.stream(tree, wanted)}
        return {root.id: answers[root.id] for root in wanted}

    def close(self) -> None:
        """End the threads and remove the temporary folders."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
            children = list(self._children)
        for child in children:
            child.kill()
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._workspaces.close()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, root: Root) -> None:
        where = Where(file=root.kustomization or root.path)
        if root.unbuildable is not None and not (self._allow_remote and root.remotes):
            # The reason names its file and line itself.
            remedy = "--allow-remote-bases lets kustomize fetch it" if root.remotes else None
            raise Unbuildable(root.unbuildable, remedy=remedy)
        if root.helm and self._helm is None:
            raise Unbuildable(
                "it uses helmCharts and there is no helm here", where=where, remedy="put `helm` 3 or 4 on PATH"
            )

    async def _fly(self, tree: Tree, root: Root, key: str | None) -> bytes:
        try:
            output = await self._start(tree, root)
        except RenderError as exc:
            if key is not None and isinstance(exc, BuildFailed):
                self._failures[key] = (self._monotonic(), exc)
                self._failures.move_to_end(key)
                while len(self._failures) > _FAILURES:
                    self._failures.popitem(last=False)
            raise
        if key is not None:
            self._cache.put(key, output)
        return output

    async def _start(self, tree: Tree, root: Root) -> bytes:
        build = _Build()
        pool = self._threads(network=self._reaches_out(root))
        work = asyncio.get_running_loop().run_in_executor(pool, self._run, tree, root, build)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            build.cancel()
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # retrieved: nobody waits for it any more
            raise
        finally:
            self._sweep_later()

    def _sweep_later(self) -> None:
        """Look for idle workspaces after a while, for as long as there are any."""
        if self._sweeping is None and len(self._workspaces):
            self._sweeping = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        swept = asyncio.get_running_loop().run_in_executor(None, self._workspaces.sweep)

        def again(_: object) -> None:
            self._sweeping = None
            self._sweep_later()

        swept.add_done_callback(again)

    def _reaches_out(self, root: Root) -> bool:
        return self._allow_remote and bool(root.remotes)

    def _threads(self, *, network: bool) -> ThreadPoolExecutor:
        with self._lock:
            pool = self._pools.get(network)
            if pool is None:
                pool = self._pools[network] = ThreadPoolExecutor(
                    self._workers,
                    thread_name_prefix="render",
                    initializer=None if network else sandbox.close_network,
                )
            return pool

    def _run(self, tree: Tree, root: Root, build: _Build) -> bytes:
        """One build, on a thread of the pool."""
        with self._workspaces.lease(tree) as workspace:
            target = workspace.prepare(root)
            child = Child(
                self._command(root, target, workspace),
                folder=workspace.home,
                environment=self._child_environment(root, workspace),
                limits=self._limits,
            )
            build.begin(child)
            with self._lock:
                self._children.add(child)
                self.counters.builds += 1
            try:
                finished = child.run()
            except RenderError as exc:
                exc.where = Where(file=root.kustomization or root.path)
                raise
            except OSError as exc:
                raise RenderError(f"{self.kustomize.path} cannot be started: {exc.strerror}") from exc
            finally:
                with self._lock:
                    self._children.discard(child)
            if finished.status != 0:
                raise messages.failure(finished.messages, finished.status, workspace, root)
            return finished.output

    def _command(self, root: Root, target: str, workspace: Workspace) -> list[str]:
        command = [*self.kustomize.command, target]
        if root.helm and self._helm is not None:
            old = not self.kustomize.supports(5, 8, 1) and not helm_version(self._helm).startswith("v3.")
            command += ["--enable-helm", "--helm-command", workspace.old_helm(self._helm) if old else self._helm]
        return command

    def _child_environment(self, root: Root, workspace: Workspace) -> dict[str, str]:
        path = ""
        network = None
        if self._reaches_out(root):
            path = self._environment.get("PATH", "")
            network = {name: value for name, value in self._environment.items() if name.upper() in _PROXIES}
        elif root.helm and self._helm is not None:
            path = os.path.dirname(self._helm)
        return child_environment(home=workspace.home, temporary=workspace.scratch, path=path, network=network)


_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"})


def available_cpus() -> int:
    """CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)
