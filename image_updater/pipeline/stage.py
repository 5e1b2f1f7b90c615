"""The demo's stage: an embedded registry, a bare repository with three overlays, and the real daemon between them.

Everything lives in one temporary folder and on loopback, and is gone when the block ends, however it ends.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater import api
from image_updater.api.model import Author
from image_updater.embedded import EmbeddedRegistry
from image_updater.git.seed import create_repository, show_commit
from image_updater.pipeline.answers.opening import open_client
from image_updater.pipeline.answers.secrets import CurrentSecrets
from image_updater.pipeline.answers.selection import Selector
from image_updater.pipeline.daemon.daemon import Daemon
from image_updater.pipeline.daemon.metrics import Metrics
from image_updater.pipeline.daemon.watching import ObjectFiles
from image_updater.pipeline.session import session
from image_updater.pipeline.update import update

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.report import UpdateReport, UpdateRequest
    from image_updater.settings import Settings

STOP_TIMEOUT = 3.0
"""Seconds for what is under way at the end."""
REPOSITORY = "acme/web"
POLICY = "default/web"
FIRST_TAGS = ("1.3.9", "1.4.0", "1.4.1", "nightly")

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 1
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: web
          image: acme/web   # the overlays say which one
          ports:
            - containerPort: 8080
"""

BASE = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - deployment.yaml
"""

OVERLAYS = {
    "dev": """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: dev
resources: [../../base]
images:
- name: acme/web
  newName: {image}
  newTag: 1.4.1   # moves by itself
""",
    "staging": """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: staging
resources:
  - ../../base
images:
  - {{name: acme/web, newName: "{image}", newTag: "1.4.1"}}
""",
    "prod": """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: prod
resources:
    - ../../base
replicas:
    - name: web
      count: 3     # ask before you lower this
images:
    - name: acme/web
      newName: {image}
      newTag: '1.4.0'
""",
}

OBJECTS = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {{name: web}}
spec:
  image: {image}
  insecure: true          # plain HTTP: this registry is a demo on loopback
  interval: 1h            # too long to wait for: the push below sends a hint
  filterTags: {{exclude: ['-rc']}}
  policy:
    semver: {{range: ^1.4}}
---
apiVersion: image-updater.dev/v1alpha1
kind: GitRepository
metadata: {{name: fleet}}
spec: {{url: '{url}', ref: {{branch: main}}}}
---
apiVersion: image-updater.dev/v1alpha1
kind: ImageUpdateAutomation
metadata: {{name: fleet}}
spec:
  sourceRef: {{name: fleet}}
  interval: 1h
"""


def files(image: str) -> dict[str, bytes]:
    """The repository's first commit; prod's file has Windows line ends, as somebody's always has."""
    texts = {"base/deployment.yaml": DEPLOYMENT, "base/kustomization.yaml": BASE}
    texts |= {f"overlays/{name}/kustomization.yaml": text.format(image=image) for name, text in OVERLAYS.items()}
    texts["overlays/prod/kustomization.yaml"] = texts["overlays/prod/kustomization.yaml"].replace("\n", "\r\n")
    return {path: text.encode() for path, text in texts.items()}


@dataclass(slots=True, kw_only=True)
class Stage:
    """What the demo can do and see."""

    registry: EmbeddedRegistry
    image: str
    repository: Path
    daemon: Daemon
    selector: Selector
    reports: asyncio.Queue[UpdateReport]

    def push(self, tag: str) -> str:
        """What a CI job does; then its webhook."""
        digest = self.registry.push(REPOSITORY, tag)
        self.daemon.hint(self.image, tag)
        return digest

    @property
    def answers(self) -> Mapping[str, Outcome]:
        return self.selector.answers

    def newest_commit(self) -> tuple[str, str]:
        return show_commit(self.repository)


@asynccontextmanager
async def stage(settings: Settings, environment: Mapping[str, str]) -> AsyncIterator[Stage]:
    """Set everything up, run the daemon, and take it all away again."""

    def clock() -> datetime:
        return datetime.now(UTC)

    with tempfile.TemporaryDirectory(prefix="image-updater-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # Nothing here is worth waiting for when somebody interrupts it.
        patience = min(settings.stop_timeout, STOP_TIMEOUT)
        settings = replace(settings, state=folder / "state.sqlite", cache=folder / "cache", stop_timeout=patience)
        async with EmbeddedRegistry() as registry, open_client(settings, clock) as client:
            image = f"{registry.host}/{REPOSITORY}"
            for age, tag in enumerate(reversed(FIRST_TAGS)):
                registry.push(REPOSITORY, tag, created=clock() - timedelta(days=age + 1))
            repository = folder / "fleet.git"
            create_repository(
                repository,
                files(image),
                author=Author(name="Ada", email="ada@acme.example"),
                when=clock(),
                message="Start the fleet\n",
            )
            objects = folder / "objects.yaml"
            objects.write_text(OBJECTS.format(image=image, url=repository.as_uri()))
            secrets = CurrentSecrets(None)
            with session(settings, environment) as opened:
                selector = Selector(
                    store=opened.store,
                    secrets=secrets,
                    environment=environment,
                    clock=clock,
                    registry=client,
                    durable=True,
                )
                reports: asyncio.Queue[UpdateReport] = asyncio.Queue()

                async def apply(request: UpdateRequest) -> UpdateReport:
                    report = await update(request)
                    reports.put_nowait(report)
                    return report

                daemon = Daemon(
                    source=ObjectFiles([objects]),
                    objects=api.load([objects]),
                    selector=selector,
                    secrets=secrets,
                    settings=settings,
                    environment=environment,
                    metrics=Metrics(),
                    clock=clock,
                    monotonic=time.monotonic,
                    dice=random.random,
                    session=opened,
                    apply=apply,
                )
                stop = asyncio.Event()
                running = asyncio.create_task(daemon.run(stop))
                try:
                    yield Stage(
                        registry=registry,
                        image=image,
                        repository=repository,
                        daemon=daemon,
                        selector=selector,
                        reports=reports,
                    )
                finally:
                    stop.set()
                    await running
