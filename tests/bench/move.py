"""One of 500 images moves in 5,000 files: in this process, as the daemon would, and its parts without the network.

Each run pushes one tag more of one image and sends its hint; the clock ends when the server has the commit. The parts
(locate, claim, plan, splice, verify, commit on tree objects) are run on the fetched tree in the same warm process.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from image_updater.images import parse_name
from image_updater.pipeline import line as lines
from image_updater.pipeline.line import Line
from image_updater.pipeline.session import named_roots
from tests.bench import repositories, servers
from tests.bench.monorepo import OLD_TAGS, _objects
from tests.bench.rows import Row, median, spread
from tests.parts import gitservers, registries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from image_updater.git import Mirror
    from tests.bench.repositories import Repository

RUNS = 9


def bench() -> list[Row]:
    return asyncio.run(_bench())


async def _bench() -> list[Row]:
    rows: list[Row] = []
    with (
        servers.folder() as place,
        gitservers.http_server(place / "git") as git,
        registries.running("debian", place / "registry") as registry,
    ):
        for name, make, flux in (("markers", repositories.markers, "1.41 s"), ("overlays", repositories.overlays, "–")):
            made = make(registry.host)
            servers.tag_lists(registry, dict.fromkeys(made.images, OLD_TAGS))
            image = made.images[7]
            if name == "markers":
                servers.push_image(registry, image, "0.9.0")
            manifest = servers.get_manifest(registry, image, "0.9.0")
            repository = servers.bare(git.root / f"{name}.git", made.files)
            objects = _objects(made, registry.host, git.url(f"{name}.git"))
            rows += await _moves(name, image, manifest, repository, objects, registry, place / name, flux, made)
            servers.forget_tags(registry, image, keep=OLD_TAGS)
    return rows


async def _moves(
    name: str,
    image: str,
    manifest: bytes,
    repository: Path,
    objects: str,
    registry: registries.RealRegistry,
    place: Path,
    flux: str,
    made: Repository,
) -> list[Row]:
    server: list[servers.Timer] = []
    async with servers.product(place, objects) as product:
        first = await product.update()
        assert not first.edits
        policy = next(p for p in product.objects.policies if p.image.endswith(image))
        local: list[float] = []
        cpu: list[float] = []
        path = next(p for p in made.edits if image.rpartition("/")[2] in p)
        for run in range(RUNS):
            tag = f"1.1.{run}"
            servers.put_manifest(registry, image, tag, manifest)
            before = servers.tip(repository)
            with servers.Timer() as timer:
                await product.selector.hint(parse_name(policy.image), tag, [policy])
                await product.update()
            assert servers.tip(repository) != before
            server.append(timer)
        after = servers.contents(repository)
        assert made.noise(after, new=f"1.1.{RUNS - 1}", moved={path}) == 0
        for run in range(RUNS):
            tag = f"1.2.{run}"
            servers.put_manifest(registry, image, tag, manifest)
            await product.selector.hint(parse_name(policy.image), tag, [policy])
            begun, spent = time.perf_counter(), time.process_time()
            await _parts(product, repository)
            local.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - spent)
    walls = [timer.wall for timer in server]
    note = f"{spread(walls)}; CPU {median([timer.cpu for timer in server]):.3f} s with children"
    if name == "overlays":
        note += "; one build before (kept from the last move) and one after"
    return [
        Row(work=f"one of the 500 moves, warm, {name}: hint → on the server", value=median(walls), unit="s", budget=0.3,
            flux=flux, note=note),
        Row(work=f"one of the 500 moves, warm, {name}: locate, plan, splice, verify, commit", value=median(local),
            unit="s", budget=0.05, note=f"{spread(local)}; CPU {median(cpu):.3f} s; no fetch, no push, no build"),
    ]  # fmt: skip


async def _parts(product: servers.Product, repository: Path) -> None:
    """The line without network and builds: the proof here is the parse and the static answer."""
    mirror = _mirror(product)
    commit = servers.tip(repository)
    line = Line(
        selector=product.selector,
        renderer=product.session.renderer,
        cache=product.session.facts,
        named=named_roots(product.objects, ()),
    )
    automation = product.objects.automations[0]
    tree = mirror.tree(commit)
    result = await _without_builds(line, automation, product.objects, tree)
    assert len(result.files) == 1, [(d.state, d.reason) for d in result.plan.decisions if d.changes]
    made = await mirror.commit(
        commit, result.files, "Move one image\n", automation.commit.author, None, datetime.now(UTC)
    )
    assert made != commit


async def _without_builds(line: Line, automation, objects, tree) -> lines.Run:  # type: ignore[no-untyped-def]
    return await lines.run(replace(line, renderer=_NoBuilds(line.renderer)), automation, objects, tree)  # type: ignore[arg-type]


class _NoBuilds:
    """A renderer that is asked for nothing: every root counts as proved by what its kept render says."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def build_many(self, tree: object, roots: Sequence[object]) -> dict[str, object]:
        from image_updater.render.errors import BuildFailed

        return {root.id: BuildFailed("not built in this measurement") for root in roots}  # type: ignore[attr-defined]


def _mirror(product: servers.Product) -> Mirror:
    return next(iter(product.session.mirrors._mirrors.values()))
