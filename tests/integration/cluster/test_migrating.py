"""Taking a Kustomization over from Flux, as docs/migrating-from-flux.md shows it, command by command.

Flux itself is not there: its kind is, and what its kustomize-controller leaves in a cluster (its field manager, its
owner labels, its inventory). That a suspended Kustomization deletes nothing is Flux's own affair.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from image_updater.api.schema import crds
from tests.integration.cli.documentation import ROOT
from tests.integration.cluster.documents import noted
from tests.parts.controllers import controller
from tests.parts.loops import API
from tests.parts.tools import binary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controlplane import ControlPlane, Object
    from tests.parts.loops import Place, Workshop

PAGE = (ROOT / "docs/migrating-from-flux.md").read_text()
FLUX = "kustomize.toolkit.fluxcd.io"
KINDS = f"kustomizations.{FLUX}"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": KINDS},
    "spec": {
        "group": FLUX,
        "scope": "Namespaced",
        "names": {
            "kind": "Kustomization",
            "plural": "kustomizations",
            "singular": "kustomization",
            "shortNames": ["ks"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
SHOP = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers: [{name: shop, image: 'registry.example.com/shop:1.0.0'}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: shop}
data: {colour: blue, size: large}
"""


def section(title: str) -> str:
    """A chapter of the page, with what is below it."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@contextmanager
def flux(plane: ControlPlane) -> Iterator[str]:
    """Flux's namespace, and its kind."""
    plane.apply([DEFINITION])
    plane.until(lambda: KINDS in plane.kubectl("api-resources", "--output=name"), 30, "Flux's kind is served")
    name = plane.namespace("flux")
    try:
        yield name
    finally:
        plane.delete("Namespace", name)
        plane.delete("CustomResourceDefinition", KINDS)
        plane.until(lambda: plane.get("CustomResourceDefinition", KINDS) is None, 60, "Flux's kind is gone")


def applied_by_flux(here: Place, namespace: str) -> None:
    """What its last run left."""
    labels = {f"{FLUX}/name": "shop", f"{FLUX}/namespace": namespace}
    objects: list[Object] = list(yaml.safe_load_all(SHOP))
    for each in objects:
        each["metadata"] |= {"namespace": here.namespace, "labels": labels}
    here.plane.apply(objects, here.namespace, manager="kustomize-controller")
    kustomization = {
        "apiVersion": f"{FLUX}/v1",
        "kind": "Kustomization",
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {"path": "./clusters/prod/shop", "prune": True, "interval": "10m"},
    }
    here.plane.apply([kustomization], namespace)
    here.await_running("shop", "registry.example.com/shop:1.0.0")


def pods(here: Place) -> set[str]:
    return {each["metadata"]["uid"] for each in here.plane.list("Pod", here.namespace)}


def test_a_kustomization_moves_from_flux_to_us_without_a_restart(
    plane: ControlPlane, shop: Workshop, here: Place, tmp_path: Path
) -> None:
    here.commit({"clusters/prod/shop/shop.yaml": SHOP})
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "kubectl").symlink_to(binary("kubectl"))
    environment = {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(plane.kubeconfig),
        "IMAGE_UPDATER_KUSTOMIZE": binary("kustomize"),
    }
    with flux(plane) as namespace, controller(plane, tmp_path / "controller", environment=shop.environment):
        applied_by_flux(here, namespace)
        before = pods(here)

        def place(text: str) -> str:
            """The page's names are those of this test."""
            text = re.sub(r"\bapps\b(?!/v1)", here.namespace, text).replace("flux-system", namespace)
            text = text.replace("https://git.example.com/acme/fleet.git", here.url)
            return text.replace(
                "secretRef: {name: fleet-git}", "secretRef: {name: git}\n  certSecretRef: {name: git-ca}"
            )

        subprocess.run(["git", "clone", "--quiet", str(here.repository), "fleet"], cwd=tmp_path, check=True)
        outputs: dict[str, str] = {}
        for note, language, body in noted(section("Take a Kustomization over")):
            if note.startswith("file: shop-objects"):
                (tmp_path / note.removeprefix("file: ")).write_text(place(body))
            if language != "sh":
                continue
            for command in body.splitlines():
                done = subprocess.run(
                    ["bash", "-c", place(command)],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=240,
                    check=False,
                )
                # 1 is what `kubectl diff` says where something differs: the labels do.
                assert done.returncode == (1 if " diff " in command else 0), done.stdout + done.stderr
                outputs[command] = done.stdout

        shown = next(text for command, text in outputs.items() if " diff " in command)
        changed = [line for line in shown.splitlines() if re.match(r"[-+] ", line)]
        assert changed
        assert all(re.match(rf"- +(labels:|{FLUX}/)", line) for line in changed), shown
        assert any("shop" in text for command, text in outputs.items() if " get deployments " in command)
        for kind in ("Deployment", "ConfigMap"):
            labels = here.get(kind, "shop")["metadata"]["labels"]
            assert not [name for name in labels if name.startswith(FLUX)]
            assert labels["kustomize.image-updater.dev/name"] == "shop"
        assert pods(here) == before
        assert plane.get(KINDS, "shop", namespace) is None

        # From now on Git decides what Flux had set.
        here.commit({"clusters/prod/shop/shop.yaml": SHOP.replace(", size: large", "")})
        here.annotate("GitRepository", "fleet", requestedAt="1")
        here.await_applied("shop")
        assert here.get("ConfigMap", "shop")["data"] == {"colour": "blue"}
        assert pods(here) == before


def test_beside_flux_a_plain_name_is_ours(plane: ControlPlane, namespace: str) -> None:
    plane.apply(crds())
    meta = {"name": "shop", "namespace": namespace}
    object_ = {"apiVersion": API, "kind": "Kustomization", "metadata": meta, "spec": {"sourceRef": {"name": "fleet"}}}
    with flux(plane):
        plane.apply([{"apiVersion": f"{FLUX}/v1", "kind": "Kustomization", "metadata": meta}, object_], namespace)

        def group(name: str) -> str:
            return plane.kubectl("get", name, f"--namespace={namespace}", "--output=name").partition(".")[2].strip()

        ours, theirs = "image-updater.dev/shop", f"{FLUX}/shop"
        assert [group(name) for name in ("kustomizations", "kustomizations.image-updater.dev", "iukust")] == [ours] * 3
        assert [group(name) for name in (KINDS, "ks")] == [theirs] * 2
