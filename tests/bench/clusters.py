"""What the benches in a cluster share: a plane as Flux had it, the controller as a process, and what both cost.

The plane is that of the tests: real etcd (without fsync), API server, controller-manager and scheduler, kwok as the
nodes. Priority and fairness is off, as it was for Flux. The controller is a process of its own with the rights that
`install` gives and with its Lease, which Flux had not.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.parts.controllers import Installed, Replica, controller, installed
from tests.parts.controlplane import ApiError, ControlPlane, control_plane
from tests.parts.loops import binding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.parts.controlplane import Audit, Object

API = "image-updater.dev/v1alpha1"
GROUP = "image-updater.dev"
SPACE = "fleet"
"""The namespace of everything that is measured."""
CREATORS = 4
"""Threads that create objects."""
_TICKS = os.sysconf("SC_CLK_TCK")
_KIB = 1024.0


@dataclass(frozen=True)
class Stage:
    """A fresh plane with a controller's account in it, and one namespace whose `default` account is `admin`."""

    plane: ControlPlane
    account: Installed
    folder: Path

    def until(self, condition: Callable[[], Any], seconds: float, what: str, replica: Replica | None = None) -> None:
        """Looked at every 50 ms, so that the looks cost little."""
        limit = time.monotonic() + seconds
        while not condition():
            if replica is not None and not replica.running:
                raise AssertionError("the controller ended")
            if time.monotonic() > limit:
                raise TimeoutError(f"not within {seconds:g} s: {what}")
            time.sleep(0.05)

    def create(self, objects: Sequence[Object]) -> float:
        """POST them all, some at a time; the monotonic time of the first."""
        started = time.monotonic()
        queues = [objects[n::CREATORS] for n in range(CREATORS)]
        errors: list[BaseException] = []

        def work(queue: Sequence[Object]) -> None:
            try:
                for each in queue:
                    self.plane.request("POST", self.plane.path(f"{each['kind']}.{GROUP}", SPACE), each)
            except BaseException as error:  # raised again by the thread that waits
                errors.append(error)

        threads = [threading.Thread(target=work, args=(queue,)) for queue in queues]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return started

    def request_now(self, kind: str, name: str) -> None:
        """What a webhook's hint is in these benches: the requestedAt annotation."""
        change = {"metadata": {"annotations": {f"{GROUP}/requestedAt": str(time.time_ns())}}}
        self.plane.patch(f"{kind}.{GROUP}", name, SPACE, change)

    def asked(self, since: int) -> Asked:
        return Asked.of(self.account.requests(since))


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    with (
        control_plane(folder / "plane", apiserver=["--enable-priority-and-fairness=false"]) as plane,
        installed(plane) as account,
    ):
        plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": SPACE}})
        plane.until(lambda: plane.get("ServiceAccount", "default", SPACE))
        plane.apply([binding(SPACE, "default", "admin")])
        yield Stage(plane=plane, account=account, folder=folder)


@contextmanager
def running(here: Stage) -> Iterator[Replica]:
    """The controller with all roles; it leads when this returns."""
    flags = ["--registry-rate=1000"]
    with controller(here.plane, here.folder / "replica", account=here.account, flags=flags) as replica:
        replica.await_leading()
        yield replica


def thing(kind: str, name: str, spec: Object, labels: dict[str, str] | None = None) -> Object:
    metadata: Object = {"name": name, "namespace": SPACE}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def source(url: str, *, interval: str = "1h") -> Object:
    return thing("GitRepository", "fleet", {"url": url, "ref": {"branch": "main"}, "interval": interval})


def policy(name: str, image: str, *, interval: str = "1h", labels: dict[str, str] | None = None) -> Object:
    spec = {"image": image, "insecure": True, "interval": interval, "policy": {"semver": {"range": "^1"}}}
    return thing("ImagePolicy", name, spec, labels)


def automation(*, selector: dict[str, str] | None = None) -> Object:
    spec: Object = {
        "sourceRef": {"name": "fleet"},
        "interval": "1h",
        "git": {"commit": {"author": {"name": "image-updater", "email": "bot@example.com"}}},
    }
    if selector:
        spec["policySelector"] = {"matchLabels": selector}
    return thing("ImageUpdateAutomation", "all", spec)


def kustomization(name: str, path: str, *, interval: str = "1h") -> Object:
    spec = {"sourceRef": {"name": "fleet"}, "path": path, "interval": interval, "prune": True, "targetNamespace": SPACE}
    return thing("Kustomization", name, spec)


# ------------------------------------------------------------------------------------------------- what it costs


@dataclass(frozen=True)
class Usage:
    """Of one process since it began: CPU seconds of its own and of its children that have ended, memory in MiB."""

    own: float
    children: float
    rss: float
    peak: float
    anonymous: float

    @property
    def cpu(self) -> float:
        return self.own + self.children

    @classmethod
    def of(cls, replica: Replica) -> Usage:
        place = Path(f"/proc/{replica.part.pid}")
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        user, system, child_user, child_system = (int(each) / _TICKS for each in fields[11:15])
        status = (place / "status").read_text()
        sizes = {key: int(value) / _KIB for key, value in re.findall(r"^(\w+):\s+(\d+) kB", status, re.MULTILINE)}
        return cls(
            own=user + system,
            children=child_user + child_system,
            rss=sizes["VmRSS"],
            peak=sizes["VmHWM"],
            anonymous=sizes["RssAnon"],
        )


def forget_peak(replica: Replica) -> None:
    """From now on the peak is that of a new window."""
    Path(f"/proc/{replica.part.pid}/clear_refs").write_text("5")


@dataclass
class Asked:
    """What the controller asked the API server, its impersonated requests too, by (verb, resource): Leases left out."""

    writes: Counter[str] = field(default_factory=Counter)
    """Creates, updates, patches, deletes, without Events."""
    events: int = 0
    reads: Counter[str] = field(default_factory=Counter)
    """Gets and lists."""
    secrets: int = 0
    """Secrets read by name."""
    watches: int = 0
    leases: int = 0
    names: Counter[str] = field(default_factory=Counter)
    """Writes and reads by the object's name."""

    @classmethod
    def of(cls, requests: Sequence[Audit]) -> Asked:
        made = cls()
        for each in requests:
            what = "/".join(filter(None, (each.resource or each.uri, each.subresource)))
            if each.resource == "leases":
                made.leases += 1
            elif each.resource == "events":
                made.events += 1
            elif each.verb == "watch":
                made.watches += 1
            elif each.resource == "secrets" and each.verb == "get":
                made.secrets += 1
            else:
                (made.writes if each.writes else made.reads)[f"{each.verb} {what}"] += 1
                made.names[each.name] += 1
        return made

    @property
    def write_count(self) -> int:
        return self.writes.total()

    @property
    def read_count(self) -> int:
        return self.reads.total()

    def __str__(self) -> str:
        found = [f"{count} {what}" for what, count in (self.writes + self.reads).most_common(6)]
        found += [f"{self.events} events"] if self.events else []
        found += [f"{self.secrets} Secrets read"] if self.secrets else []
        found += [f"{self.watches} watches begun"] if self.watches else []
        found += [f"{self.leases} for Leases (not counted)"] if self.leases else []
        return ", ".join(found) or "none"


# ------------------------------------------------------------------------------------------------- what is seen


class Seen:
    """Objects of one kind as a watch of the administrator's delivers them, each with the time of its arrival."""

    def __init__(self, plane: ControlPlane, kind: str, observe: Callable[[str, Object, float], None]) -> None:
        self._path = plane.path(kind, SPACE)
        self._plane = plane
        self._observe = observe
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                for event in self._plane.watch(self._path, seconds=600):
                    if self._ended.is_set():
                        return
                    if event["type"] in ("ADDED", "MODIFIED"):
                        self._observe(event["object"]["metadata"]["name"], event["object"], time.monotonic())
            except (OSError, http.client.HTTPException, ApiError, json.JSONDecodeError):
                if not self._ended.is_set():
                    raise

    def end(self) -> None:
        self._ended.set()


@contextmanager
def seen(here: Stage, kind: str, observe: Callable[[str, Object, float], None]) -> Iterator[None]:
    """`observe(name, object, when)` for each that there is, and each that comes, in a thread of its own."""
    watching = Seen(here.plane, kind, observe)
    threading.Thread(target=watching._run, daemon=True).start()
    try:
        yield
    finally:
        watching.end()


@dataclass
class Times:
    """When something was first true of each object, by name; `forget` begins anew."""

    true: Callable[[Object], bool]
    at: dict[str, float] = field(default_factory=dict)

    def __call__(self, name: str, body: Object, when: float) -> None:
        if name not in self.at and self.true(body):
            self.at[name] = when

    def forget(self) -> None:
        self.at = {}


def ready(body: Object) -> bool:
    """The object as it is now is Ready."""
    status = body.get("status") or {}
    return status.get("observedGeneration") == body["metadata"]["generation"] and any(
        each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ()
    )


@contextmanager
def branch(repository: Path, name: str = "main") -> Iterator[Callable[[], float | None]]:
    """Tells when the branch has moved since the start of the block: its file is looked at every 2 ms by a thread."""
    file = repository / "refs/heads" / name
    moved: list[float] = []
    ended = threading.Event()

    def tip() -> str:
        with contextlib.suppress(FileNotFoundError):
            return file.read_text()
        return ""

    before = tip()

    def look() -> None:
        while not ended.is_set():
            if tip() not in (before, ""):
                moved.append(time.monotonic())
                return
            time.sleep(0.002)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: moved[0] if moved else None
    finally:
        ended.set()
        thread.join()
