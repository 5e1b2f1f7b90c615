"""The controller as a process: what it opens, who leads, what runs, and how it ends.

A replica that does not lead watches our objects all the same, so that taking over costs no list. Each role has a Lease
of its own, and each shard one of each, so that `update` and `sync` may run apart. A leader whose Lease ran out ends the
process: what it still holds in memory was decided by somebody who is not asked any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import random
import socket
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from image_updater.api.model import LabelSelector
from image_updater.api.selectors import parse_selector
from image_updater.cluster import Cluster, ClusterConfig, Lease, Recorder
from image_updater.controller.cache import Cache
from image_updater.controller.context import Context, lease_namespace
from image_updater.controller.halves import Halves
from image_updater.controller.leading import Leading
from image_updater.controller.loop.gatekeeping import Gatekeeper
from image_updater.controller.numbers import Numbers
from image_updater.controller.operator import Operator
from image_updater.controller.secrets import ClusterSecrets
from image_updater.controller.status import StatusWriter
from image_updater.errors import SpecError, Where
from image_updater.pipeline.daemon import endpoints
from image_updater.pipeline.daemon.metrics import Metrics
from image_updater.pipeline.session import session
from image_updater.settings import Role, cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiohttp.web import RouteDef

    from image_updater.errors import ImageUpdaterError
    from image_updater.settings import Settings

log = logging.getLogger("image_updater.controller")


class Controller:
    """`await run(stop)` until `stop` is set. Also what the endpoints look at."""

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        *,
        routes: Callable[[Gatekeeper], Iterable[RouteDef]] = lambda _: (),
    ) -> None:
        """`routes`: what the endpoints serve beside. Raises SpecError for a selector that is none."""
        if settings.state is None:
            settings = replace(settings, state=cache_folder(settings, environment) / "controller.sqlite")
        self._settings = settings
        self._environment = environment
        self._owned = parse_selector(settings.selector) if settings.selector is not None else LabelSelector()
        self._roles = [role for role in (Role.UPDATE, Role.SYNC) if role in settings.roles]
        self.metrics = Metrics()
        self._cluster: Cluster | None = None
        self._gates = Gatekeeper(
            cluster=lambda: self._cluster,
            clock=_now,
            leader=lambda: self._leading.elsewhere(Role.UPDATE) if self._leading is not None else "",
            shard=settings.selector or "",
        )
        self._address = ""
        """Where the gates are asked, for the replicas that wait."""
        self._routes = routes
        self._operator: Operator | None = None
        self._status: StatusWriter | None = None
        self._leading: Leading | None = None
        self._halves: Halves | None = None
        self._stopping = False

    # ------------------------------------------------------------------------------------------------- endpoints

    def health(self) -> tuple[bool, Mapping[str, object]]:
        details: dict[str, object] = {
            "status": "stopping" if self._stopping else "ok",
            "roles": [str(role) for role in self._settings.roles],
            "synced": self._operator is not None and self._operator.synced.is_set(),
            "leads": [str(role) for role in self._leading.roles] if self._leading is not None else [],
        }
        failing = self._status.failing if self._status is not None else {}
        if failing and not self._stopping:
            (kind, key), error = next(iter(failing.items()))
            details["status"] = "degraded"
            details["statuses"] = f"{len(failing)} cannot be written, such as {kind} {key}: {error}"
        return True, details

    def ready(self) -> bool:
        """Our objects are known, whoever leads. What registries and Git answer is no part of it: their outage must
        not stop a rollout of ours.
        """
        if not self._roles:
            return not self._stopping
        return not self._stopping and self._operator is not None and self._operator.synced.is_set()

    def metrics_text(self) -> bytes:
        return self.metrics.text()

    # ------------------------------------------------------------------------------------------------- life

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then let a push under way end and give the Leases back. Raises what cannot be mended."""
        async with AsyncExitStack() as stack:
            if self._settings.listen:
                # The role `web` is what answers requests from outside.
                routes = self._routes(self._gates) if Role.WEB in self._settings.roles else ()
                address = await stack.enter_async_context(endpoints.serve(self, self._settings.listen, routes))
                log.info("listening on %s", address)
                if Role.WEB in self._settings.roles and self._settings.flagger_token_file is not None:
                    self._address = reachable(address, self._environment)
            if not self._roles:
                await stop.wait()
                return
            cluster = self._cluster = await self._connect()
            stack.push_async_callback(cluster.close)
            recorder = Recorder(cluster, instance=self._instance)
            await self._work(stop, cluster, recorder)

    async def _connect(self) -> Cluster:
        config = ClusterConfig.load(kubeconfig=self._settings.kubeconfig, environment=self._environment)
        return await Cluster.connect(config)

    async def _work(self, stop: asyncio.Event, cluster: Cluster, recorder: Recorder) -> None:
        settings = self._settings
        assert settings.state is not None
        settings.state.parent.mkdir(parents=True, exist_ok=True)
        cache = Cache()
        self._operator = operator = Operator(
            cluster,
            cache,
            connect=self._connect,
            namespaces=settings.watch_namespaces,
        )
        self._leading = leading = Leading(
            [(role, self._lease(cluster, role)) for role in self._roles] if settings.leader_election else [],
            roles=self._roles,
        )
        self._status = status = StatusWriter(
            cluster, cache, recorder, clock=_now, may_write=lambda: any(leading.leads(role) for role in self._roles)
        )
        secrets = ClusterSecrets(cluster, monotonic=time.monotonic)
        with session(settings, self._environment) as opened:
            opened.store.forget_unused(_now())
            context = Context(
                cluster=cluster,
                cache=cache,
                status=status,
                secrets=secrets,
                recorder=recorder,
                settings=settings,
                session=opened,
                metrics=self.metrics,
                owned=self._owned,
                environment=self._environment,
                clock=_now,
                monotonic=time.monotonic,
                dice=random.random,
                sleep=asyncio.sleep,
            )
            self.metrics.registry.register(
                Numbers(cluster=cluster, cache=cache, status=status, recorder=recorder, leading=leading)
            )
            self._halves = halves = Halves(context, leading, self._gates)
            background = {
                asyncio.create_task(operator.run(stop), name="operator"),
                asyncio.create_task(secrets.run(), name="secrets"),
                asyncio.create_task(recorder.run(), name="events"),
                asyncio.create_task(leading.run(after=operator.synced), name="leading"),
                asyncio.create_task(halves.run(stop), name="halves"),
            }
            stopped = asyncio.create_task(stop.wait())
            try:
                done, _ = await asyncio.wait({stopped, *background}, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopped}:
                    # None of them ends by itself while nobody asked: what it raised is why we end.
                    task.result()
            finally:
                self._stopping = True
                log.info("stopping")
                stop.set()
                stopped.cancel()
                await halves.close()
                await status.close()
                await recorder.drain()
                # Only now may another replica begin.
                await leading.close()
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------- names

    @property
    def _instance(self) -> str:
        return instance(self._environment)

    def _lease(self, cluster: Cluster, role: Role) -> Lease:
        """One for each role and shard."""
        shard = ""
        if self._settings.selector:
            # As it is read, not as it is written: `shard=a` and `shard = a` are one shard.
            conditions = sorted(map(repr, self._owned.match_expressions))
            shard = "-" + hashlib.sha256("\n".join(conditions).encode()).hexdigest()[:8]
        if self._settings.watch_namespaces:
            scope = ",".join(sorted(self._settings.watch_namespaces))
            shard += "-" + hashlib.sha256(scope.encode()).hexdigest()[:8]

        def failed(error: ImageUpdaterError | None) -> None:
            if error is not None:
                log.warning("Lease of %s: %s", role, error)

        return Lease(
            cluster,
            namespace=lease_namespace(self._settings, self._environment),
            name=f"image-updater-{role}{shard}",
            holder=holder(self._environment),
            address=self._address if role is Role.UPDATE else "",
            on_error=failed,
        )


def instance(environment: Mapping[str, str]) -> str:
    """The pod, or the machine."""
    return environment.get("POD_NAME") or socket.gethostname()


def holder(environment: Mapping[str, str]) -> str:
    """Who holds a Lease. A container that starts again in its pod is the same one, since the kubelet has seen the end
    of the one before; everywhere else a process that starts again is another one, and waits until the Lease is free.
    """
    return f"{instance(environment)}_{environment.get('POD_UID') or uuid.uuid4()}"


def reachable(bound: str, environment: Mapping[str, str]) -> str:
    """Where others reach what is bound to `host:port`: at the pod's address; "" where that is not known."""
    host, _, port = bound.rpartition(":")
    try:
        address = ipaddress.ip_address(environment.get("POD_IP") or host)
    except ValueError:
        raise SpecError(
            f"{environment.get('POD_IP') or host!r} is no address", where=Where(field="POD_IP"), remedy="status.podIP"
        ) from None
    if address.is_unspecified:
        return ""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _now() -> datetime:
    return datetime.now(UTC)
