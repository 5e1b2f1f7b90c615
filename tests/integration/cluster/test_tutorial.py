"""The tutorial, command by command: on the real control plane, with a real registry, Git server, Helm and kubectl.

Three things stand in: names of hosts become loopback addresses, `docker` is a script that pushes to the real registry,
and the pod is played by a process: it has the variables of the Deployment that the chart made, and the token of its
account.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.chart.helm import variables
from tests.integration.cli.documentation import ROOT
from tests.integration.cluster.documents import noted
from tests.parts import gitservers, registries
from tests.parts.controlplane import control_plane
from tests.parts.tools import Part, binary, free_port, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controlplane import ControlPlane

TUTORIAL = (ROOT / "docs/tutorial.md").read_text()
TOKEN = "a-token-of-the-tutorial"
REGISTRY, GIT = "registry.example.com", "https://git.example.com"


@dataclass
class Stage:
    """Where the document plays: a folder, and the environment of its shell."""

    folder: Path
    plane: ControlPlane
    hosts: dict[str, str]
    environment: dict[str, str]
    authority: Path
    controllers: list[Part] = field(default_factory=list)
    listen: str = ""

    def place(self, text: str) -> str:
        for name, address in self.hosts.items():
            text = text.replace(name, address)
        return text

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.place(command)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"$ {command}\n{output}\n{self.log()}\n{self.objects()}"
        return output

    def objects(self) -> str:
        """What our objects say, for a failure."""
        return self.plane.kubectl("get", "image-updater", "--all-namespaces", "--output=yaml", check=False)

    def log(self) -> str:
        return "\n".join(part.output()[-20_000:] for part in self.controllers)

    def metrics(self) -> set[str]:
        """The names of our metrics, as Prometheus would ask for them (a histogram by its own name)."""
        with urllib.request.urlopen(f"http://{self.listen}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        kinds = dict(re.findall(r"^# TYPE (image_updater_\w+) (\w+)$", text, re.MULTILINE))
        return {name for name in kinds if not name.endswith("_created")}

    def play_pod(self, namespace: str, name: str) -> None:
        """The controller as the Deployment says it runs, but for what only a node has: volume, port, CA."""
        deployment = self.plane.get("Deployment", name, namespace)
        assert deployment is not None
        account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
        self.listen = f"127.0.0.1:{free_port()}"
        data = self.folder / f"data-{len(self.controllers)}"
        given = {key: value.replace("/data", str(data)) for key, value in variables(deployment).items()}
        given |= {
            "POD_NAME": f"{name}-0",
            "POD_NAMESPACE": namespace,
            "IMAGE_UPDATER_LISTEN": self.listen,
            "IMAGE_UPDATER_KUBECONFIG": str(self.plane.kubeconfig_of(namespace, account)),
            "IMAGE_UPDATER_KUSTOMIZE": binary("kustomize"),
            "SSL_CERT_FILE": str(self.authority),
            "HOME": str(self.folder),
            "PATH": os.environ["PATH"],
        }
        command = [sys.executable, "-m", "image_updater", "controller"]
        self.controllers.append(start(command, log=self.folder / "controller.log", environment=given, folder=ROOT))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    authority = registries.Authority()
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(authority.certificate)
    programs = tmp_path / "bin"
    programs.mkdir()
    docker = programs / "docker"
    docker.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("docker.py")} "$@"\n')
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    for program in ("helm", "kubectl", "kustomize"):
        (programs / program).symlink_to(binary(program))
    (tmp_path / "charts").symlink_to(ROOT / "charts")
    with (
        registries.running("v3", tmp_path / "registry", tls=authority) as registry,
        gitservers.http_server(tmp_path / "git", user="bot", password=TOKEN) as server,
        control_plane(tmp_path / "cluster") as plane,
    ):
        gitservers.bare(server.root / "acme/fleet.git")
        address = server.url("acme").removesuffix("/acme")
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "KUBECONFIG": str(plane.kubeconfig),
            "GIT_TOKEN": TOKEN,
            "SSL_CERT_FILE": str(bundle),
            "GIT_CONFIG_NOSYSTEM": "1",
            # As a person's credential helper would.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{address.replace('://', f'://bot:{TOKEN}@')}/.insteadOf",
            "GIT_CONFIG_VALUE_0": f"{address}/",
            **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "Ada"),
            **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "ada@example.com"),
        }
        made = Stage(
            folder=tmp_path,
            plane=plane,
            hosts={REGISTRY: registry.host, GIT: address},
            environment=environment,
            authority=bundle,
        )
        try:
            yield made
        finally:
            for part in made.controllers:
                part.stop(20)


def commands(block: str) -> list[str]:
    """The commands of a block: lines, joined where they end in a backslash."""
    return [line for line in re.sub(r"\\\n\s*", "", block).splitlines() if line and not line.startswith("#")]


def test_the_tutorial_works_from_the_first_command_to_the_last(stage: Stage) -> None:
    outputs: dict[str, str] = {}
    scraped: set[str] = set()
    for note, language, body in noted(TUTORIAL):
        if note.startswith("file: "):
            path = stage.folder / note.removeprefix("file: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(stage.place(body))
            continue
        if language != "sh":
            continue
        for command in commands(body):
            if command.startswith("kubectl delete kustomizations"):
                scraped = stage.metrics()
            if command.startswith("helm uninstall"):
                stage.controllers[-1].stop(30)
                assert stage.controllers[-1].process.returncode == 0, stage.log()
            outputs[command] = stage.run(command)
            if command.startswith("helm install"):
                stage.play_pod("image-updater", "image-updater")
    plane = stage.plane
    assert plane.get("Deployment", "web", "default") is None
    message = next(output for command, output in outputs.items() if "--format=%B" in command)
    for line in ("to 1.1.0", "Image-Policy: ", "Old: 1.0.0", "New: 1.1.0", "Proof: rendered by kustomize"):
        assert line in message
    told = next(output for command, output in outputs.items() if "siteCounts" in command)
    assert '"current":1' in told
    verdicts = next(output for command, output in outputs.items() if ".status.candidates" in command)
    for tag, verdict in (("1.1.0", "chosen"), ("1.0.0", "eligible"), ("2.0.0", "rejected")):
        assert f'"tag":"{tag}","verdict":"{verdict}"' in verdicts
    implicit = next(output for command, output in outputs.items() if ".status.policies" in command)
    assert '"tag":"2.0.0"' in implicit
    assert plane.get("imagepolicies.image-updater.dev", "web", "default") is None
    events = next(output for command, output in outputs.items() if "kubectl events" in command)
    assert "CommitPushed" in events
    page = (ROOT / "docs/operations.md").read_text()
    named = set(re.findall(r"`(image_updater_\w+)`", page))
    assert named == scraped, "docs/operations.md names the metrics that there are"
    log = stage.log()
    assert TOKEN not in log
    assert "Traceback" not in log
