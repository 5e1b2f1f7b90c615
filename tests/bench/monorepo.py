"""5,000 files, 500 tags move at once: through `update --push` to a bare repository behind nginx, plain HTTP.

`markers` is the repository that Flux was measured on: plain manifests, one marked line in 500 of them; no build is
needed. `overlays` has 500 overlays over 500 bases: each is built before and after with the real Kustomize. Both start
with the repository fetched and located (as a daemon has it), the clock starts when the last tag is visible, and the 500
lists are asked first. Then the same once more in a fresh process that knows nothing.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from image_updater.render import available_cpus
from tests.bench import repositories, servers
from tests.bench.rows import Row
from tests.parts import gitservers, registries

if TYPE_CHECKING:
    from tests.bench.repositories import Repository

BUDGET = 3.0
BUILD = 0.025
"""Seconds that a build takes each core (budget)."""
OLD_TAGS = ("0.9.0", "1.0.0", "latest")
FLUX_ALL = "128 s"
SHARED = "shared/image"
"""What all tags are: they can be pulled, or `preflight` would not have them written."""


def bench() -> list[Row]:
    return asyncio.run(_bench())


async def _bench() -> list[Row]:
    rows: list[Row] = []
    with (
        servers.folder() as place,
        gitservers.http_server(place / "git") as git,
        registries.running("debian", place / "registry") as registry,
    ):
        servers.push_image(registry, SHARED, "1.0.0")
        for name, make, flux in (
            ("markers", repositories.markers, FLUX_ALL),
            ("overlays", repositories.overlays, "–"),
        ):
            made = make(registry.host)
            assert len(made.files) == 5000, len(made.files)
            servers.tag_lists(registry, dict.fromkeys(made.images, OLD_TAGS), SHARED)
            repository = servers.bare(git.root / f"{name}.git", made.files)
            objects = _objects(made, registry.host, git.url(f"{name}.git"))
            rows += await _warm(name, made, repository, objects, registry, place / name, flux)
            repository = servers.bare(git.root / f"{name}-cold.git", made.files)
            objects = _objects(made, registry.host, git.url(f"{name}-cold.git"))
            rows += _cold(name, made, repository, objects, place / f"{name}-cold")
            if name == "markers":
                # The same images serve the other repository.
                for image in made.images:
                    servers.forget_tags(registry, image, keep=OLD_TAGS)
    return rows


def _objects(made: Repository, host: str, url: str) -> str:
    policies = [repositories.policy(image.rpartition("/")[2], f"{host}/{image}") for image in made.images]
    return repositories.documents(*policies, repositories.repository(url), repositories.automation("fleet"))


async def _warm(
    name: str,
    made: Repository,
    repository: Path,
    objects: str,
    registry: registries.RealRegistry,
    place: Path,
    flux: str,
) -> list[Row]:
    async with servers.product(place, objects) as product:
        first = await product.update()
        assert not first.edits, first.edits[:3]
        assert not first.failures, first.failures[:3]
        builds = product.session.renderer.counters.builds
        requests = product.requests()
        servers.tag_lists(registry, {image: [repositories.NEW] for image in made.images}, SHARED)
        with servers.Timer() as whole:
            await product.selector.refresh(product.objects.policies)
            decided = time.perf_counter()
            report = await product.update()
            update = time.perf_counter() - decided
        builds = product.session.renderer.counters.builds - builds
        requests = product.requests() - requests
        assert not report.failures, report.failures[:3]
    budget = BUDGET + builds * BUILD / available_cpus()
    noise = made.noise(servers.contents(repository))
    work = f"500 tags at once, 5,000 files, {name}"
    note = f"one run; CPU {whole.cpu:.1f} s with children; {builds} builds; {requests} registry requests"
    return [
        Row(work=f"{work}: tags visible → all in Git", value=whole.wall, unit="s", budget=budget, flux=flux, note=note),
        Row(work=f"{work}: decided → on the server", value=update, unit="s", budget=budget,
            flux="110 s" if flux != "–" else "–", note=f"{len(report.edits)} edits"),
        Row(work=f"{work}: commits", value=servers.commits(repository) - 1, unit="", budget=1, exact=True,
            flux="3–4" if flux != "–" else "–"),
        Row(work=f"{work}: bytes of noise", value=noise, unit="B", budget=0, exact=True,
            flux="333 of 500 files" if flux != "–" else "–"),
    ]  # fmt: skip


def _cold(name: str, made: Repository, repository: Path, objects: str, place: Path) -> list[Row]:
    """`image-updater update --push` in a fresh process without any cache."""
    place.mkdir(parents=True)
    (place / "objects.yaml").write_text(objects)
    command = [
        sys.executable,
        "-m",
        "image_updater",
        "update",
        "-f",
        str(place / "objects.yaml"),
        "--push",
        "-o",
        "json",
    ]
    command += ["--cache", str(place / "cache"), "--registry-rate", "1000"]
    environment = {**servers.environment(place), "PYTHONPATH": str(Path(__file__).parents[2])}
    with servers.Timer() as timer:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
    report = json.loads(done.stdout)
    assert done.returncode == 0, report["failures"][:3]
    assert len(report["edits"]) == len(made.edits), len(report["edits"])
    assert made.noise(servers.contents(repository)) == 0
    assert servers.commits(repository) == 2
    builds = 2 * len(made.edits) if name == "overlays" else 0
    return [
        Row(work=f"500 tags at once, 5,000 files, {name}: `update --push`, a fresh process", value=timer.wall, unit="s",
            budget=BUDGET + builds * BUILD / available_cpus(),
            note=f"one run; no cache, first fetch and first location included; CPU {timer.cpu:.1f} s with children"),
    ]  # fmt: skip
