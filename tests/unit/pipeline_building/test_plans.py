"""The key and the root of one Kustomization: as `locate` has them, from memory where a commit touched nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import Kustomization, Meta, ObjectKey, Objects
from image_updater.errors import DocumentError
from image_updater.kustomize import MemoryCache, RootKind, locate
from image_updater.pipeline.building import Builds, Plan
from image_updater.pipeline.session import named_roots
from image_updater.render import Renderer, find_binary
from image_updater.render.errors import BuildFailed
from tests.parts.tools import binary
from tests.parts.trees import MemoryTree

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: web
        image: acme/web:1.0
"""
SERVICE = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n"
FILES = {
    "base/kustomization.yaml": "resources: [deployment.yaml]\n",
    "base/deployment.yaml": DEPLOYMENT,
    "apps/web/kustomization.yaml": "resources: [../../base]\nnamespace: web\n",
    "apps/api/kustomization.yaml": "resources: [service.yaml]\n",
    "apps/api/service.yaml": SERVICE,
    "plain/deployment.yaml": DEPLOYMENT,
    "plain/deep/service.yaml": SERVICE,
    "plain/values.yaml": "replicas: 1\n",
    "mixed/service.yaml": SERVICE,
    "mixed/inner/kustomization.yaml": "resources: [../../base]\n",
    "empty/README.md": "nothing\n",
}


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(find_binary(binary("kustomize"), {})) as opened:
        yield opened


def kustomization(path: str, name: str = "it", **fields: Any) -> Kustomization:
    return Kustomization(
        meta=Meta(key=ObjectKey("apps", name)), source_ref=ObjectKey("apps", "fleet"), path=path, **fields
    )


def planned(builds: Builds, tree: MemoryTree, *each: Kustomization) -> list[Plan]:
    answers = builds._plan_all(tree, list(each), "line")
    found = [answers[one.key] for one in each]
    for one in found:
        if isinstance(one, Exception):
            raise one
    return [one for one in found if isinstance(one, Plan)]


OVERLAID: list[dict[str, Any]] = [
    {},
    {"target_namespace": "prod"},
    {"name_prefix": "a-", "name_suffix": "-b"},
    {"images": ({"name": "acme/web", "newTag": "2.0"},)},
    {"patches": ({"patch": "- op: remove\n  path: /spec\n", "target": {"kind": "Deployment"}},)},
]


@pytest.mark.parametrize("overlay", OVERLAID, ids=["nothing", "namespace", "names", "images", "patches"])
@pytest.mark.parametrize("path", ["apps/web", "plain", "mixed"])
def test_the_key_is_that_of_the_proof(renderer: Renderer, path: str, overlay: dict[str, Any]) -> None:
    tree = MemoryTree(FILES)
    wanted = kustomization(path, **overlay)
    (plan,) = planned(Builds(renderer), tree, wanted)
    located = locate(tree, named=named_roots(Objects(kustomizations=(wanted,)), ()), cache=MemoryCache())
    same = located.roots[plan.root.id]
    assert renderer.key(tree, same) == plan.key
    assert (same.closure, same.wrapper, same.generated) == (plan.root.closure, plan.root.wrapper, plan.root.generated)


def test_a_commit_reads_only_what_it_changed(renderer: Renderer) -> None:
    builds = Builds(renderer)
    tree = MemoryTree(FILES)
    each = [kustomization("apps/web", "web"), kustomization("apps/api", "api"), kustomization("plain", "plain")]
    before = planned(builds, tree, *each)
    next_tree = tree.changed({"base/deployment.yaml": DEPLOYMENT.replace("1.0", "1.1")})
    after = planned(builds, next_tree, *each)
    assert [old.key == new.key for old, new in zip(before, after, strict=True)] == [False, True, True]
    assert set(next_tree.reads) == {"base/deployment.yaml"}


@pytest.mark.parametrize(
    ("path", "change", "moved"),
    [
        ("apps/web", {"apps/web/kustomization.yml": "resources: []\n"}, True),
        ("apps/web", {"apps/web/README.md": "hello\n"}, False),
        ("plain", {"plain/new/service.yaml": SERVICE}, True),
        ("plain", {"plain/deep/kustomization.yaml": "resources: [service.yaml]\n"}, True),
        ("plain", {"plain/values.yaml": "replicas: 2\n"}, False),
        ("mixed", {"base/deployment.yaml": DEPLOYMENT + "---\n" + SERVICE}, True),
        ("mixed", {"mixed/more.yaml": SERVICE.replace("web", "more")}, True),
    ],
    ids=["second-name", "unrelated", "new-file", "becomes-nested", "no-manifest", "base-of-nested", "beside-nested"],
)
def test_a_plan_moves_with_what_it_reads(renderer: Renderer, path: str, change: dict[str, str], moved: bool) -> None:
    builds = Builds(renderer)
    tree = MemoryTree(FILES)
    (before,) = planned(builds, tree, kustomization(path))
    (after,) = planned(builds, tree.changed(change), kustomization(path))
    (anew,) = planned(Builds(renderer), tree.changed(change), kustomization(path))
    assert (after.key != before.key) is moved
    assert after.key == anew.key


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("link", "link: a symlink stands there, and no folder"),
        ("link/deep", "link: a symlink stands there, and no folder"),
        ("module", "module: a submodule stands there, and no folder"),
        ("plain/service.yaml", "plain/service.yaml: a file stands there, and no folder"),
    ],
)
def test_what_is_no_folder_is_called_what_it_is(renderer: Renderer, path: str, said: str) -> None:
    tree = MemoryTree({"plain/service.yaml": SERVICE}, symlinks={"link": "plain"}, submodules={"module": "1" * 40})
    with pytest.raises(DocumentError) as caught:
        planned(Builds(renderer), tree, kustomization(path))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        ("apps/none", {}, "apps/none: there is no such folder"),
        ("empty", {}, "empty: the folder holds no kustomization and no manifest"),
        ("plain", {"plain/deployment.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {\n"}, "plain/deployment.yaml:4: "),
        ("plain", {"plain/deep/more.yaml": "a: b: c\n"}, "plain/deep/more.yaml:1: "),
        (
            "plain",
            {"plain/deployment.yaml": "version https://git-lfs.github.com/spec/v1\noid sha256:1\n"},
            "plain/deployment.yaml:1: a Git LFS pointer",
        ),
    ],
    ids=["no-folder", "no-manifest", "broken", "broken-deep", "lfs"],
)
def test_a_folder_that_cannot_be_applied_says_where(
    renderer: Renderer, path: str, change: dict[str, str], said: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        planned(Builds(renderer), MemoryTree(FILES).changed(change), kustomization(path))
    assert str(caught.value).startswith(said)


def test_one_bad_folder_leaves_the_others_alone(renderer: Renderer) -> None:
    good, bad = kustomization("apps/web", "good"), kustomization("apps/none", "bad")
    answers = Builds(renderer)._plan_all(MemoryTree(FILES), [bad, good], "line")
    assert isinstance(answers[bad.key], DocumentError)
    assert isinstance(answers[good.key], Plan)


def test_a_template_beside_plain_manifests_is_no_mistake(renderer: Renderer) -> None:
    tree = MemoryTree({**FILES, "plain/app.tpl.yaml": "{{ if x }}\nvalue: {{ y }}\n"})
    (plan,) = planned(Builds(renderer), tree, kustomization("plain"))
    assert plan.root.kind is RootKind.PLAIN
    assert plan.root.closure == {"plain/deployment.yaml", "plain/deep/service.yaml"}


async def test_the_render_comes_from_the_cache_of_the_proof(renderer: Renderer) -> None:
    tree = MemoryTree(FILES)
    wanted = kustomization("apps/web", images=({"name": "acme/web", "newTag": "9.9"},))
    located = locate(tree, named=named_roots(Objects(kustomizations=(wanted,)), ()), cache=MemoryCache())
    proof = await renderer.build(tree, located.roots["apps/web (Kustomization apps/it)"])
    built = renderer.counters.builds
    builds = Builds(renderer)
    assert await builds.build(await builds.plan(tree, wanted, line="line")) == proof
    assert b"acme/web:9.9" in proof
    assert renderer.counters.builds == built


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"base/deployment.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a: b\n"},
            "base/deployment.yaml:4: not valid YAML: mapping values are not allowed in this context",
        ),
        (
            {"apps/web/kustomization.yaml": "resources: [../../base]\nbogus: 1\n"},
            'apps/web/kustomization.yaml: invalid Kustomization: json: unknown field "bogus"',
        ),
        (
            {"apps/web/kustomization.yaml": "resources:\n- ../../base\n- none.yaml\n"},
            "apps/web/kustomization.yaml:3: none.yaml does not exist",
        ),
        (
            {"base/kustomization.yaml": "resources:\n- none.yaml\n"},
            "base/kustomization.yaml:2: none.yaml does not exist",
        ),
        (
            {"base/deployment.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {}\n"},
            "base/deployment.yaml: missing metadata.name in an object of kind Pod",
        ),
        (
            {"base/kustomization.yaml": "resources:\n- deployment.yaml\npatches:\n- path: no.yaml\n"},
            "base/kustomization.yaml:4: no.yaml does not exist",
        ),
    ],
    ids=["manifest", "field", "missing", "missing-below", "no-name", "no-patch"],
)  # fmt: skip
async def test_a_failed_build_says_file_line_and_what_and_no_more(
    renderer: Renderer, change: dict[str, str], message: str
) -> None:
    builds = Builds(renderer)
    plan = await builds.plan(MemoryTree(FILES).changed(change), kustomization("apps/web"), line="line")
    with pytest.raises(BuildFailed) as caught:
        await builds.build(plan)
    assert str(caught.value) == message
    assert isinstance(caught.value.__cause__, BuildFailed), "with all that kustomize said, for the log"


async def test_plain_files_keep_the_lines_of_their_objects(renderer: Renderer) -> None:
    tree = MemoryTree(
        {
            "plain/app.yaml": "# values\nreplicas: 1\nkind of: it\n---\n" + SERVICE + "---\n# nothing\n",
            "plain/values.yaml": "replicas: 1\n",
            "plain/list.json": '{"apiVersion": "v1", "kind": "List", "items": []}\n',
        }
    )
    builds = Builds(renderer)
    rendered = await builds.build(await builds.plan(tree, kustomization("plain"), line="line"))
    assert isinstance(rendered, tuple)
    texts = {path: data.decode() for path, data in rendered}
    assert set(texts) == {"plain/app.yaml", "plain/list.json"}
    assert texts["plain/app.yaml"].splitlines()[4:8] == SERVICE.splitlines()
    assert "replicas" not in texts["plain/app.yaml"]
