"""The controller as a process, with the rights that `install` gives it and no others.

`installed` makes the account in a namespace of its own; `controller` starts one replica (or one shard, one role) that
logs in as it. Nothing of the product is imported into the process that is tested but its command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from image_updater.api.manifests import NAME, Installation, manifests
from image_updater.settings import Role
from tests.parts import tools
from tests.parts.controlplane import ApiError, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.parts.controlplane import Audit, ControlPlane

_RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
_LISTENING = re.compile(r"listening on (\S+:\d+)")
_TROUBLE = re.compile(r"Traceback|never retrieved|never awaited|Warning: |Unclosed|CRITICAL")
"""What a log never holds, whatever happens outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The account that `install` makes."""

    plane: ControlPlane
    namespace: str
    roles: tuple[Role, ...]
    watch_namespaces: tuple[str, ...]

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{NAME}"

    def requests(self, since: int) -> list[Audit]:
        """What it asked the API server since a `plane.mark()`, impersonated requests too."""
        return [each for each in self.plane.audit(since) if each.user == self.user]

    def refused(self, since: int = 0) -> set[tuple[str, str, str]]:
        """(verb, resource, namespace) of what it was not allowed as itself. What it asks for as somebody else is that
        one's affair, and nobody may make Events in a namespace that is on its way out.
        """
        return {
            (each.verb, "/".join(filter(None, (each.resource, each.subresource))), each.namespace)
            for each in self.requests(since)
            if each.code == 403 and each.impersonated is None and each.resource != "events"
        }

    def lease(self, role: Role | str = Role.UPDATE) -> dict[str, Any]:
        """The Lease of a role of the process that has no selector; empty when there is none."""
        return self.plane.get("Lease", f"{NAME}-{role}", self.namespace) or {}


@contextmanager
def installed(
    plane: ControlPlane,
    *,
    roles: Sequence[Role] = tuple(Role),
    watch_namespaces: Sequence[str] = (),
    suffices: bool = True,
) -> Iterator[Installed]:
    """Definitions, and an account with the rights of these roles; returns when the API server grants them.

    They suffice: at the end there is no request that was refused. `suffices=False` where that cannot be said: an API
    server that was just started refuses everybody until it has read the roles.
    """
    made = Installed(
        plane=plane, namespace=plane.namespace("iu"), roles=tuple(roles), watch_namespaces=tuple(watch_namespaces)
    )
    chosen = Installation(namespace=made.namespace, roles=made.roles, watch_namespaces=made.watch_namespaces)
    objects = manifests(chosen)
    plane.apply(each for each in objects if each["kind"] == "CustomResourceDefinition")
    rights = [each for each in objects if each["kind"] in _RIGHTS]
    plane.apply(rights)
    try:
        account = plane.api_of(made.namespace, NAME)
        spaces = made.watch_namespaces or ("default",)
        for space in spaces:
            plane.until(partial(_granted, account, space), 15, f"the rights of {made.user} in {space}")
        mark = plane.mark()
        yield made
        plane.mend()
        refused = made.refused(mark) if suffices else set()
        assert not refused, f"it asked for what it may not: {sorted(refused)}"
    finally:
        plane.mend()
        for each in rights:
            if each["kind"].startswith("ClusterRole") or each["metadata"].get("namespace") != made.namespace:
                plane.delete(each["kind"], each["metadata"]["name"], each["metadata"].get("namespace"))
        plane.delete("Namespace", made.namespace)


def _granted(account: Any, namespace: str) -> bool:
    """The last of the rules, as a ClusterRole and as a Role, is in force."""
    account.request("GET", account.path("kustomizations.image-updater.dev", namespace))
    try:
        account.request("GET", account.path("Secret", namespace, "no-such-secret"))
    except ApiError as error:
        return error.code == 404
    return True


class Replica:
    """One process of the controller. Everything it ever wrote stays in `log`, over restarts too."""

    def __init__(
        self,
        account: Installed,
        folder: Path,
        *,
        name: str,
        flags: Sequence[str],
        environment: Mapping[str, str],
        kubeconfig: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.account = account
        self.name = name
        self.folder = folder
        self._kubeconfig = kubeconfig or account.plane.kubeconfig_of(account.namespace, NAME)
        self._log = folder / f"{name}.log"
        self._cache = folder / "cache" / name
        self._since = 0
        self._flags = list(flags)
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "POD_NAME": name,
            "POD_NAMESPACE": account.namespace,
            "IMAGE_UPDATER_KUSTOMIZE": tools.binary("kustomize"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTHONWARNINGS": "default",
            **environment,
        }
        self._part: tools.Part | None = None

    # ------------------------------------------------------------------------------------------- life

    def start(self) -> None:
        """Returns when it serves /healthz, which is before it knows the objects."""
        self._since = self._log.stat().st_size if self._log.exists() else 0
        watched = ",".join(self.account.watch_namespaces)
        self._part = tools.start(
            [
                sys.executable,
                "-m",
                "image_updater",
                "controller",
                f"--kubeconfig={self._kubeconfig}",
                f"--roles={','.join(self.account.roles)}",
                *([f"--watch-namespaces={watched}"] if watched else []),
                f"--cache={self._cache}",
                "--listen=127.0.0.1:0",
                *self._flags,
            ],
            log=self._log,
            ready=lambda: _LISTENING.search(self.recent()) is not None,
            environment=self._environment,
            folder=self.folder,
        )

    @property
    def part(self) -> tools.Part:
        assert self._part is not None, "not started"
        return self._part

    @property
    def running(self) -> bool:
        return self._part is not None and self._part.running

    def kill(self) -> None:
        """SIGKILL to it and its children: what the end of a container is."""
        self.part.kill()

    def pause(self) -> None:
        """SIGSTOP: a machine that hangs."""
        os.killpg(self.part.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.part.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, and return at once."""
        os.killpg(self.part.pid, signal.SIGTERM)

    def wait(self, timeout: float = 45.0) -> int:
        """Its exit code, once it ends."""
        try:
            return self.part.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} is still there after {timeout:g} s:\n{self._tail()}") from None

    def stop(self, timeout: float = 45.0) -> int:
        """SIGTERM, and its exit code."""
        self.terminate()
        return self.wait(timeout)

    def restart(self) -> None:
        """Start it again (after `kill`, `stop`, or an end of its own), with the cache that it had."""
        if self.running:
            self.stop()
        self.start()

    def forget(self) -> None:
        """Take its cache away, as a lost volume does. It must not run."""
        assert not self.running
        shutil.rmtree(self._cache, ignore_errors=True)

    def revive(self) -> None:
        """As the kubelet does: start it again if it has ended by itself."""
        if not self.running:
            self.start()

    def end(self) -> None:
        if self._part is not None and self._part.running:
            self.resume()
            self._part.stop(20)

    # ------------------------------------------------------------------------------------------- what it says

    def log(self) -> str:
        """Everything that it has written, in all its lives."""
        return self._log.read_text(errors="replace")

    def recent(self) -> str:
        """What it has written since the last start."""
        with self._log.open("rb") as log:
            log.seek(self._since)
            return log.read().decode(errors="replace")

    def trouble(self) -> list[str]:
        """Lines that no log of ours may hold, with what stands around them."""
        lines = self.log().splitlines()
        return [
            "\n".join(lines[max(0, number - 2) : number + 40])
            for number, line in enumerate(lines)
            if _TROUBLE.search(line)
        ]

    def _tail(self) -> str:
        return "\n".join(self.log().splitlines()[-40:])

    @property
    def address(self) -> str:
        found = _LISTENING.search(self.recent())
        assert found is not None, f"{self.name} does not listen"
        return found[1]

    def get(self, path: str) -> tuple[int, str]:
        """What it answers there. An AssertionError when nobody does: not yet, or not any more."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.address}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.part.process.wait(2)
                raise tools.PartFailedError(f"{self.name} ended with {code}:\n{self._tail()}") from error
            raise AssertionError(f"{self.name} does not answer: {error}") from error

    def ready(self) -> bool:
        if not self.running:
            raise tools.PartFailedError(f"{self.name} ended with {self.part.process.returncode}:\n{self._tail()}")
        return self.get("/readyz")[0] == 200

    def health(self) -> dict[str, Any]:
        code, text = self.get("/healthz")
        assert code == 200, text
        found: dict[str, Any] = json.loads(text)
        return found

    def leads(self) -> bool:
        """In every role that it has."""
        return set(self.health()["leads"]) == {role for role in self.account.roles if role is not Role.WEB}

    def metrics(self) -> dict[str, float]:
        """By name, with the labels behind it as in the text: `image_updater_commits_total{branch="main",…}`."""
        code, text = self.get("/metrics")
        assert code == 200, text
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    def metric(self, name: str) -> float:
        """The sum over all labels."""
        return sum(value for key, value in self.metrics().items() if key.partition("{")[0] == name)

    def await_ready(self, timeout: float = 60.0) -> None:
        until(self.ready, timeout, f"{self.name} ready")

    def await_leading(self, timeout: float = 60.0) -> None:
        until(self.leads, timeout, f"{self.name} leading")


@contextmanager
def controller(
    plane: ControlPlane,
    folder: Path,
    *,
    account: Installed | None = None,
    roles: Sequence[Role] = tuple(Role),
    watch_namespaces: Sequence[str] = (),
    name: str = "replica-0",
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    started: bool = True,
) -> Iterator[Replica]:
    """One replica, ready; with an `account` it is one more of that installation. Its log is looked through at the end:
    whatever happened outside, it holds no traceback.
    """
    if account is None:
        with (
            installed(plane, roles=roles, watch_namespaces=watch_namespaces) as made,
            controller(
                plane, folder, account=made, name=name, flags=flags, environment=environment, started=started
            ) as replica,
        ):
            yield replica
        return
    replica = Replica(account, folder, name=name, flags=flags, environment=environment or {})
    try:
        if started:
            replica.start()
            replica.await_ready()
        yield replica
    except BaseException as error:
        if replica._log.exists():  # the failure of a test, with what the process said
            error.add_note(f"--- {name}\n" + "\n".join(replica.log().splitlines()[-80:]))
        raise
    finally:
        replica.end()
    assert not replica.trouble(), f"{name}: " + "\n…\n".join(replica.trouble())
