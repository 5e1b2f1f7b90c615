"""200 Kustomizations on one repository of 800 files, and 500 of them where nothing changes, in a real cluster.

The work of the first part is Flux's S6: an interval of an hour, `prune`, no `wait`, a Deployment and a Service each
(out of an overlay over a base: how Flux's four files were laid out is not recorded). The clock of the install starts
with the first create, while the controller waits for objects, and ends when the API server's watch has delivered the
last of the Kustomizations that is Ready. A commit to one path is in the bare repository before the clock starts; then
the GitRepository gets its requestedAt (a webhook's hint), and the clock ends when the watch has delivered that
Deployment with what the commit says. CPU is that of the controller and of the builds.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench import clusters, repositories, servers
from tests.bench.clusters import Stage, Times, Usage
from tests.bench.rows import Row, median, number, spread
from tests.parts import gitservers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import Object

FEW, MANY = 200, 500
FILES = 4
COMMITS = 8
SETTLE = 3.0
"""Seconds after a change in which what it costs is still counted."""
_KIND = f"Kustomization.{clusters.GROUP}"


def bench() -> list[Row]:
    rows = []
    for count in (FEW, MANY):
        with servers.folder() as place, gitservers.http_server(place / "git") as git:
            files = repository(count)
            repo = gitservers.bare(git.root / "fleet.git", files=files)
            gitservers.git("gc", "-q", cwd=repo)
            with clusters.stage(place) as here, clusters.running(here) as replica:
                rows += _install(here, replica, git.url("fleet.git"), count)
                rows += _commits(here, replica, repo, files) if count == FEW else _quiet(here, replica)
    return rows


def repository(count: int) -> dict[str, str]:
    """`count` overlays over a base each, four files in all, which build a Deployment and a Service."""
    files = {}
    for n in range(count):
        name = f"app-{n:03d}"
        image = f"registry.example.com/acme/{name}"
        files[f"apps/{name}/base/deployment.yaml"] = repositories.deployment(name, image).replace(
            "replicas: 2", "replicas: 1"
        )
        files[f"apps/{name}/base/service.yaml"] = repositories.service(name)
        files[f"apps/{name}/base/kustomization.yaml"] = repositories.kustomization(
            resources=["deployment.yaml", "service.yaml"]
        )
        files[f"apps/{name}/prod/kustomization.yaml"] = repositories.kustomization(
            resources=["../base"], extra=f"images:\n- name: {image}\n  newTag: 1.0.0\n"
        )
    assert len(files) == FILES * count
    return files


def _work(count: int, text: str) -> str:
    return f"cluster: {count} Kustomizations on one repository: {text}"


def _install(here: Stage, replica: Replica, url: str, count: int) -> list[Row]:
    interval = "1h" if count == FEW else "1m"
    objects = [
        clusters.kustomization(f"app-{n:03d}", f"./apps/app-{n:03d}/prod", interval=interval) for n in range(count)
    ]
    servers.quiet(10)
    applied = Times(clusters.ready)
    mark, before = here.plane.mark(), Usage.of(replica)
    with clusters.seen(here, _KIND, applied):
        started = here.create([clusters.source(url, interval=interval), *objects])
        created = time.monotonic() - started
        here.until(lambda: len(applied.at) == count, 240, "all applied", replica)
    took = max(applied.at.values()) - started
    after, asked = Usage.of(replica), here.asked(mark)
    found = here.plane.list("Deployment", clusters.SPACE)
    assert len(found) == count, len(found)
    return [
        Row(work=_work(count, "first install of all"), value=took, unit="s", budget=12 if count == FEW else None,
            flux="24.9 s" if count == FEW else "–",
            note=f"one run; creating them took {created:.1f} s; CPU {after.own - before.own:.1f} s of its own,"
            f" {after.children - before.children:.1f} s in builds; the first is ready after"
            f" {number(min(applied.at.values()) - started, 's')}; {asked}"),
        Row(work=_work(count, "peak RSS until then"), value=after.peak, unit="MiB",
            flux="192 + 111 MiB" if count == FEW else "–",
            note=f"afterwards {after.rss:.0f} MiB, of which {after.anonymous:.0f} anonymous; builds not included"),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------- one path changes


@dataclass
class _Deployments:
    """Waits for a Deployment whose container says what a commit set."""

    wanted: tuple[str, str] = ("", "")
    at: float = 0.0
    found: threading.Event = field(default_factory=threading.Event)

    def want(self, name: str, argument: str) -> None:
        self.found.clear()
        self.wanted = (name, argument)

    def __call__(self, name: str, body: Object, when: float) -> None:
        if name == self.wanted[0] and not self.found.is_set():
            containers = body["spec"]["template"]["spec"]["containers"]
            if self.wanted[1] in containers[0].get("args", ()):
                self.at = when
                self.found.set()


def _commits(here: Stage, replica: Replica, repo: Path, files: dict[str, str]) -> list[Row]:
    latencies, spent, children, writes, others, events = [], [], [], [], [], []
    revisions = _Revisions()
    watching = _Deployments()
    names = {f"app-{n:03d}" for n in range(FEW)}
    # The pods of the install, and the Events about it, are not what a commit costs.
    time.sleep(20)
    said = ""
    with (
        clusters.seen(here, "Deployment", watching),
        clusters.seen(here, _KIND, revisions),
    ):
        time.sleep(1)
        for run in range(COMMITS):
            name = f"app-{(run * 37 + 5) % FEW:03d}"
            path = f"apps/{name}/base/deployment.yaml"
            argument = f"--run={run}"
            changed = files[path].replace(f'["--name={name}"]', f'["--name={name}", "{argument}"]')
            assert changed != files[path]
            servers.quiet(5)
            mark, before = here.plane.mark(), Usage.of(replica)
            revisions.touched.clear()
            watching.want(name, argument)
            gitservers.commit(repo, {path: changed})
            started = time.monotonic()
            here.request_now("GitRepository", "fleet")
            here.until(watching.found.is_set, 60, f"{name} changed", replica)
            latencies.append(watching.at - started)
            time.sleep(SETTLE)
            after, asked = Usage.of(replica), here.asked(mark)
            spent.append(after.cpu - before.cpu)
            children.append(after.children - before.children)
            writes.append(asked.write_count)
            events.append(asked.events)
            others.append(sum(count for other, count in asked.names.items() if other in names - {name}))
            said = str(asked)
            assert revisions.touched == {name}, revisions.touched
    peak = Usage.of(replica)
    return [
        Row(work=_work(FEW, "commit to one path → that Deployment changed"), value=median(latencies), unit="s",
            budget=0.7, flux="8.8 s (1.5–19.7)", note=f"{spread(latencies)}; by a hint to the GitRepository"),
        Row(work=_work(FEW, "CPU for such a commit"), value=median(spent), unit="CPU-s", budget=1.0, flux="27 CPU-s",
            note=f"{spread(spent, 'CPU-s')}, of which {median(children):.2f} in builds; until {SETTLE:g} s after it"),
        Row(work=_work(FEW, "API writes for such a commit"), value=median(writes), unit="", flux="2,008 (+207 Events)",
            note=f"median of {COMMITS}, at most {max(writes)}; with {median(events):g} Events; the last: {said}"),
        Row(work=_work(FEW, "requests for the other 199"), value=max(others), unit="", budget=0, exact=True,
            flux="2,000", note=f"the most of {COMMITS} commits"),
        Row(work=_work(FEW, "peak RSS"), value=peak.peak, unit="MiB", flux="192 + 111 MiB",
            note=f"at the end {peak.rss:.0f} MiB, of which {peak.anonymous:.0f} anonymous; builds not included"),
    ]  # fmt: skip


class _Revisions:
    """Kustomizations whose status was written."""

    def __init__(self) -> None:
        self.touched: set[str] = set()

    def __call__(self, name: str, body: Object, when: float) -> None:
        self.touched.add(name)


# ------------------------------------------------------------------------------------------------- nothing changes


def _quiet(here: Stage, replica: Replica) -> list[Row]:
    # After an interval all have been looked at once more, spread by its jitter.
    time.sleep(70)
    clusters.forget_peak(replica)
    mark, before, begun = here.plane.mark(), Usage.of(replica), time.monotonic()
    time.sleep(60)
    after, asked = Usage.of(replica), here.asked(mark)
    minutes = (time.monotonic() - begun) / 60
    requests = asked.write_count + asked.read_count + asked.events
    return [
        Row(work=_work(MANY, "nothing changes, requests a minute"), value=requests / minutes, unit="", budget=0,
            exact=True, note=f"{asked}; interval 1 min, of the GitRepository too; watches and Secrets not counted"),
        Row(work=_work(MANY, "nothing changes, CPU a minute"), value=(after.cpu - before.cpu) / minutes, unit="CPU-s",
            note=f"one minute of one run; {after.children - before.children:.2f} s in builds"),
        Row(work=_work(MANY, "nothing changes, peak RSS"), value=after.peak, unit="MiB",
            note=f"at the end {after.rss:.0f} MiB, of which {after.anonymous:.0f} anonymous"),
    ]  # fmt: skip
