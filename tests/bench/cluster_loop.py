"""The whole loop in a real cluster: a tag is visible → the commit is on the server → the Deployment says so.

50 files, plain manifests with markers or overlays with `images`, 1,000 other policies polled beside it every 20 to
60 s. First without Kustomizations, which is Flux's S1; then with one for each path, so that each update is proved by a
build, which is applied. The clock starts when the registry has answered the push of the tag; the hint is the
requestedAt of the ImagePolicy. The commit is seen in the bare repository (looked at every 2 ms), the Deployment by the
API server's watch. Then the same by polling every 10 s: every tag of a round is pushed at another time of the interval.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tests.bench import clusters, repositories, servers
from tests.bench.clusters import Stage, Usage
from tests.bench.rows import Row, median, number, percentile, spread
from tests.parts import gitservers, registries

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.bench.repositories import Repository
    from tests.parts.controllers import Replica
    from tests.parts.controlplane import Object

RUNS = 20
OTHERS = 1000
INTERVALS = (20, 60)
POLL = 10.0
"""Seconds between two polls of an image, with ±10 %."""
TAGS = ("0.9.0", "1.0.0", "latest")
_LABELS = {"kind": "ours"}


@dataclass(frozen=True)
class _Case:
    name: str
    made: Repository
    path: str
    """Of an application, below the root."""


def bench() -> list[Row]:
    rows: list[Row] = []
    with servers.folder() as place, registries.running("debian", place / "registry") as registry:
        others = {f"other/o-{n:04d}": TAGS for n in range(OTHERS)}
        servers.tag_lists(registry, others)
        plain = repositories.markers(registry.host, apps=10, files=5)
        rendered = repositories.overlays(registry.host, apps=5, files=10)
        # A marker names the namespace of its policy.
        plain.files = {path: data.replace(b'"default:', b'"fleet:') for path, data in plain.files.items()}
        assert len(plain.files) == len(rendered.files) == 50
        for image in {*plain.images, *rendered.images}:
            servers.push_image(registry, image, "1.0.0")
        for case in (
            _Case("plain manifests", plain, "apps/{}"),
            _Case("kustomize", rendered, "apps/{}/prod"),
        ):
            there = place / case.name.replace(" ", "-")
            with gitservers.http_server(there / "git") as git, clusters.stage(there) as here:
                repo = servers.bare(git.root / "fleet.git", case.made.files)
                with clusters.running(here) as replica:
                    _create_policies(here, replica, case, registry, git.url("fleet.git"), list(others))
                    run = _Run(here=here, replica=replica, case=case, registry=registry, repository=repo)
                    if case.made is plain:
                        rows += run.by_hints(1, applied=False)
                    _create_kustomizations(here, replica, case)
                    rows += run.by_hints(2, applied=True)
                    rows += run.by_polls(3)
            for image in case.made.images:
                servers.forget_tags(registry, image, keep=["1.0.0"])
    return rows


def _create_policies(
    here: Stage, replica: Replica, case: _Case, registry: registries.RealRegistry, url: str, others: list[str]
) -> None:
    """Everything but Kustomizations, until it is quiet: all others were asked once, and are spread."""
    names = [_app(image) for image in case.made.images]
    here.create(
        [
            *(
                clusters.policy(
                    _app(image), f"{registry.host}/{image}", interval=f"{_interval(n)}s", labels={"kind": "other"}
                )
                for n, image in enumerate(others)
            ),
            *(clusters.policy(name, f"{registry.host}/acme/{name}", labels=_LABELS) for name in names),
            clusters.source(url),
            clusters.automation(selector=_LABELS),
        ]
    )
    _await(here, replica, "ImagePolicy", len(names) + len(others))
    time.sleep(INTERVALS[0])


def _create_kustomizations(here: Stage, replica: Replica, case: _Case) -> None:
    names = [_app(image) for image in case.made.images]
    here.create([clusters.kustomization(name, case.path.format(name)) for name in names])
    _await(here, replica, "Kustomization", len(names))
    time.sleep(5)


def _await(here: Stage, replica: Replica, kind: str, count: int) -> None:
    applied = clusters.Times(clusters.ready)
    with clusters.seen(here, f"{kind}.{clusters.GROUP}", applied):
        here.until(lambda: len(applied.at) >= count, 180, f"{kind}s ready", replica)


@dataclass
class _Images:
    """When a Deployment's container got an image, by Deployment and image."""

    at: dict[tuple[str, str], float] = field(default_factory=dict)

    def __call__(self, name: str, body: Object, when: float) -> None:
        image = body["spec"]["template"]["spec"]["containers"][0]["image"]
        self.at.setdefault((name, image), when)

    def have(self, wanted: Iterable[tuple[str, str]]) -> bool:
        return all(each in self.at for each in wanted)


@dataclass(frozen=True, kw_only=True)
class _Run:
    here: Stage
    replica: Replica
    case: _Case
    registry: registries.RealRegistry
    repository: Path

    def by_hints(self, minor: int, *, applied: bool) -> list[Row]:
        """20 tags `1.<minor>.…` of one image, one after the other; `applied`: there are Kustomizations."""
        here, made = self.here, self.case.made
        image = made.images[1]
        name = _app(image)
        manifest = servers.get_manifest(self.registry, image, "1.0.0")
        images = _Images()
        committed, deployed, writes, events, reads, spent = [], [], [], [], [], []
        said = ""
        asked, commits = servers.asked(self.registry, image), servers.commits(self.repository)
        with clusters.seen(here, "Deployment", images):
            for run in range(RUNS):
                tag = f"1.{minor}.{run}"
                wanted = (name, f"{self.registry.host}/{image}:{tag}")
                servers.quiet(2)
                mark, before = here.plane.mark(), Usage.of(self.replica)
                with clusters.branch(self.repository) as moved:
                    servers.put_manifest(self.registry, image, tag, manifest)
                    started = time.monotonic()
                    here.request_now("ImagePolicy", name)
                    here.until(moved, 30, f"a commit of {tag}", self.replica)
                    commit = moved() or 0.0
                committed.append(commit - started)
                if applied:
                    here.until(partial(images.have, {wanted}), 30, f"{name} has {tag}", self.replica)
                    deployed.append(images.at[wanted] - commit)
                time.sleep(1)
                after, audit = Usage.of(self.replica), here.asked(mark)
                spent.append(after.cpu - before.cpu)
                writes.append(audit.write_count)
                reads.append(audit.read_count + audit.secrets)
                events.append(audit.events)
                said = str(audit)
        asked = servers.asked(self.registry, image) - asked
        path = next(path for path in made.edits if name in path)
        assert made.noise(servers.contents(self.repository), new=f"1.{minor}.{RUNS - 1}", moved={path}) == 0
        assert servers.commits(self.repository) == commits + RUNS
        work = f"cluster: tag → commit, {self.case.name}, no Kustomizations"
        if applied:
            work = f"cluster: tag → commit → Deployment, {self.case.name}"
        beside = f"{OTHERS} other policies polled every {INTERVALS[0]}–{INTERVALS[1]} s"
        rows = [
            Row(work=f"{work}: hint → commit, p50", value=median(committed), unit="s", budget=0.13 if applied else 0.1,
                flux="–" if applied else "109 ms",
                note=f"{spread(committed)}; {beside}; {'proved by a build' if applied else 'nothing to build'}"),
            Row(work=f"{work}: hint → commit, p99", value=percentile(committed, 0.99), unit="s", budget=0.5,
                flux="–" if applied else "233 ms (max of 40)", note=f"the largest of {RUNS}"),
        ]  # fmt: skip
        if applied:
            whole = [sum(pair) for pair in zip(committed, deployed, strict=True)]
            rows += [
                Row(work=f"{work}: commit → Deployment, p50", value=median(deployed), unit="s", budget=0.7,
                    note=spread(deployed)),
                Row(work=f"{work}: commit → Deployment, p99", value=percentile(deployed, 0.99), unit="s",
                    note=f"the largest of {RUNS}"),
                Row(work=f"{work}: hint → Deployment, p50", value=median(whole), unit="s", note=spread(whole)),
                Row(work=f"{work}: hint → Deployment, p99", value=percentile(whole, 0.99), unit="s",
                    note=f"the largest of {RUNS}"),
            ]  # fmt: skip
        rows += [
            Row(work=f"{work}: API writes for an update", value=median(writes), unit="", flux="–" if applied else "10",
                note=f"with {median(events):g} Events (Flux 3) and {median(reads):g} reads; at most {max(writes)};"
                f" {asked / RUNS:g} registry requests; the last: {said}"),
            Row(work=f"{work}: CPU for an update", value=median(spent), unit="CPU-s",
                flux="–" if applied else "0.08 CPU-s",
                note=f"{spread(spent, 'CPU-s')}; with the polls of the others for a second, and builds"),
        ]  # fmt: skip
        return rows

    def by_polls(self, minor: int) -> list[Row]:
        """All images are polled every 10 s; in each round every one gets a tag, one after the other."""
        here, case = self.here, self.case
        names = [_app(image) for image in case.made.images]
        for name in names:
            change = {"spec": {"interval": f"{POLL:g}s"}}
            here.plane.patch(f"ImagePolicy.{clusters.GROUP}", name, clusters.SPACE, change)
        images = _Images()
        time.sleep(POLL)
        whole = []
        with clusters.seen(here, "Deployment", images):
            for run in range(RUNS // len(names)):
                tag = f"1.{minor}.{run}"
                pushed = {}
                for name in names:
                    manifest = servers.get_manifest(self.registry, f"acme/{name}", "1.0.0")
                    servers.put_manifest(self.registry, f"acme/{name}", tag, manifest)
                    pushed[name, f"{self.registry.host}/acme/{name}:{tag}"] = time.monotonic()
                    time.sleep(POLL / len(names))
                here.until(partial(images.have, pushed), 60, f"all have {tag}", self.replica)
                whole += [images.at[each] - when for each, when in pushed.items()]
        work = f"cluster: tag → commit → Deployment, {case.name}: polled every {POLL:g} s"
        return [
            Row(work=f"{work}, p50", value=median(whole), unit="s", flux="5.4 s (to the commit)", note=spread(whole)),
            Row(work=f"{work}, longest", value=max(whole), unit="s", budget=POLL * 1.1 + 0.3,
                flux="9.8 s (to the commit)",
                note=f"of {len(whole)}; budget: the interval, its jitter of 10 %, {number(0.3, 's')}"),
        ]  # fmt: skip


def _interval(number_: int) -> int:
    shortest, longest = INTERVALS
    return shortest + number_ % (longest - shortest + 1)


def _app(image: str) -> str:
    return image.rpartition("/")[2]
