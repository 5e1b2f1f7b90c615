"""The closed loop in a real cluster: a bad tag goes out, its pods fail, Git goes back, and the Deployment follows.

Two bad tags in turn: the registry's answer to the node is that there is no such image, and the container ends at once,
again and again. Between them goes a good one, which is proven: two bad ones in a row would open the breaker. How long
pods must fail before it counts is a rule, not a cost: it is in the notes. The clock of a rollback starts when the API
server's watch has delivered the pod that shows the failure, and ends when the bare repository has the commit (looked
at every 2 ms); that of the way back when the watch has delivered the Deployment with the image of before.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from image_updater.pipeline.rollback.decision import SETTLED
from image_updater.sync.rollout.judge import SETTLE
from image_updater.sync.rollout.signs import CRASHES
from tests.bench import clusters, repositories, servers
from tests.bench.clusters import Stage, Usage
from tests.bench.rows import Row, median, number, spread
from tests.parts import gitservers, registries

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import Object

RUNS = 3
"""Of each kind of bad tag."""
NAME = "app-000"
_POLICY = f"ImagePolicy.{clusters.GROUP}"


def bench() -> list[Row]:
    with (
        servers.folder() as place,
        gitservers.http_server(place / "git") as git,
        registries.running("debian", place / "registry") as registry,
        clusters.stage(place) as here,
        clusters.running(here) as replica,
    ):
        made = repositories.overlays(registry.host, apps=5, files=10)
        servers.push_image(registry, made.images[0], "1.0.0")
        repository = servers.bare(git.root / "fleet.git", made.files)
        policy = clusters.policy(NAME, f"{registry.host}/{made.images[0]}")
        policy["spec"]["policy"] = {"semver": {"range": ">=1.0.0-0", "prereleases": True}}
        application = clusters.kustomization("fleet", f"./apps/{NAME}/prod")
        application["spec"]["rollback"] = {"onFailure": "rollback"}
        here.create([policy, clusters.source(git.url("fleet.git")), clusters.automation(), application])
        loop = _Loop(here=here, replica=replica, registry=registry, image=made.images[0], repository=repository)
        return loop.run()


@dataclass
class _Cluster:
    """What the watches have delivered of the one Deployment, its pods and its policy."""

    images: list[tuple[float, str]] = field(default_factory=list)
    failing: dict[str, float] = field(default_factory=dict)
    """By image, when a pod of it first failed in a way that counts."""
    proven: set[str] = field(default_factory=set)

    def deployment(self, name: str, body: Object, when: float) -> None:
        self.images.append((when, body["spec"]["template"]["spec"]["containers"][0]["image"]))

    def pod(self, name: str, body: Object, when: float) -> None:
        for each in body.get("status", {}).get("containerStatuses", ()):
            waiting = each.get("state", {}).get("waiting", {}).get("reason")
            if waiting == "ImagePullBackOff" or each["restartCount"] >= CRASHES:
                self.failing.setdefault(body["spec"]["containers"][0]["image"], when)

    def policy(self, name: str, body: Object, when: float) -> None:
        self.proven = {each["tag"] for each in body.get("status", {}).get("proven", ()) if not each.get("withdrawn")}

    def runs(self, image: str, since: float = 0.0) -> float | None:
        return next((when for when, found in self.images if found == image and when >= since), None)


@dataclass(frozen=True, kw_only=True)
class _Loop:
    here: Stage
    replica: Replica
    registry: registries.RealRegistry
    image: str
    repository: Path

    def run(self) -> list[Row]:
        seen = _Cluster()
        with (
            clusters.seen(self.here, "Deployment", seen.deployment),
            clusters.seen(self.here, "Pod", seen.pod),
            clusters.seen(self.here, _POLICY, seen.policy),
        ):
            self._until(lambda: "1.0.0" in seen.proven, "1.0.0 is proven")
            runs: dict[str, list[_Bad]] = {"missing": [], "crash": []}
            good = "1.0.0"
            for minor in range(1, 2 * RUNS + 1):
                kind = "missing" if minor % 2 else "crash"
                runs[kind].append(self._bad(seen, f"1.{minor}.0-{kind}", good))
                good = f"1.{minor}.1"
                self._push(good)
                self._until(lambda good=good: good in seen.proven, f"{good} is proven")
        said = f"{SETTLED.seconds} s of it on purpose: failures that come together are seen together"
        more = f"{SETTLE.seconds + SETTLED.seconds} s of it on purpose: a pull must fail for {SETTLE.seconds} s"
        assert servers.commits(self.repository) == 1 + 3 * 2 * RUNS, "a bad one, its rollback, and a good one"
        return [
            *_rows("the registry has no such image", runs["missing"], more),
            *_rows(f"it crashes (clock from restart {CRASHES})", runs["crash"], said),
        ]

    def _push(self, tag: str) -> float:
        """With bytes of its own: the same ones under another tag would stay bad."""
        manifest: dict[str, Any] = json.loads(servers.get_manifest(self.registry, self.image, "1.0.0"))
        data = json.dumps({**manifest, "annotations": {"tag": tag}}).encode()
        servers.put_manifest(self.registry, self.image, tag, data)
        pushed = time.monotonic()
        self.here.request_now("ImagePolicy", NAME)
        return pushed

    def _bad(self, seen: _Cluster, tag: str, good: str) -> _Bad:
        image = f"{self.registry.host}/{self.image}"
        mark, before = self.here.plane.mark(), Usage.of(self.replica)
        with clusters.branch(self.repository) as moved:
            pushed = self._push(tag)
            self._until(moved, f"a commit of {tag}")
        with clusters.branch(self.repository) as moved:
            self._until(moved, f"a rollback of {tag}")
            back = moved() or 0.0
        self._until(partial(seen.runs, f"{image}:{good}", back - 1.0), f"{good} in the cluster again")
        ended = seen.runs(f"{image}:{good}", back - 1.0) or 0.0
        after, asked = Usage.of(self.replica), self.here.asked(mark)
        return _Bad(
            rollback=back - seen.failing[f"{image}:{tag}"],
            follows=ended - back,
            whole=ended - pushed,
            cpu=after.cpu - before.cpu,
            writes=asked.write_count,
            said=str(asked),
        )

    def _until(self, condition: Any, what: str) -> None:
        self.here.until(condition, 90, what, self.replica)


@dataclass(frozen=True, kw_only=True)
class _Bad:
    rollback: float
    follows: float
    whole: float
    cpu: float
    writes: int
    said: str


def _rows(name: str, runs: list[_Bad], on_purpose: str) -> list[Row]:
    work = f"cluster: a bad tag, {name}"
    rollback, follows = [each.rollback for each in runs], [each.follows for each in runs]
    whole, cpu = [each.whole for each in runs], [each.cpu for each in runs]
    return [
        Row(work=f"{work}: pods fail → rollback on the server", value=median(rollback), unit="s",
            note=f"{spread(rollback)}; {on_purpose}"),
        Row(work=f"{work}: rollback on the server → Deployment back", value=median(follows), unit="s", budget=0.7,
            note=spread(follows)),
        Row(work=f"{work}: tag pushed → Deployment back", value=median(whole), unit="s",
            note=f"{spread(whole)}; CPU {number(median(cpu), 'CPU-s')} with builds; API writes"
            f" {median([each.writes for each in runs]):g}, the last: {runs[-1].said}"),
    ]  # fmt: skip
