"""The real parts that are measured against, and the product as its daemon holds it. Loopback only."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import shutil
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pygit2

from image_updater import api
from image_updater.api.model import Author
from image_updater.git.seed import create_repository
from image_updater.pipeline.answers.opening import open_client
from image_updater.pipeline.answers.secrets import CurrentSecrets
from image_updater.pipeline.answers.selection import Selector
from image_updater.pipeline.daemon.metrics import Metrics
from image_updater.pipeline.daemon.watching import ObjectFiles
from image_updater.pipeline.report import Mode, UpdateRequest
from image_updater.pipeline.session import Session, session
from image_updater.settings import Settings
from tests.parts import gitservers, registries, tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping

    from image_updater.pipeline.daemon.daemon import Daemon
    from image_updater.pipeline.daemon.watching import ObjectSource
    from image_updater.pipeline.report import UpdateReport
    from image_updater.registry import RegistryClient

OCTETS = {"Content-Type": "application/octet-stream"}
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
AUTHOR = Author(name="Ada", email="ada@example.com")


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="image-updater-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def tag_lists(registry: registries.RealRegistry, lists: Mapping[str, Iterable[str]], image: str | None = None) -> None:
    """Tags that are only listed: the registry lists folders, whatever they link to. With `image`, a repository that was
    pushed with 1.0.0, they are all that image, and can be pulled.
    """
    repositories = registry.root / "docker/registry/v2/repositories"
    link = (repositories / image / "_manifests/tags/1.0.0/current/link").read_bytes() if image is not None else b""
    for repository, tags in lists.items():
        place = repositories / repository / "_manifests/tags"
        place.mkdir(parents=True, exist_ok=True)
        if image is not None and not (repositories / repository / "_layers").exists():
            for folder in ("_layers", "_manifests/revisions"):
                shutil.copytree(repositories / image / folder, repositories / repository / folder)
        for tag in tags:
            (place / tag).mkdir(exist_ok=True)
            if image is not None:
                (place / tag / "current").mkdir(exist_ok=True)
                (place / tag / "current/link").write_bytes(link)


def push_image(registry: registries.RealRegistry, repository: str, tag: str) -> str:
    """A small real image by the push protocol; its digest."""
    layer = hashlib.sha256(repository.encode()).digest() * 8
    config = json.dumps({"architecture": "amd64", "os": "linux", "created": "2026-05-01T00:00:00Z"}).encode()
    for blob in (layer, config):
        status, headers, _ = registries.request("POST", f"{registry.url}/v2/{repository}/blobs/uploads/", b"")
        assert status == 202, status
        place = headers["location"]
        url = place if place.startswith("http") else registry.url + place
        join = "&" if "?" in url else "?"
        status, _, _ = registries.request("PUT", f"{url}{join}digest={_digest(blob)}", blob, OCTETS)
        assert status == 201, status
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _part("application/vnd.docker.container.image.v1+json", config),
            "layers": [_part("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)],
        }
    ).encode()
    put_manifest(registry, repository, tag, manifest)
    return _digest(manifest)


def put_manifest(registry: registries.RealRegistry, repository: str, tag: str, manifest: bytes) -> None:
    url = f"{registry.url}/v2/{repository}/manifests/{tag}"
    status, _, body = registries.request("PUT", url, manifest, {"Content-Type": MANIFEST})
    assert status == 201, body


def get_manifest(registry: registries.RealRegistry, repository: str, tag: str) -> bytes:
    status, _, body = registries.request(
        "GET", f"{registry.url}/v2/{repository}/manifests/{tag}", None, {"Accept": MANIFEST}
    )
    assert status == 200, body
    return body


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _part(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def bare(path: Path, files: dict[str, bytes]) -> Path:
    """A bare repository with one commit, that takes pushes over HTTP."""
    path.parent.mkdir(parents=True, exist_ok=True)
    create_repository(path, files, author=AUTHOR, when=datetime.now(UTC), message="Start\n")
    gitservers.git("config", "http.receivepack", "true", cwd=path)
    gitservers.git("gc", "-q", cwd=path)
    return path


def contents(repository: Path, branch: str = "main") -> dict[str, bytes]:
    opened = pygit2.Repository(str(repository))
    index = pygit2.Index()
    index.read_tree(opened.branches[branch].peel(pygit2.Tree))
    return {entry.path: opened[entry.id].data for entry in index}


def tip(repository: Path, branch: str = "main") -> str:
    """What the branch's file holds (or packed-refs, before the first push)."""
    try:
        return (repository / "refs/heads" / branch).read_text().strip()
    except FileNotFoundError:
        return gitservers.git("rev-parse", branch, cwd=repository)


def commits(repository: Path, branch: str = "main") -> int:
    return int(gitservers.git("rev-list", "--count", branch, cwd=repository))


def environment(home: Path) -> dict[str, str]:
    """For the product: the pinned kustomize first on PATH, no one's own configuration."""
    path = os.pathsep.join((str(tools.CACHE / "bin"), os.environ.get("PATH", "")))
    return {"PATH": path, "HOME": str(home), "DOCKER_CONFIG": str(home / "docker")}


@dataclass
class Product:
    """What `image-updater run` opens once, for calls in this process."""

    settings: Settings
    environment: dict[str, str]
    objects: api.Objects
    session: Session
    client: RegistryClient
    selector: Selector
    secrets: CurrentSecrets
    file: Path
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def update(self, *, automations: frozenset[api.model.ObjectKey] | None = None) -> UpdateReport:
        """As the daemon does it when a branch may have changed."""
        from image_updater.pipeline.update import update

        return await update(self.request(automations))

    def request(self, automations: frozenset[api.model.ObjectKey] | None = None) -> UpdateRequest:
        return UpdateRequest(
            objects=self.objects,
            settings=self.settings,
            secrets=self.secrets,
            now=datetime.now(UTC),
            mode=Mode.PUSH,
            environment=self.environment,
            selector=self.selector,
            session=self.session,
            automations=automations,
        )

    def requests(self) -> int:
        """Registry requests so far."""
        return sum(self.client.metrics.requests.values())

    def daemon(
        self,
        apply: Callable[[UpdateRequest], Awaitable[UpdateReport]] | None = None,
        *,
        source: ObjectSource | None = None,
    ) -> Daemon:
        """`source`: of the objects after the start, instead of the file."""
        from image_updater.pipeline.daemon.daemon import Daemon
        from image_updater.pipeline.update import update

        files = ObjectFiles([self.file])
        files.look()
        return Daemon(
            source=source or files,
            objects=self.objects,
            selector=self.selector,
            secrets=self.secrets,
            settings=self.settings,
            environment=self.environment,
            metrics=Metrics(),
            clock=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            dice=random.random,
            session=self.session,
            apply=apply or update,
        )


@asynccontextmanager
async def product(place: Path, objects: str, *, rate: float = 1000.0) -> AsyncIterator[Product]:
    """The store, the mirrors, the renderer and a registry client in `place`."""
    place.mkdir(parents=True, exist_ok=True)
    file = place / "objects.yaml"
    file.write_text(objects)
    loaded = api.load([file])
    settings = Settings(state=place / "state.sqlite", cache=place / "cache", registry_rate=rate)
    outside = environment(place)
    secrets = CurrentSecrets(None)
    secrets.objects = loaded.secrets

    def clock() -> datetime:
        return datetime.now(UTC)

    with session(settings, outside) as opened:
        async with open_client(settings, clock) as client:
            selector = Selector(
                store=opened.store,
                secrets=secrets,
                environment=outside,
                clock=clock,
                registry=client,
                durable=True,
                at_once=settings.concurrency,
            )
            yield Product(
                settings=settings,
                environment=outside,
                objects=loaded,
                session=opened,
                client=client,
                selector=selector,
                secrets=secrets,
                file=file,
            )


@dataclass
class Timer:
    """Wall and CPU seconds of this process and its children between `start` and `stop`."""

    wall: float = 0.0
    cpu: float = 0.0
    _wall: float = 0.0
    _cpu: float = 0.0

    def __enter__(self) -> Timer:
        self._wall, self._cpu = time.perf_counter(), _cpu()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, _cpu() - self._cpu


def _cpu() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


async def until(check: Callable[[], bool], *, seconds: float, pause: float = 0.002) -> None:
    """Wait until `check` holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(pause)


def forget_tags(registry: registries.RealRegistry, repository: str, *, keep: Iterable[str]) -> None:
    """Take tags out of a list again."""
    place = registry.root / "docker/registry/v2/repositories" / repository / "_manifests/tags"
    for tag in set(os.listdir(place)) - set(keep):
        shutil.rmtree(place / tag)


def asked(registry: registries.RealRegistry, repository: str) -> int:
    """Requests for one repository so far that were no pushes, by the registry's own log."""
    log = (registry.root.parent / "log").read_text(errors="replace")
    return sum(f'"{method} /v2/{repository}/' in line for line in log.splitlines() for method in ("GET", "HEAD"))


QUIET = 0.6
"""Share of the machine that others must leave idle for a measurement to begin at once."""


_patience = [20.0]
"""Seconds that this process may still wait for a quiet machine, all in all."""


def quiet(seconds: float = 5.0) -> bool:
    """Wait until the machine is mostly idle, `seconds` at most; False when it never was."""
    begun = time.monotonic()
    limit = begun + min(seconds, _patience[0])
    try:
        while time.monotonic() < limit:
            idle, every = _idle()
            time.sleep(0.1)
            idle_after, every_after = _idle()
            if idle_after - idle >= QUIET * (every_after - every):
                return True
        return False
    finally:
        _patience[0] -= time.monotonic() - begun


def _idle() -> tuple[int, int]:
    with open("/proc/stat") as stat:
        ticks = [int(field) for field in stat.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)
