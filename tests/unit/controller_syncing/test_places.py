"""Where an object that a server refuses stands in Git."""

from __future__ import annotations

import pytest

from image_updater.cluster.errors import InvalidObject
from image_updater.cluster.model import Ref
from image_updater.controller.sync.places import place
from image_updater.errors import Where
from image_updater.kustomize.model import Root, RootKind
from image_updater.sync.errors import HeldBack
from image_updater.sync.model import Action, Done, Manifest, SyncReport
from tests.parts.trees import MemoryTree

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 1
  template:
    spec:
      containers:
      - name: helper
        image: helper:1
      - name: web
        image: web:1
        ports:
        - containerPort: 8080
"""
SERVICE = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - port: 80\n"
PATCH = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: -1\n"
LIST = (
    "apiVersion: v1\nkind: List\nitems:\n"
    "- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: a\n"
    "- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: b\n  data:\n    x: 1\n"
)
FILES = {
    "base/kustomization.yaml": "resources: [web.yaml, list.yaml, twice.yaml]\n",
    "base/web.yaml": WEB + "---\n" + SERVICE,
    "base/list.yaml": LIST,
    "base/broken.yaml": "kind: Service\nname: web: x\n",
    "base/twice.yaml": "\n---\n".join(
        f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  namespace: {name}" for name in ("one", "two")
    ),
    "apps/kustomization.yaml": (
        "resources: [../base]\nnamePrefix: my-\npatches:\n- path: patch.yaml\n"
        "configMapGenerator:\n- name: made\n  literals: [a=b]\n"
    ),
    "apps/patch.yaml": PATCH,
    "other/web.yaml": WEB,
}
TREE = MemoryTree(FILES)
CLOSURE = frozenset(path for path in FILES if not path.startswith("other/"))
ROOT = Root(id="apps", path="apps", kind=RootKind.KUSTOMIZE, closure=CLOSURE)


def found(ref: Ref, message: str, where: Where | None = None, root: Root = ROOT) -> str:
    error = InvalidObject(message, where=Where(object=str(ref)))
    manifest = Manifest(ref=ref, api_version="v1", body={}, digest="", where=where)
    done = Done(ref=ref, action=Action.FAILED, error=error)
    place(SyncReport(revision="", done=(done,), errors=(error,)), [manifest], TREE, root, ("t-", ""))
    return str(error)


DEPLOYMENT = Ref("apps", "Deployment", "t", "t-my-web")


@pytest.mark.parametrize(
    ("ref", "message", "wanted"),
    [
        (DEPLOYMENT, "spec.selector: Required value", "base/web.yaml:5"),
        (DEPLOYMENT, "spec.replicas: Invalid value: -1: must not be negative", "apps/patch.yaml:6"),
        (DEPLOYMENT, "spec.template.spec.containers[1].image: Required value", "base/web.yaml:13"),
        (DEPLOYMENT, '.spec.template.spec.containers[name="web"].ports[0].port: no such field', "base/web.yaml:15"),
        (Ref("", "Service", "t", "t-my-web"), 'unknown field "spec.ports[0].port"', "base/web.yaml:23"),
        (Ref("", "Service", "t", "my-web"), "no words about a field", "base/web.yaml:17"),
        (Ref("", "ConfigMap", "t", "my-b"), "data.x: expected string, got 1", "base/list.yaml:13"),
        (Ref("", "Secret", "two", "my-s"), "it is refused", "base/twice.yaml:7"),
        (Ref("", "ConfigMap", "t", "my-made-2b7hk8cf9c"), "too large", "apps/kustomization.yaml:6"),
        (Ref("", "Service", "t", "none"), "spec: no", None),
    ],
    ids=[
        "missing-field", "patch", "index", "key", "affixes", "no-field", "list", "namespace", "generated", "nowhere",
    ],
)  # fmt: skip
def test_what_kustomize_builds_is_found_in_the_files_of_the_build(ref: Ref, message: str, wanted: str | None) -> None:
    assert found(ref, message) == f"{wanted}: {ref}: {message}".removeprefix("None: ")


@pytest.mark.parametrize(
    ("line", "ref", "message", "wanted"),
    [
        (1, Ref("apps", "Deployment", "t", "web"), "spec.replicas: Invalid value", "base/web.yaml:6"),
        (17, Ref("", "Service", "t", "web"), "spec.ports: Required value", "base/web.yaml:22"),
    ],
    ids=["first", "second"],
)
def test_a_plain_manifest_is_looked_for_in_its_own_file(line: int, ref: Ref, message: str, wanted: str) -> None:
    assert found(ref, message, Where(file="base/web.yaml", line=line)).startswith(f"{wanted}: {ref}: ")


def test_what_only_waits_for_others_is_not_looked_for() -> None:
    error = HeldBack("not applied, because a Namespace failed", where=Where(object="x"))
    manifest = Manifest(ref=DEPLOYMENT, api_version="v1", body={}, digest="")
    done = Done(ref=DEPLOYMENT, action=Action.FAILED, error=error)
    place(SyncReport(revision="", done=(done,), errors=(error,)), [manifest], TREE, ROOT, ())
    assert error.where.file is None
