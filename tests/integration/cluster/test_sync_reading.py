"""Our reader beside the real ones: what kubectl and Kustomize make of a scalar is what we make of it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from image_updater.errors import DocumentError
from image_updater.sync.manifests import prepare
from image_updater.sync.reading import read
from tests.parts import tools
from tests.unit.sync.test_reading import SCALARS
from tests.unit.sync.things import kustomization

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane

THINGS = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: things.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Thing, plural: things}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"""
MERGED = """\
  base: &base {a: 1, b: {c: yes}}
  copy: *base
  more: {<<: *base, d: 014}
  text: |
    yes
    no
  1.5: key
  on: key
"""


@pytest.fixture
def group(plane: ControlPlane, namespace: str) -> Any:
    name = f"{namespace}.example.org"
    plane.apply(THINGS.format(group=name))
    yield name
    plane.delete("CustomResourceDefinition", f"things.{name}")


def test_what_kubectl_applies_is_what_we_read(plane: ControlPlane, namespace: str, group: str) -> None:
    """Through the server, whose JSON has no other types than ours. A null is dropped by kubectl's merge."""
    # `~` and its like cannot be kept by an apply; big floats are written by Go in another spelling of the same number.
    texts = [text for text, value in SCALARS.items() if value is not None]
    spec = "".join(f"  v{index:03}: {text}\n" for index, text in enumerate(texts)) + MERGED
    manifest = f"apiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: x}}\nspec:\n{spec}"
    plane.kubectl("-n", namespace, "create", "--validate=false", "-f", "-", stdin=manifest)
    stored = plane.get(f"things.{group}", "x", namespace)
    assert stored is not None
    ours = read(manifest.encode())[0].value["spec"]
    assert ours.keys() == stored["spec"].keys()
    for name, value in ours.items():
        kept = stored["spec"][name]
        if isinstance(value, int) and value >= 2**63:
            value, kept = float(value), float(kept)  # the server has no larger integers in an object without a schema
        assert (value, type(value)) == (kept, type(kept)), name


def kustomize(folder: Path, **files: str) -> bytes:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    binary = tools.binary("kustomize")
    return subprocess.run(
        [binary, "build", "."], cwd=folder, env={"HOME": os.devnull}, check=True, capture_output=True
    ).stdout


def test_what_kustomize_writes_reads_back(tmp_path: Path) -> None:
    """It quotes what YAML 1.1 would take for something else, so that its readers need not agree on a version."""
    strings = [text for text in SCALARS if not text.startswith(("!", "'", '"'))]
    data = {f"v{index:03}": text for index, text in enumerate(strings)}
    source = yaml.safe_dump(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "annotations": data}, "data": data},
        default_style='"',
    )
    rendered = kustomize(tmp_path, kustomization="resources: [source.yaml]\n", source=source)
    (document,) = read(rendered)
    assert document.value["data"] == data
    assert document.value["metadata"]["annotations"] == data
    assert document.value == yaml.safe_load(source)


def test_generated_secrets_and_lists_come_through(tmp_path: Path) -> None:
    rendered = kustomize(
        tmp_path,
        kustomization="resources: [list.yaml]\nsecretGenerator: [{name: s, literals: [a=yes]}]\nnamespace: prod\n",
        list="{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, "
        "data: {a: 'on'}}]}\n",
    )
    found = prepare(rendered, kustomization(), namespaced=lambda _group, _kind: True)
    assert sorted((m.ref.kind, m.ref.namespace) for m in found) == [("ConfigMap", "prod"), ("Secret", "prod")]
    assert found[0].body["data"] == {"a": "on"}


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a: .inf\n", "~: 1\n", "[a]: 1\n", "a: *x\n"])
def test_what_we_refuse_no_builder_takes(tmp_path: Path, text: str) -> None:
    source = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\n{text}"
    with pytest.raises(DocumentError):
        read(source.encode())
    with pytest.raises(subprocess.CalledProcessError):
        kustomize(tmp_path, kustomization="resources: [source.yaml]\n", source=source)


def test_everything_prepared_is_taken_by_a_strict_server(plane: ControlPlane, namespace: str, group: str) -> None:
    """Namespaces, nulls, odd names and what `kubectl get` leaves behind."""
    text = f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: x
  creationTimestamp: null
  annotations: null
  labels: {{empty: null}}
  managedFields: []
data: {{}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: "system:read_all"}}
rules: []
---
apiVersion: {group}/v1
kind: Thing
metadata: {{name: z}}
status: {{}}
spec: {{a: 1.0, b: 1e3, c: null}}
"""
    scopes = {"ConfigMap": True, "Role": True, "Thing": True}
    found = prepare(text.encode(), kustomization("w" * 253, namespace), namespaced=lambda _group, kind: scopes[kind])
    for manifest in found:
        kind = f"things.{group}" if manifest.ref.kind == "Thing" else manifest.ref.kind
        path = plane.path(kind, manifest.ref.namespace, manifest.ref.name)
        query = "fieldManager=image-updater&force=true&fieldValidation=Strict"
        made = plane.request("PATCH", f"{path}?{query}", json.dumps(manifest.body), "application/apply-patch+yaml")
        assert made["metadata"]["labels"].items() >= manifest.body["metadata"]["labels"].items()
    assert {manifest.ref.namespace for manifest in found} == {namespace}
