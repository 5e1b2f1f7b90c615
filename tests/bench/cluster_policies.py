"""1,000 ImagePolicies × 100 tags in a real cluster: created → all decided, two quiet minutes, and two restarts.

The same work as Flux had: Debian's docker-registry over plain HTTP, no login, an interval of one minute; the clock
starts with the first create and ends when the API server's watch has delivered the last policy that is Ready with the
right tag. Beside the policies there is a GitRepository with an automation, which Flux had not. CPU and memory are those
of the controller's process, from /proc; requests are from the registry's log and the API server's audit log.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from tests.bench import clusters, repositories, servers
from tests.bench.clusters import Stage, Times, Usage
from tests.bench.rows import Row
from tests.parts import gitservers, registries

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import Object

POLICIES, TAGS = 1000, 100
MINUTES = 2
NEWEST = "1.9.9"
_CHOSEN = 'image_updater_policies{state="chosen"}'
_FACTS = "image_updater_facts_fetched_total"


def bench() -> list[Row]:
    with (
        servers.folder() as place,
        gitservers.http_server(place / "git") as git,
        registries.running("debian", place / "registry") as registry,
    ):
        names = [f"i-{n:04d}" for n in range(POLICIES)]
        tags = [f"1.{n // 10}.{n % 10}" for n in range(TAGS)]
        assert NEWEST in tags
        servers.tag_lists(registry, {f"acme/{name}": tags for name in names})
        made = repositories.markers(registry.host, apps=10, files=5)
        servers.bare(git.root / "fleet.git", made.files)
        objects = [clusters.policy(name, f"{registry.host}/acme/{name}", interval="1m") for name in names]
        log = registry.root.parent / "log"
        with clusters.stage(place) as here, clusters.running(here) as replica:
            idle = Usage.of(replica)
            here.create([clusters.source(git.url("fleet.git")), clusters.automation()])
            servers.quiet(10)
            rows = _decided(here, replica, objects, log, idle)
            rows += _steady(here, replica, log)
            rows += _restarted(here, replica, log)
        return rows


def _chosen(body: Object) -> bool:
    return clusters.ready(body) and body["status"].get("latest", {}).get("tag") == NEWEST


def _asked(log: Path) -> int:
    return sum('"GET /v2/acme/' in line or '"HEAD /v2/acme/' in line for line in log.read_text().splitlines())


def _work(text: str) -> str:
    return f"cluster: {POLICIES:,} ImagePolicies × {TAGS} tags: {text}"


def _decided(here: Stage, replica: Replica, objects: list[Object], log: Path, idle: Usage) -> list[Row]:
    decided = Times(_chosen)
    mark, asked, before = here.plane.mark(), _asked(log), Usage.of(replica)
    with clusters.seen(here, f"ImagePolicy.{clusters.GROUP}", decided):
        started = here.create(objects)
        created = time.monotonic() - started
        here.until(lambda: len(decided.at) == len(objects), 120, "all policies decided", replica)
    took = max(decided.at.values()) - started
    after, writes, asked = Usage.of(replica), here.asked(mark), _asked(log) - asked
    return [
        Row(work=_work("created → all decided"), value=took, unit="s", budget=8, flux="27.7 s",
            note=f"one run; creating them took {created:.1f} s; CPU {after.cpu - before.cpu:.1f} s"),
        Row(work=_work("API writes to get there"), value=writes.write_count, unit="", flux="12,100",
            note=f"{writes}; {asked} registry requests; without the creates"),
        Row(work=_work("RSS with no policy yet"), value=idle.rss, unit="MiB",
            note=f"{idle.anonymous:.0f} MiB anonymous; all roles"),
        Row(work=_work("peak RSS until all were decided"), value=after.peak, unit="MiB", budget=150,
            flux="187 MiB (85)", note=f"afterwards {after.rss:.0f} MiB, of which {after.anonymous:.0f} anonymous"),
    ]  # fmt: skip


def _steady(here: Stage, replica: Replica, log: Path) -> list[Row]:
    # All were asked at once: after an interval and its jitter they are spread, and a minute holds all of them.
    time.sleep(70)
    clusters.forget_peak(replica)
    mark, asked, before, begun = here.plane.mark(), _asked(log), Usage.of(replica), time.monotonic()
    time.sleep(60 * MINUTES)
    after, asked = Usage.of(replica), _asked(log) - asked
    minutes = (time.monotonic() - begun) / 60
    writes = here.asked(mark)
    return [
        Row(work=_work("steady, CPU a minute"), value=(after.cpu - before.cpu) / minutes, unit="CPU-s", budget=1.0,
            flux="5.2 CPU-s", note=f"{MINUTES} minutes of one run, interval 1 min"),
        Row(work=_work("steady, registry requests a minute"), value=asked / minutes, unit="", budget=1000,
            flux="2,000", note="one a policy and interval; the interval has ±10 % jitter"),
        Row(work=_work("steady, API writes a minute"), value=writes.write_count / minutes, unit="", budget=0,
            exact=True, flux="4,002", note=str(writes)),
        Row(work=_work("steady, API reads a minute"), value=(writes.read_count + writes.secrets) / minutes, unit="",
            note=str(writes)),
        Row(work=_work("steady, Events a minute"), value=writes.events / minutes, unit="", budget=0, exact=True,
            flux="1,000"),
        Row(work=_work("steady, peak RSS"), value=after.peak, unit="MiB", budget=150, flux="187 MiB (85)",
            note=f"at the end {after.rss:.0f} MiB, of which {after.anonymous:.0f} anonymous; all roles in one process"),
    ]  # fmt: skip


def _restarted(here: Stage, replica: Replica, log: Path) -> list[Row]:
    rows = []
    for lost in (False, True):
        replica.stop()
        if lost:
            _forget(replica)
        servers.quiet(10)
        mark, asked, started = here.plane.mark(), _asked(log), time.monotonic()
        replica.start()
        here.until(lambda: _known(replica), 120, "all answers known", replica)
        took, asked = time.monotonic() - started, _asked(log) - asked
        used, facts = Usage.of(replica), replica.metric(_FACTS)
        time.sleep(3)  # what it would write now, it writes after the answers
        writes = here.asked(mark)
        name = "restart without its cache" if lost else "restart"
        rows += [
            Row(work=_work(f"{name} → all answers known"), value=took, unit="s", budget=None if lost else 3,
                flux="21.3 s" if lost else "–",
                note=f"one run; from the start of the process; CPU {used.cpu:.1f} s; peak RSS {used.peak:.0f} MiB"),
            Row(work=_work(f"{name}, facts fetched again"), value=facts, unit="", budget=None if lost else 0,
                exact=True, note=f"{asked} lists asked until then"),
            Row(work=_work(f"{name}, API writes"), value=writes.write_count, unit="", budget=0, exact=True,
                flux="6,000 (+1,680 Events)" if lost else "–", note=f"{writes}; 3 s after it included"),
        ]  # fmt: skip
    return rows


def _known(replica: Replica) -> bool:
    return replica.ready() and replica.leads() and replica.metrics().get(_CHOSEN, 0) == POLICIES


def _forget(replica: Replica) -> None:
    """Its cache folder: lists, facts, mirrors, renders."""
    shutil.rmtree(replica.folder / "cache" / replica.name)
