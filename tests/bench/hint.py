"""A hint → the commit on the server, through the daemon: 50 files, one moves, 1,000 other policies poll beside it.

The clock starts when the registry has answered the push of the tag, and ends when the bare repository's branch holds
the commit (looked at every 2 ms by a thread of its own). Plain manifests, and an overlay that is rendered before and
after; the Git server by plain HTTP and by HTTPS. The registry is Debian's, by plain HTTP, in its own process.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench import repositories, servers
from tests.bench.rows import Row, median, percentile, spread
from tests.parts import gitservers, registries

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.repositories import Repository

RUNS = 40
OTHERS = 1000
INTERVALS = (20, 60)
"""Seconds in which each of the others is polled: spread evenly, so that their polls are too."""
TAGS = ("0.9.0", "1.0.0", "latest")


@dataclass
class _Case:
    name: str
    made: Repository
    tls: bool
    budget: float
    flux: str = "–"


def bench() -> list[Row]:
    return asyncio.run(_bench())


async def _bench() -> list[Row]:
    rows: list[Row] = []
    with servers.folder() as place, registries.running("debian", place / "registry") as registry:
        others = {f"other/o-{n:04d}": TAGS for n in range(OTHERS)}
        servers.tag_lists(registry, others)
        plain = repositories.markers(registry.host, apps=10, files=5)
        rendered = repositories.overlays(registry.host, apps=5, files=10)
        assert len(plain.files) == len(rendered.files) == 50
        for image in (*plain.images, *rendered.images):
            servers.push_image(registry, image, "1.0.0")
        for case in (
            _Case("plain manifests, HTTP", plain, False, 0.10, "109 ms"),
            _Case("rendered proof, HTTP", rendered, False, 0.13),
            _Case("plain manifests, HTTPS", plain, True, 0.10),
            _Case("rendered proof, HTTPS", rendered, True, 0.13),
        ):
            servers_at = place / case.name.replace(", ", "-").replace(" ", "-")
            with gitservers.http_server(servers_at / "git", tls=case.tls) as git:
                rows += await _case(case, registry, git, list(others), servers_at)
            for image in case.made.images:
                servers.forget_tags(registry, image, keep=["1.0.0"])
    return rows


def _objects(case: _Case, host: str, git: gitservers.HttpServer, others: list[str]) -> str:
    made = case.made
    names = [image.rpartition("/")[2] for image in made.images]
    secret = ""
    documents = []
    if case.tls:
        assert git.ca is not None
        secret = "  certSecretRef: {name: ca}\n"
        ca = "".join(f"    {line}\n" for line in git.ca.decode().splitlines())
        documents.append(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: ca}}\nstringData:\n  ca.crt: |\n{ca}")
    return repositories.documents(
        *documents,
        *(repositories.policy(name, f"{host}/acme/{name}") for name in names),
        *(
            repositories.policy(
                name.rpartition("/")[2], f"{host}/{name}", interval=f"{_interval(n)}s", labels=", labels: {kind: other}"
            )
            for n, name in enumerate(others)
        ),
        repositories.repository(git.url("fleet.git"), extra=secret),
        repositories.automation("fleet"),
    )


async def _case(
    case: _Case, registry: registries.RealRegistry, git: gitservers.HttpServer, others: list[str], place: Path
) -> list[Row]:
    repository = servers.bare(git.root / "fleet.git", case.made.files)
    image = case.made.images[1]
    manifest = servers.get_manifest(registry, image, "1.0.0")
    async with servers.product(place, _objects(case, registry.host, git, others)) as product:
        daemon = product.daemon()
        stop = asyncio.Event()
        running = asyncio.create_task(daemon.run(stop))
        try:
            await servers.until(lambda: _settled(product, daemon.ready()), seconds=60, pause=0.05)
            await asyncio.sleep(INTERVALS[0])
            latencies = []
            polled = product.requests()
            spent, begun = time.process_time(), time.monotonic()
            name = f"{registry.host}/{image}"
            asked = servers.asked(registry, image)
            for run in range(RUNS):
                tag = f"1.1.{run}"
                await asyncio.to_thread(servers.put_manifest, registry, image, tag, manifest)
                await asyncio.to_thread(servers.quiet, 2.0)
                watch = _Watch(repository)
                started = time.perf_counter()
                assert daemon.hint(name, tag)
                ended = await asyncio.to_thread(watch.wait)
                latencies.append(ended - started)
                await asyncio.sleep(0.15)
            spent, begun = time.process_time() - spent, time.monotonic() - begun
            asked = servers.asked(registry, image) - asked
            polled = product.requests() - polled
        finally:
            stop.set()
            await running
    assert case.made.noise(servers.contents(repository), new=f"1.1.{RUNS - 1}", moved={_moved(case.made, image)}) == 0
    assert servers.commits(repository) == RUNS + 1
    work = f"hint → commit on the server, {case.name}"
    note = (
        f"{spread(latencies)}; {len(others)} other policies polled"
        f" every {INTERVALS[0]}–{INTERVALS[1]} s; beside it {polled / begun:.0f} registry requests"
        f" and {spent / begun:.2f} CPU-s a second"
    )
    rows = [
        Row(work=f"{work}: p50", value=median(latencies), unit="s", budget=case.budget, flux=case.flux, note=note),
        Row(work=f"{work}: p99", value=percentile(latencies, 0.99), unit="s", budget=0.5,
            flux="233 ms (max of 40)" if case.flux != "–" else "–", note=f"the largest of {RUNS}"),
    ]  # fmt: skip
    if case.name.startswith("plain manifests, HTTP") and not case.tls:
        rows.append(
            Row(work="hint → commit on the server: registry requests a hint", value=asked / RUNS, unit="", budget=3,
                flux="2", note="those for the hinted image")
        )  # fmt: skip
    return rows


def _interval(number: int) -> int:
    shortest, longest = INTERVALS
    return shortest + number % (longest - shortest + 1)


def _settled(product: servers.Product, ready: bool) -> bool:
    """Every policy was asked once: what polls from now on is the steady state."""
    return ready and len(product.selector.answers) >= len(product.objects.policies)


def _moved(made: Repository, image: str) -> str:
    return next(path for path in made.edits if image.rpartition("/")[2] in path)


class _Watch:
    """When the branch moved, seen from a thread that sleeps 2 ms between two looks."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._before = servers.tip(repository)
        self._ended = 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            try:
                now = (self._repository / "refs/heads/main").read_text().strip()
            except FileNotFoundError:
                now = self._before
            if now not in (self._before, ""):
                self._ended = time.perf_counter()
                return
            time.sleep(0.002)

    def wait(self) -> float:
        self._thread.join()
        if not self._ended:
            raise TimeoutError("no commit in 20 s")
        return self._ended
