"""What is written here is read by the real Kustomize as meant: its YAML reader is another one than ours."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from image_updater.kustomize.model import ObjectId
from image_updater.patch import Intended, compare, images_of
from image_updater.patch.set import Assignment, changes_for_set
from tests.parts.tools import binary
from tests.unit.patch.helpers import FILE, apply

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "sha256:" + "a" * 64
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: a, image: nginx}\n"

STYLES = {
    "flow list": "resources: [d.yaml]\n",
    "block list": "resources:\n- d.yaml\n",
    "indented list": "resources:\n  - d.yaml\nimages:\n  - name: redis # c\n",
    "json": '{"resources":["d.yaml"]}',
    "empty list": "resources: [d.yaml]\nimages: []\n",
    "no value": "resources: [d.yaml]\nimages:\n",
    "null": "resources: [d.yaml]\nimages: null\n",
    "flow entry": "resources: [d.yaml]\nimages: [{name: nginx}]\n",
    "wide dash": "resources: [d.yaml]\nimages:\n-   newName: acme/x\n    name: nginx\n",
    "document markers": "---\nresources: [d.yaml]\n...\n",
    "no final newline": "resources: [d.yaml]",
    "byte order mark": "\ufeffresources: [d.yaml]\n",
    "digest in the way": f"images:\n- name: nginx\n  digest: {DIGEST}\nresources: [d.yaml]\n",
    "flow entry with a tag": 'images:\n- {name: nginx, newTag: "3"}\nresources: [d.yaml]',
    "unquoted number": "images:\n- name: nginx\n  newTag: 3\nresources: [d.yaml]\n",
    "patch at the end": (
        "resources: [d.yaml]\npatches:\n- target: {kind: Pod}\n"
        "  patch: |\n    - {op: add, path: /metadata/labels, value: {a: b}}"
    ),
}


def build(folder: Path, **files: str) -> bytes:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_bytes(text.encode())
    done = subprocess.run([binary("kustomize"), "build", str(folder)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("eol", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("style", STYLES)
def test_a_tag_that_looks_like_something_else_arrives_as_text(tmp_path: Path, style: str, eol: str) -> None:
    text = STYLES[style].replace("\n", eol)
    for tag in ("v1", "1.10", "on", "12e3", "0x1f", "y"):
        new = apply(text, *changes_for_set(text, [Assignment(image="nginx", tag=tag)], file=FILE))
        rendered = build(tmp_path, d=POD, kustomization=new)
        assert [value.rpartition(":")[2] for _, _, value in images_of(rendered)] == [tag]


def test_a_generated_hash_and_what_a_replacement_copies_are_derived(tmp_path: Path) -> None:
    pod = POD.replace("image: nginx}", "image: nginx:1.0, envFrom: [{configMapRef: {name: conf}}]}")
    kustomization = (
        "resources: [d.yaml]\nconfigMapGenerator:\n- name: conf\n  literals: [tag=1.0]\nreplacements:\n"
        "- source: {kind: ConfigMap, name: conf, fieldPath: data.tag}\n  targets:\n  - select: {kind: Pod}\n"
        "    fieldPaths: ['spec.containers.0.image']\n    options: {delimiter: ':', index: 1}\n"
    )
    before = build(tmp_path, d=pod, kustomization=kustomization)
    after = build(tmp_path, d=pod, kustomization=kustomization.replace("tag=1.0", "tag=1.1"))
    object_ = ObjectId(group="", kind="Pod", namespace="", name="p")
    intended = Intended(object=object_, path=("spec", "containers", 0, "image"), old="nginx:1.0", new="nginx:1.1")
    result = compare(before, after, [intended])
    assert result.proved
    assert len(result.changed) == 1
    assert {item.reason.partition(" ")[0] for item in result.derived} == {"follows", "the", "refers"}
