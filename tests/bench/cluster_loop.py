"""The whole loop in a real cluster: a tag is visible → the commit is on the server → the Deployment says so.

50 files, plain manifests with markers or overlays with `images`, one Kustomization for each path, 1,000 other policies
polled beside it every 20 to 60 s. The clock starts when the registry has answered the push of the tag; the hint is the
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
    budget: float
    flux: str = "–"


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
            _Case("plain manifests", plain, "apps/{}", 0.10, "109 ms"),
            _Case("kustomize", rendered, "apps/{}/prod", 0.13),
        ):
            there = place / case.name.replace(" ", "-")
            with gitservers.http_server(there / "git") as git, clusters.stage(there) as here:
                repo = servers.bare(git.root / "fleet.git", case.made.files)
                with clusters.running(here) as replica:
                    _create(here, replica, case, registry, git.url("fleet.git"), list(others))
                    rows += _hints(here, replica, case, registry, repo)
                    rows += _polls(here, replica, case, registry)
            for image in case.made.images:
                servers.forget_tags(registry, image, keep=["1.0.0"])
    return rows


def _create(
    here: Stage, replica: Replica, case: _Case, registry: registries.RealRegistry, url: str, others: list[str]
) -> None:
    """Everything, until it is quiet: all others were asked once, all paths are applied."""
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
            *(clusters.kustomization(name, case.path.format(name)) for name in names),
        ]
    )
    for kind, count in (("ImagePolicy", len(names) + len(others)), ("Kustomization", len(names))):
        applied = clusters.Times(clusters.ready)
        with clusters.seen(here, f"{kind}.{clusters.GROUP}", applied):
            here.until(partial(_reached, applied, count), 180, f"{kind}s ready", replica)
    time.sleep(INTERVALS[0])


# ------------------------------------------------------------------------------------------------- by a hint


@dataclass
class _Images:
    """When a Deployment's container got an image, by Deployment and image."""

    at: dict[tuple[str, str], float] = field(default_factory=dict)

    def __call__(self, name: str, body: Object, when: float) -> None:
        image = body["spec"]["template"]["spec"]["containers"][0]["image"]
        self.at.setdefault((name, image), when)

    def have(self, wanted: Iterable[tuple[str, str]]) -> bool:
        return all(each in self.at for each in wanted)


def _hints(here: Stage, replica: Replica, case: _Case, registry: registries.RealRegistry, repo: Path) -> list[Row]:
    image = case.made.images[1]
    name = _app(image)
    manifest = servers.get_manifest(registry, image, "1.0.0")
    images = _Images()
    committed, deployed, whole, writes, events, reads, spent = [], [], [], [], [], [], []
    said = ""
    asked = servers.asked(registry, image)
    with clusters.seen(here, "Deployment", images):
        for run in range(RUNS):
            tag = f"1.1.{run}"
            wanted = (name, f"{registry.host}/{image}:{tag}")
            servers.quiet(2)
            mark, before = here.plane.mark(), Usage.of(replica)
            with clusters.branch(repo) as moved:
                servers.put_manifest(registry, image, tag, manifest)
                started = time.monotonic()
                here.request_now("ImagePolicy", name)
                here.until(moved, 30, f"a commit of {tag}", replica)
                commit = moved() or 0.0
            here.until(partial(images.have, {wanted}), 30, f"{name} has {tag}", replica)
            committed.append(commit - started)
            deployed.append(images.at[wanted] - commit)
            whole.append(images.at[wanted] - started)
            time.sleep(1)
            after, audit = Usage.of(replica), here.asked(mark)
            spent.append(after.cpu - before.cpu)
            writes.append(audit.write_count)
            reads.append(audit.read_count + audit.secrets)
            events.append(audit.events)
            said = str(audit)
    asked = servers.asked(registry, image) - asked
    moved_path = next(path for path in case.made.edits if name in path)
    assert case.made.noise(servers.contents(repo), new=f"1.1.{RUNS - 1}", moved={moved_path}) == 0
    assert servers.commits(repo) == RUNS + 1
    work = f"cluster: tag → commit → Deployment, {case.name}"
    note = f"{OTHERS} other policies polled every {INTERVALS[0]}–{INTERVALS[1]} s"
    return [
        Row(work=f"{work}: hint → commit, p50", value=median(committed), unit="s", budget=case.budget, flux=case.flux,
            note=f"{spread(committed)}; {note}"),
        Row(work=f"{work}: hint → commit, p99", value=percentile(committed, 0.99), unit="s", budget=0.5,
            flux="233 ms (max of 40)" if case.flux != "–" else "–", note=f"the largest of {RUNS}"),
        Row(work=f"{work}: commit → Deployment, p50", value=median(deployed), unit="s", budget=0.7,
            note=spread(deployed)),
        Row(work=f"{work}: commit → Deployment, p99", value=percentile(deployed, 0.99), unit="s",
            note=f"the largest of {RUNS}"),
        Row(work=f"{work}: hint → Deployment, p50", value=median(whole), unit="s", note=spread(whole)),
        Row(work=f"{work}: hint → Deployment, p99", value=percentile(whole, 0.99), unit="s",
            note=f"the largest of {RUNS}"),
        Row(work=f"{work}: API writes for an update", value=median(writes), unit="",
            flux="10, without the apply" if case.flux != "–" else "–",
            note=f"with {median(events):g} Events (Flux 3) and {median(reads):g} reads; at most {max(writes)};"
            f" {asked / RUNS:g} registry requests; the last: {said}"),
        Row(work=f"{work}: CPU for an update", value=median(spent), unit="CPU-s",
            flux="0.08 CPU-s, without the apply" if case.flux != "–" else "–",
            note=f"{spread(spent, 'CPU-s')}; with the polls of the others for about 1.5 s, and the builds"),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------- by polling


def _polls(here: Stage, replica: Replica, case: _Case, registry: registries.RealRegistry) -> list[Row]:
    """The images are polled every 10 s; in each round every one gets a tag, one after the other."""
    change = {"spec": {"interval": f"{POLL:g}s"}}
    names = [_app(image) for image in case.made.images]
    for name in names:
        here.plane.patch(f"ImagePolicy.{clusters.GROUP}", name, clusters.SPACE, change)
    images = _Images()
    time.sleep(POLL)
    whole = []
    with clusters.seen(here, "Deployment", images):
        for run in range(RUNS // len(names)):
            tag = f"1.2.{run}"
            pushed = {}
            for name in names:
                manifest = servers.get_manifest(registry, f"acme/{name}", "1.0.0")
                servers.put_manifest(registry, f"acme/{name}", tag, manifest)
                pushed[name, f"{registry.host}/acme/{name}:{tag}"] = time.monotonic()
                time.sleep(POLL / len(names))
            here.until(partial(images.have, pushed), 60, f"all have {tag}", replica)
            whole += [images.at[each] - when for each, when in pushed.items()]
    work = f"cluster: tag → commit → Deployment, {case.name}"
    limit = POLL * 1.1 + 0.3
    flux = "5.4 s (0.5–9.8), to the commit" if case.flux != "–" else "–"
    return [
        Row(work=f"{work}: polled every 10 s, tag → Deployment, p50", value=median(whole), unit="s", flux=flux,
            note=spread(whole)),
        Row(work=f"{work}: polled every 10 s, tag → Deployment, longest", value=max(whole), unit="s", budget=limit,
            flux="9.8 s, to the commit" if case.flux != "–" else "–",
            note=f"of {len(whole)}; budget: the interval, its jitter of 10 %, {number(0.3, 's')}"),
    ]  # fmt: skip


def _reached(times: clusters.Times, count: int) -> bool:
    return len(times.at) >= count


def _interval(number_: int) -> int:
    shortest, longest = INTERVALS
    return shortest + number_ % (longest - shortest + 1)


def _app(image: str) -> str:
    return image.rpartition("/")[2]
