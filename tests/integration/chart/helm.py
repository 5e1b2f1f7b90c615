"""Calling the real Helm, with a home of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.parts.tools import binary

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts/image-updater"
VALUES = Path(__file__).parent / "values"
NAMES = sorted(path.stem for path in VALUES.glob("*.yaml"))

Object = dict[str, Any]


class HelmError(AssertionError):
    """Helm ended with an error: its stderr."""


def helm(*arguments: str | Path, kubeconfig: Path | None = None) -> str:
    """Helm's output. Raises HelmError."""
    # A release is stored where the environment says, and without a kubeconfig no cluster may be found by chance.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "KUBECONFIG": str(kubeconfig or os.devnull),
    }
    done = subprocess.run(
        [binary("helm"), *map(str, arguments)],
        env=environment,
        text=True,
        capture_output=True,
        timeout=180,
        check=False,
    )
    if done.returncode:
        raise HelmError(f"helm {' '.join(map(str, arguments))}: {done.stderr}{done.stdout}")
    return done.stdout


def template(*arguments: str | Path, namespace: str = "updater") -> list[Object]:
    """The objects that the chart renders, as release `rel`; arguments such as `-f FILE`, `--set KEY=VALUE`."""
    text = helm("template", "rel", CHART, "--namespace", namespace, *arguments)
    return [document for document in yaml.safe_load_all(text) if document is not None]


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def workloads(objects: list[Object]) -> list[Object]:
    return of_kind(objects, "Deployment", "StatefulSet")


def container(workload: Object) -> Object:
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(found)


def variables(workload: Object) -> dict[str, str]:
    """The environment of the controller: what stands in the pod by value, and what Kubernetes would fill in."""
    return {each["name"]: str(each.get("value", "filled-in")) for each in container(workload)["env"]}
