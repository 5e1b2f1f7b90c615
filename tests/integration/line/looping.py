"""The image half with its closed loop, without a cluster: real Git, real registry protocol, and rollouts that a test
makes up. Statuses and objects live in a cache, as the API server would hold them.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from image_updater.api.model import LabelSelector, ObjectKey
from image_updater.cluster.errors import ClusterUnavailable, Conflict
from image_updater.cluster.model import Ref
from image_updater.controller.cache import Cache
from image_updater.controller.context import Context
from image_updater.controller.rollouts import Rollouts
from image_updater.controller.secrets import ClusterSecrets
from image_updater.controller.status import StatusWriter
from image_updater.controller.update.updating import Updating
from image_updater.embedded import EmbeddedRegistry
from image_updater.pipeline.answers.opening import open_client
from image_updater.pipeline.daemon.metrics import Metrics
from image_updater.pipeline.session import session
from image_updater.settings import Settings
from image_updater.sync.rollout.model import Culprit, Rollout, RolloutState
from tests.integration.line.test_checkout import deployment
from tests.parts import gitservers
from tests.parts.gitservers import git

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

API = "image-updater.dev/v1alpha1"
SPACE = "shop"
BEGIN = datetime.now(UTC).replace(microsecond=0)


class Clock:
    """Moves with the time, and further when it is told to."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Cluster:
    """What an API server would keep of our objects. `away`: it answers nobody."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.bodies: dict[tuple[str, str], dict[str, Any]] = {}
        self.events: list[tuple[str, str, str]] = []
        self.away = False

    def put(self, kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> None:
        """As a person does."""
        known = self.bodies.get((kind, name))
        generation = 1 if known is None else known["metadata"]["generation"] + (known["spec"] != spec)
        created = {} if known is None else {"creationTimestamp": known["metadata"]["creationTimestamp"]}
        body = {
            "apiVersion": API,
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": SPACE,
                "uid": f"{kind}-{name}",
                "generation": generation,
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                **created,
                **metadata,
            },
            "spec": spec,
            "status": {} if known is None else known.get("status", {}),
        }
        self.bodies[kind, name] = body
        self.cache.observe(kind, body)

    def annotate(self, kind: str, name: str, **annotations: str) -> None:
        known = self.bodies[kind, name]
        found = dict(known["metadata"].get("annotations") or {})
        found |= {f"image-updater.dev/{key}": value for key, value in annotations.items()}
        self.put(kind, name, known["spec"], annotations=found)

    def remove(self, kind: str, name: str) -> None:
        self.bodies.pop((kind, name), None)
        self.cache.forget(kind, ObjectKey(SPACE, name))

    def show(self, cache: Cache) -> None:
        """To a process that was started anew."""
        self.cache = cache
        for (kind, _), body in self.bodies.items():
            cache.observe(kind, body)

    # what the controller calls

    def _check(self) -> None:
        if self.away:
            raise ClusterUnavailable("the API server is away")

    async def apply(self, _: object, body: dict[str, Any], **__: Any) -> dict[str, Any]:
        self._check()
        place = (body["kind"], body["metadata"]["name"])
        self.bodies[place] = {**self.bodies[place], "status": json.loads(json.dumps(body["status"]))}
        self.cache.observe(body["kind"], self.bodies[place])
        return body

    async def create(self, _: object, body: dict[str, Any], **__: Any) -> dict[str, Any]:
        self._check()
        kind, name = body["kind"], body["metadata"]["name"]
        if (kind, name) in self.bodies:
            raise Conflict("it is there")
        self.put(kind, name, body["spec"], labels=body["metadata"].get("labels") or {})
        return body

    async def delete(self, resource: Any, name: str, *_: Any, **__: Any) -> bool:
        self._check()
        self.remove(resource.kind, name)
        return True

    async def get(self, *_: Any, **__: Any) -> None:
        return None

    async def list(self, *_: Any, **__: Any) -> tuple[list[Any], str]:
        return [], ""

    def event(self, *, about: Any, type: str, reason: str, message: str, action: str = "") -> None:  # noqa: A002
        del type, action
        self.events.append((about["name"], reason, message))


class World:
    """One branch, one Kustomization over its `apps`, and a controller that is killed and started as tests like."""

    def __init__(self, folder: Path, server: gitservers.HttpServer, registry: EmbeddedRegistry, names: tuple[str, ...]):
        self.folder, self.server, self.registry, self.names = folder, server, registry, names
        self.clock = Clock()
        self.bare = server.root / f"{folder.name}.git"
        self.cluster = Cluster(Cache())
        self.rollouts = Rollouts()
        self.updating: Updating | None = None
        self.bad: set[tuple[str, str]] = set()
        """(name, tag) whose pods crash."""
        self.unanalysed: set[tuple[str, str]] = set()
        """(name, tag) that run, and nothing looks at them."""
        self.verdicts: dict[str, Rollout] = {}
        self._lives: list[Any] = []

    def image(self, name: str) -> str:
        return f"{self.registry.host}/acme/{name}"

    def file(self, name: str, tag: str) -> dict[str, str | None]:
        return {f"apps/{name}.yaml": deployment(name, tag).replace(f"acme/{name}", self.image(name))}

    # ---------------------------------------------------------------------------------------------- people and CI

    def setup(self, on_failure: str = "rollback", **policy: Any) -> None:
        files: dict[str, str] = {}
        for name in self.names:
            self.registry.push(f"acme/{name}", "1.0.0", created=BEGIN - timedelta(days=9))
            files |= {path: text for path, text in self.file(name, "1.0.0").items() if text is not None}
        gitservers.bare(self.bare, files=files)
        put = self.cluster.put
        put("GitRepository", "fleet", {"url": self.server.url(self.bare.name), "ref": {"branch": "main"}})
        for name in self.names:
            spec = {"image": self.image(name), "insecure": True, "interval": "1h", "policy": {"semver": {"range": "*"}}}
            put("ImagePolicy", name, spec | policy)
        put("ImageUpdateAutomation", "all", {"sourceRef": {"name": "fleet"}, "interval": "1h"})
        spec = {"sourceRef": {"name": "fleet"}, "path": "apps", "rollback": {"onFailure": on_failure}}
        put("Kustomization", "apps", spec)

    def person(self, name: str, tag: str, message: str = "By hand") -> str:
        return gitservers.commit(self.bare, self.file(name, tag), message=message)

    def configure(self, name: str, old: str, new: str) -> str:
        """A person changes something else of it."""
        text = git("show", f"main:apps/{name}.yaml", cwd=self.bare) + "\n"
        assert old in text
        return gitservers.commit(self.bare, {f"apps/{name}.yaml": text.replace(old, new)}, message="Configure")

    async def push(self, name: str, tag: str, *, bad: bool = False) -> None:
        self.registry.push(f"acme/{name}", tag, created=datetime.now(UTC) - timedelta(days=1))
        if bad:
            self.bad.add((name, tag))
        await self.poll(name)

    async def poll(self, *names: str) -> None:
        """As the interval would, and what follows from it, until nothing moves any more."""
        daemon = self.daemon
        for name in names or self.names:
            await daemon.check(ObjectKey(SPACE, name))
        await daemon.look(ObjectKey(SPACE, "all"))
        await self.settle()

    # ---------------------------------------------------------------------------------------------- what is there

    @property
    def daemon(self) -> Any:
        assert self.updating is not None
        return self.updating._daemon

    @property
    def tip(self) -> str:
        return git("rev-parse", "main", cwd=self.bare)

    def tag(self, name: str, commit: str = "main") -> str:
        text = git("show", f"{commit}:apps/{name}.yaml", cwd=self.bare)
        return text.rpartition(f"acme/{name}:")[2].split()[0].strip("\"'}]").partition("@")[0]

    def subjects(self) -> list[str]:
        return git("log", "--format=%s", "main", cwd=self.bare).splitlines()

    def rollbacks(self) -> list[str]:
        return [each for each in self.subjects() if each.startswith("Roll back")]

    def status(self, name: str = "web", kind: str = "ImagePolicy") -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.bodies[kind, name].get("status") or {}
        return found

    def told(self, reason: str) -> list[str]:
        return [message for _, why, message in self.cluster.events if why == reason]

    # ---------------------------------------------------------------------------------------------- the cluster

    def roll(
        self,
        culprit: Culprit = Culprit.TAG,
        *,
        since: timedelta = timedelta(seconds=-30),
        applied: str | None = None,
    ) -> None:
        """What Git says is applied, and every rollout comes to its end. `applied`: a commit that is not the tip."""
        rollouts = []
        for name in self.names:
            tag = self.tag(name, applied or "main")
            failed = (name, tag) in self.bad
            known = self.verdicts.get(name)
            image = f"{self.image(name)}:{tag}"
            state = RolloutState.FAILED if failed else RolloutState.HEALTHY
            if (name, tag) in self.unanalysed:
                state = RolloutState.HEALTHY_UNANALYSED
            if known is None or (known.state, known.images) != (state, ((name, image),)):
                known = Rollout(
                    ref=Ref("apps", "Deployment", SPACE, name),
                    state=state,
                    culprit=culprit if failed else Culprit.UNKNOWN,
                    reason=f"container {name} ends with exit code 1" if failed else "",
                    since=self.clock() + since,
                    images=((name, image),),
                )
            self.verdicts[name] = known
            rollouts.append(known)
        self.rollouts.publish(ObjectKey(SPACE, "apps"), f"main@sha1:{applied or self.tip}", rollouts)

    async def settle(self, *, roll: bool = True, seconds: float = 20.0) -> None:
        """Until neither Git nor any status moves."""
        last: object = None
        quiet = 0
        async with asyncio.timeout(seconds):
            while quiet < 4:
                if roll:
                    self.roll()
                await asyncio.sleep(0.05)
                now = (self.tip, json.dumps([body.get("status") for body in self.cluster.bodies.values()]))
                now = (*now, tuple(self.cluster.bodies))  # type: ignore[assignment]
                quiet = quiet + 1 if now == last and not self._busy() else 0
                last = now

    def _busy(self) -> bool:
        """Is a run, or something that follows from one, under way? What only waits for a moment is not."""
        daemon = self.daemon
        runs = any(branch.task is not None and not branch.task.done() for branch in daemon._branches)
        return runs or bool(daemon._checking) or bool(daemon._observer.reverting._busy and not self.patient)

    patient = False
    """Something waits for a better time, and that is as it should be."""

    async def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while True:
                with suppress(AssertionError, KeyError):
                    if condition():
                        return
                await asyncio.sleep(0.02)

    # ---------------------------------------------------------------------------------------------- the process

    @asynccontextmanager
    async def life(self, *, forgets: bool = False) -> AsyncIterator[None]:
        """One process of the controller. `forgets`: its volume is a new one."""
        cache = Cache()
        self.cluster.show(cache)
        self.rollouts = Rollouts()
        self.verdicts = dict(self.verdicts)
        number = len(self._lives) if forgets else 0
        self._lives.append(None)
        settings = Settings(
            cache=self.folder / f"cache-{number}", state=self.folder / f"state-{number}.sqlite", leader_election=False
        )
        status = StatusWriter(self.cluster, cache, self.cluster, clock=self.clock)  # type: ignore[arg-type]
        with session(settings, {}) as opened:
            context = Context(
                cluster=self.cluster,  # type: ignore[arg-type]
                cache=cache,
                status=status,
                secrets=ClusterSecrets(self.cluster, monotonic=time.monotonic),  # type: ignore[arg-type]
                recorder=self.cluster,  # type: ignore[arg-type]
                settings=settings,
                session=opened,
                metrics=Metrics(),
                owned=LabelSelector(),
                environment={},
                clock=self.clock,
                monotonic=time.monotonic,
                dice=random.Random(1).random,
                sleep=asyncio.sleep,
            )
            async with open_client(settings, self.clock) as client:
                self.updating = Updating(context, rollouts=self.rollouts)
                stop = asyncio.Event()
                task = asyncio.create_task(self.updating.run(stop, client))
                try:
                    await self.until(lambda: self.daemon is not None and self.daemon.ready())
                    async with asyncio.timeout(20):
                        while not await self.daemon.look(ObjectKey(SPACE, "all")):
                            await asyncio.sleep(0.01)
                    yield
                finally:
                    stop.set()
                    await task
                    await status.close()
                    self.updating = None


@asynccontextmanager
async def world(server: gitservers.HttpServer, folder: Path, names: Iterable[str] = ("web",)) -> AsyncIterator[World]:
    async with EmbeddedRegistry() as registry:
        yield World(folder, server, registry, tuple(names))


@asynccontextmanager
async def living(server: gitservers.HttpServer, folder: Path, names: Iterable[str] = ("web",)) -> AsyncIterator[World]:
    """A world that nothing was changed of, whose controller runs and has settled."""
    async with world(server, folder, names) as at:
        at.setup()
        async with at.life():
            await at.settle()
            yield at
