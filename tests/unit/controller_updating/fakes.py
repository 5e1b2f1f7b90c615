"""A cluster in memory for the image half: what it reads by name, what it writes, and who may do what."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from image_updater.api.model import LabelSelector, ObjectKey
from image_updater.api.selectors import parse_selector
from image_updater.controller.cache import Cache
from image_updater.controller.context import Context
from image_updater.controller.secrets import ClusterSecrets
from image_updater.controller.status import StatusWriter
from image_updater.controller.update.updating import Updating
from image_updater.patch.decisions import State
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.daemon.metrics import Metrics
from image_updater.pipeline.mirrors import Mirrors
from image_updater.pipeline.report import AutomationReport, CommitReport, SiteReport, UpdateReport
from image_updater.pipeline.session import Session
from image_updater.settings import Settings
from image_updater.store import Store
from tests.unit.pipeline_selection.fakes import IMAGE, Clock, FakeRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from image_updater.pipeline.report import UpdateRequest

API = "image-updater.dev/v1alpha1"


def object_(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    labels = metadata.pop("labels", {})
    return {
        "apiVersion": API,
        "kind": kind,
        "metadata": {"name": name, "namespace": "apps", "labels": labels, **metadata},
        "spec": spec,
    }


def policy(name: str = "web", image: str = IMAGE, version_range: str = "*", **spec: Any) -> dict[str, Any]:
    document = {"image": image, "interval": "1h", "policy": {"semver": {"range": version_range}}, **spec}
    return object_("ImagePolicy", name, document)


def repository(name: str = "fleet", **spec: Any) -> dict[str, Any]:
    return object_("GitRepository", name, {"url": "https://git.test/fleet.git", "ref": {"branch": "main"}, **spec})


def automation(name: str = "fleet", **spec: Any) -> dict[str, Any]:
    return object_("ImageUpdateAutomation", name, {"sourceRef": {"name": "fleet"}, "interval": "1h", **spec})


def docker_config(host: str, user: str = "u", password: str = "p") -> dict[str, Any]:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    config = json.dumps({"auths": {host: {"auth": auth}}}).encode()
    return {
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(config).decode()},
    }


class FakeCluster:
    """`things` by (kind, namespace, name); `denied` by (user, namespace, name)."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.things: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.denied: set[tuple[str, str, str]] = set()
        self.reads: Counter[tuple[str, str]] = Counter()
        self.reviews: list[tuple[str, str, str]] = []
        self.statuses: list[tuple[str, str, dict[str, Any]]] = []
        self._version = 0

    def put(self, kind: str, name: str, body: dict[str, Any], namespace: str = "apps") -> None:
        self._version += 1
        metadata = {"name": name, "namespace": namespace, "resourceVersion": str(self._version)}
        self.things[kind, namespace, name] = {**body, "metadata": metadata}

    async def get(self, resource: Any, name: str, namespace: str | None = None, **_: Any) -> dict[str, Any] | None:
        self.reads[resource.kind, name] += 1
        return self.things.get((resource.kind, namespace or "", name))

    async def may(self, verb: str, resource: Any, namespace: str, name: str, *, user: str) -> bool:
        self.reviews.append((user, namespace, name))
        return (user, namespace, name) not in self.denied

    async def apply(self, _: object, body: dict[str, Any], **__: Any) -> dict[str, Any]:
        metadata = body["metadata"]
        self.statuses.append((body["kind"], metadata["name"], body["status"]))
        known = self.cache.get(body["kind"], ObjectKey(metadata["namespace"], metadata["name"]))
        assert known is not None
        return body


class Events:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str, str]] = []

    def event(self, *, about: Any, type: str, reason: str, message: str, action: str = "") -> None:  # noqa: A002
        self.sent.append((about["name"], type, reason, message))


class Line:
    """Stands in for the line: every policy of the automation is a site of its own, written at once."""

    def __init__(self) -> None:
        self.requests: list[UpdateRequest] = []
        self.written: dict[str, str] = {}
        self.implicit: dict[str, Any] = {}
        self.states: dict[str, tuple[State, str]] = {}
        self.fail: Exception | None = None
        self.failures = -1
        """How often, from now on; below zero: always."""

    async def __call__(self, request: UpdateRequest) -> UpdateReport:
        self.requests.append(request)
        if self.fail is not None and self.failures != 0:
            self.failures -= 1
            raise self.fail
        assert request.selector is not None
        assert request.automations is not None
        parts: dict[str, AutomationReport] = {}
        for each in request.objects.automations:
            if each.key not in request.automations:
                continue
            implicit = self.implicit
            if implicit and request.pulls is not None:
                implicit = dict(await request.pulls(each, implicit))
            wanted = {str(p.key): p for p in request.objects.policies if each.policy_selector.matches(p.meta.labels)}
            wanted |= implicit
            answers = await request.selector.select(wanted.values())
            sites, moved = [], []
            for key, spec in sorted(wanted.items()):
                answer = answers[policy_name(spec)]
                state, reason = self.states.get(key, (State.CURRENT, ""))
                if answer.selection is None:
                    state, reason = State.HELD, answer.reason
                elif key not in self.states and self.written.get(key) != answer.selection.tag:
                    moved.append(f"{key} {answer.selection.tag}")
                    self.written[key] = answer.selection.tag
                    state = State.UPDATED
                sites.append(
                    SiteReport(
                        file="apps/web.yaml",
                        line=3,
                        field=f"image[{key}]",
                        image=f"{spec.image}:1.0.0",
                        policy=key,
                        state=state,
                        reason=reason,
                        roots=(".",),
                    )
                )
            commit = None
            if moved:
                commit = CommitReport(
                    repository="https://git.test/fleet.git",
                    branch="main",
                    commit=f"{len(self.requests):040x}",
                    automation=str(each.key),
                    subject=", ".join(moved),
                    pushed=True,
                )
            parts[str(each.key)] = AutomationReport(
                sites=tuple(sites), implicit=tuple(implicit.values()), revision="a" * 40, commit=commit
            )
        commits = tuple(part.commit for part in parts.values() if part.commit is not None)
        sites_ = tuple(site for part in parts.values() for site in part.sites)
        return UpdateReport(changed=bool(commits), commits=commits, sites=sites_, automations=parts)


class Half:
    """The image half over a cluster in memory."""

    def __init__(self, folder: Path, registry: FakeRegistry, line: Line, **settings: Any) -> None:
        self.clock = Clock()
        self.registry, self.line = registry, line
        self.cache = Cache()
        self.cluster = FakeCluster(self.cache)
        self.events = Events()
        self.folder = folder
        self.settings = Settings(state=folder / "state", cache=folder / "cache", leader_election=False, **settings)
        self.status = StatusWriter(self.cluster, self.cache, self.events, clock=self.clock)  # type: ignore[arg-type]
        self.pushed: list[tuple[str, str, str]] = []
        self._generations: dict[tuple[str, str], tuple[int, Any]] = {}
        self.updating: Updating

    def put(self, *bodies: dict[str, Any]) -> None:
        """As the watch would tell it; status is what was written last."""
        for body in bodies:
            metadata = body["metadata"]
            place = (body["kind"], metadata["name"])
            generation, spec = self._generations.get(place, (0, None))
            if spec != body["spec"]:
                generation += 1
            self._generations[place] = (generation, body["spec"])
            status = self.written(*place) or body.get("status") or {}
            metadata = {"uid": f"uid-{place}", "generation": generation, **metadata}
            self.cache.observe(body["kind"], {**body, "metadata": metadata, "status": status})

    def written(self, kind: str, name: str) -> dict[str, Any]:
        """The status that was written last."""
        return next(
            (status for k, n, status in reversed(self.cluster.statuses) if (k, n) == (kind, name)),
            {},
        )

    def handled(self, kind: str, name: str) -> str | None:
        """The request that status says was handled."""
        return self.written(kind, name).get("lastHandledReconcileAt")

    def ready(self, kind: str, name: str) -> tuple[str, str]:
        conditions = {each["type"]: each for each in self.written(kind, name).get("conditions", ())}
        found = conditions.get("Ready", {})
        return found.get("status", ""), found.get("reason", "")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Half]:
        with Store.open(self.folder / "state", clock=self.clock) as store:
            mirrors = Mirrors(self.folder / "mirrors")
            context = Context(
                cluster=self.cluster,  # type: ignore[arg-type]
                cache=self.cache,
                status=self.status,
                secrets=ClusterSecrets(self.cluster, monotonic=time.monotonic),  # type: ignore[arg-type]
                recorder=self.events,  # type: ignore[arg-type]
                settings=self.settings,
                session=Session(store=store, renderer=None, mirrors=mirrors, facts=None),  # type: ignore[arg-type]
                metrics=Metrics(),
                owned=parse_selector(self.settings.selector) if self.settings.selector else LabelSelector(),
                environment={},
                clock=self.clock,
                monotonic=time.monotonic,
                dice=random.Random(1).random,
                sleep=asyncio.sleep,
            )
            self.context = context
            self.updating = Updating(context, pushed=lambda *each: self.pushed.append(each), apply=self.line)
            stop = asyncio.Event()
            task = asyncio.create_task(self.updating.run(stop, self.registry))
            try:
                yield self
            finally:
                stop.set()
                await task
                await self.status.close()
                mirrors.close()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)

    async def calm(self) -> None:
        """Until nothing is under way that was begun by what came before."""
        await asyncio.sleep(0.1)
        await self.status.settle()
