"""20 automations on one branch, an own path each; their 20 policies move at once. One process, one queue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.bench import repositories, servers
from tests.bench.rows import Row, median, spread
from tests.parts import gitservers, registries

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 20
RUNS = 5
OLD_TAGS = ("0.9.0", "1.0.0", "latest")
SHARED = "shared/image"


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
        for name, make in (("plain", repositories.markers), ("rendered", repositories.overlays)):
            made = make(registry.host, apps=COUNT)
            servers.tag_lists(registry, dict.fromkeys(made.images, OLD_TAGS), SHARED)
            repository = servers.bare(git.root / f"{name}.git", made.files)
            url = git.url(f"{name}.git")
            rows += await _measure(name, made, repository, url, registry, place / name, git)
            for image in made.images:
                servers.forget_tags(registry, image, keep=OLD_TAGS)
    return rows


async def _measure(
    name: str,
    made: repositories.Repository,
    repository: Path,
    url: str,
    registry: registries.RealRegistry,
    place: Path,
    git: gitservers.HttpServer,
) -> list[Row]:
    names = [image.rpartition("/")[2] for image in made.images]
    objects = repositories.documents(
        *(
            repositories.policy(each, f"{registry.host}/acme/{each}", labels=f", labels: {{app: {each}}}")
            for each in names
        ),
        repositories.repository(url),
        *(repositories.automation(each, paths=f"[apps/{each}]", selector=f"app: {each}") for each in names),
    )
    async with servers.product(place, objects) as product:
        first = await product.update()
        assert not first.edits
        timers = []
        pushes = 0
        for run in range(RUNS):
            servers.tag_lists(registry, {image: [f"1.1.{run}"] for image in made.images}, SHARED)
            commits = servers.commits(repository)
            received = _pushes(git)
            with servers.Timer() as timer:
                await product.selector.refresh(product.objects.policies)
                report = await product.update()
            assert not report.failures, report.failures
            assert servers.commits(repository) - commits == COUNT, "nothing is lost"
            assert made.noise(servers.contents(repository), new=f"1.1.{run}") == 0
            pushes = max(pushes, _pushes(git) - received)
            timers.append(timer)
    walls = [timer.wall for timer in timers]
    work = f"{COUNT} automations move on one branch, {name}"
    note = f"{spread(walls)}; CPU {median([timer.cpu for timer in timers]):.2f} s with children; lists asked included"
    return [
        Row(work=f"{work}: all on the server", value=median(walls), unit="s", budget=1.0,
            flux="2.55 s (13.8 s by default)", note=note),
        Row(work=f"{work}: pushes", value=pushes, unit="", budget=1, exact=True, flux="20",
            note="the most of all runs"),
    ]  # fmt: skip


def _pushes(git: gitservers.HttpServer) -> int:
    return sum('"POST ' in line and "/git-receive-pack" in line for line in git.requests())
