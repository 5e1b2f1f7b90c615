"""The real kustomize in its dialects: what it builds, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from image_updater.errors import RenderError
from image_updater.render import BuildFailed, Kustomize, MemoryCache, Renderer, Unbuildable
from tests.parts.tools import binary
from tests.parts.trees import MemoryTree, kustomize_root, plain_root

if TYPE_CHECKING:
    from collections.abc import Callable

DEPLOY = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1.0"}]}
"""
FILES = {
    "base/deploy.yaml": DEPLOY,
    "base/kustomization.yaml": "resources: [deploy.yaml]\n",
    "prod/kustomization.yaml": 'resources: [../base]\nimages: [{name: nginx, newTag: "1.2"}]\n',
    "staging/kustomization.yaml": 'resources: [../base]\nimages: [{name: nginx, newTag: "1.3"}]\n',
}
TREE = MemoryTree(FILES)


def image(manifests: bytes | RenderError) -> str:
    assert isinstance(manifests, bytes), manifests
    documents = [d for d in yaml.safe_load_all(manifests) if d["kind"] == "Deployment"]
    return str(documents[0]["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_an_overlay_is_built(renderer: Renderer) -> None:
    assert image(await renderer.build(TREE, kustomize_root("prod", TREE))) == "nginx:1.2"


async def test_before_and_after_an_edit_are_two_builds(renderer: Renderer) -> None:
    after = TREE.changed({"prod/kustomization.yaml": FILES["prod/kustomization.yaml"].replace("1.2", "1.4")})
    root = kustomize_root("prod", TREE)
    assert image(await renderer.build(TREE, root)) == "nginx:1.2"
    assert image(await renderer.build(after, root)) == "nginx:1.4"
    assert after.reads == ["prod/kustomization.yaml"]


async def test_a_wrapper_is_laid_over_its_root(renderer: Renderer) -> None:
    tree = TREE.changed({"comp/kustomization.yaml": COMPONENT})
    wrapper = "resources:\n- ../ROOT\ncomponents:\n- ../ROOT/../comp\nimages:\n- name: nginx\n  newTag: wrapped\n"
    root = kustomize_root("prod", tree, id="flux-system/apps", wrapper=wrapper)
    manifests = await renderer.build(tree, root)
    assert image(manifests) == "nginx:wrapped"
    assert yaml.safe_load(manifests)["metadata"]["labels"] == {"by": "component"}


COMPONENT = """\
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
labels: [{pairs: {by: component}}]
"""


async def test_the_top_of_the_repository_can_be_a_root(renderer: Renderer) -> None:
    tree = MemoryTree({"deploy.yaml": DEPLOY, "kustomization.yaml": "resources: [deploy.yaml]\n"})
    assert image(await renderer.build(tree, kustomize_root(".", tree))) == "nginx:1.0"


@pytest.mark.parametrize("folder", ["my app", "größe", "a'b", "-prod", "x#y"])
async def test_odd_folder_names_work(renderer: Renderer, folder: str) -> None:
    tree = MemoryTree({f"{folder}/deploy.yaml": DEPLOY, f"{folder}/kustomization.yaml": "resources: [deploy.yaml]\n"})
    assert image(await renderer.build(tree, kustomize_root(folder, tree))) == "nginx:1.0"


async def test_a_symlink_inside_the_root_is_followed(renderer: Renderer) -> None:
    tree = MemoryTree(
        {**FILES, "linked/kustomization.yaml": "resources: [base]\n"},
        symlinks={"linked/base": "../base"},
    )
    assert image(await renderer.build(tree, kustomize_root("linked", tree))) == "nginx:1.0"


async def test_a_symlink_out_of_the_repository_is_refused(renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / "deploy.yaml").write_text(DEPLOY)
    target = f"{tmp_path}/deploy.yaml"
    tree = MemoryTree({"kustomization.yaml": "resources: [deploy.yaml]\n"}, symlinks={"deploy.yaml": target})
    with pytest.raises(Unbuildable, match=r"deploy\.yaml: the symlink leads out of the repository"):
        await renderer.build(tree, kustomize_root(".", tree))


@pytest.mark.parametrize(
    ("files", "words", "file", "line"),
    [
        (
            {"prod/kustomization.yaml": "resources: [../base, nope.yaml]\n"},
            "nope.yaml",
            "prod/kustomization.yaml",
            None,
        ),
        ({"prod/kustomization.yaml": "resources: [../gone]\n"}, "gone", "prod/kustomization.yaml", None),
        ({"prod/kustomization.yaml": "resources: [../../../etc]\n"}, "etc", "prod/kustomization.yaml", None),
        ({"prod/kustomization.yaml": "resources: [/etc/hostname]\n"}, "/etc/hostname", "prod/kustomization.yaml", None),
        (
            {"prod/kustomization.yaml": "resources: [../base]\nimages: [{name: nginx, newTag: 1.10}]\n"},
            "cannot unmarshal number",
            "prod/kustomization.yaml",
            None,
        ),
        ({"prod/kustomization.yaml": "resources: [../base]\nnope: 1\n"}, "nope", "prod/kustomization.yaml", None),
        ({"prod/Kustomization": "resources: [../base]\n"}, "multiple kustomization", "prod/kustomization.yaml", None),
        ({"base/deploy.yaml": DEPLOY + "a: b: c\n"}, "mapping values", "base/deploy.yaml", 9),
        ({"base/deploy.yaml": "{{ .Values }}\n"}, "deploy.yaml", "base/deploy.yaml", None),
        ({"base/kustomization.yaml": "resources: [../prod]\n"}, "cycle", "prod/kustomization.yaml", None),
        (
            {"prod/kustomization.yaml": "resources: [../base]\npatches: [{path: p.yaml}]\n", "prod/p.yaml": "a: 1\n"},
            "p.yaml",
            "prod/p.yaml",
            None,
        ),
    ],
    ids=[
        "a missing file",
        "a missing base",
        "a path out of the repository",
        "an absolute path",
        "an unquoted number",
        "an unknown field",
        "two kustomizations",
        "broken YAML",
        "a template",
        "a cycle",
        "a patch that is none",
    ],
)
async def test_a_broken_kustomization_speaks_in_repository_paths(
    renderer: Renderer, files: dict[str, str], words: str, file: str, line: int | None
) -> None:
    tree = TREE.changed(files)
    with pytest.raises(BuildFailed) as caught:
        await renderer.build(tree, kustomize_root("prod", tree))
    error = caught.value
    assert words in error.message
    assert error.where.file == file
    assert error.where.line in (line, None) if line is None else error.where.line is not None
    for ours in ("/dev/shm", "/tmp", "image-updater-", "command failed", "repository/"):
        assert ours not in str(error)
    assert len(error.message) < 2_000


async def test_an_error_under_a_wrapper_names_the_root(renderer: Renderer) -> None:
    tree = TREE.changed({"prod/kustomization.yaml": "resources: [nope.yaml]\n"})
    root = kustomize_root("prod", tree, id="flux-system/apps", wrapper="resources: [../ROOT]\n")
    with pytest.raises(BuildFailed) as caught:
        await renderer.build(tree, root)
    assert "prod/nope.yaml" in caught.value.message
    assert "wrappers" not in caught.value.message


async def test_one_broken_root_does_not_stop_the_others(renderer: Renderer) -> None:
    tree = TREE.changed({"staging/kustomization.yaml": "resources: [nope.yaml]\n", "plain/job.yaml": PLAIN})
    roots = [kustomize_root("staging", tree), kustomize_root("prod", tree), plain_root("plain", tree)]
    answers = await renderer.build_many(tree, roots)
    assert list(answers) == ["staging", "prod", "plain"]
    assert isinstance(answers["staging"], BuildFailed)
    assert image(answers["prod"]) == "nginx:1.2"
    assert answers["plain"] == PLAIN.encode()


PLAIN = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\n"


async def test_an_equal_closure_starts_no_process(program: Callable[[str], Kustomize], tmp_path: Path) -> None:
    started = tmp_path / "started"
    cache = MemoryCache()
    kustomize = program(f"echo x >>{started}; echo 'kind: Built'")
    with Renderer(kustomize, cache=cache) as renderer:
        root = kustomize_root("prod", TREE, closure=frozenset(FILES) - {"staging/kustomization.yaml"})
        await renderer.build(TREE, root)
        other = TREE.changed({"staging/kustomization.yaml": "resources: []\n"})
        assert await renderer.build(other, root) == b"kind: Built\n"
    with Renderer(kustomize, cache=cache) as renderer:
        assert await renderer.build(TREE, root) == b"kind: Built\n"
        assert renderer.counters.builds == 0
    assert started.read_text() == "x\n"


async def test_equal_builds_at_once_are_one(program: Callable[[str], Kustomize], tmp_path: Path) -> None:
    started = tmp_path / "started"
    with Renderer(program(f"echo x >>{started}; /bin/sleep 0.2; echo 'kind: Built'")) as renderer:
        root = kustomize_root("prod", TREE)
        named = kustomize_root("prod", TREE, id="named by an object")
        answers = await asyncio.gather(*(renderer.build(TREE, r) for r in (root, named, root)))
    assert set(answers) == {b"kind: Built\n"}
    assert started.read_text() == "x\n"


async def test_a_broken_root_is_tried_once(program: Callable[[str], Kustomize], tmp_path: Path) -> None:
    started = tmp_path / "started"
    with Renderer(program(f"echo x >>{started}; echo 'Error: no' >&2; exit 1")) as renderer:
        for _ in range(3):
            with pytest.raises(BuildFailed, match="no"):
                await renderer.build(TREE, kustomize_root("prod", TREE))
    assert started.read_text() == "x\n"


async def test_a_root_that_locate_refused_is_not_started(program: Callable[[str], Kustomize], tmp_path: Path) -> None:
    started = tmp_path / "started"
    root = kustomize_root("prod", TREE, unbuildable="a remote base", remotes=("https://example.com/base",))
    with Renderer(program(f"echo x >>{started}")) as renderer:
        with pytest.raises(Unbuildable, match="a remote base"):
            await renderer.build(TREE, root)
        with pytest.raises(Unbuildable, match="no helm here"):
            await renderer.build(TREE, kustomize_root("prod", TREE, helm=True))
    assert not started.exists()


async def test_a_cancelled_build_ends_its_process(program: Callable[[str], Kustomize], tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with Renderer(program(f"echo $$ >{pid}.new; /bin/mv {pid}.new {pid}; /bin/sleep 60")) as renderer:
        task = asyncio.create_task(renderer.build(TREE, kustomize_root("prod", TREE)))
        while not pid.exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_one_of_two_that_wait_may_leave(program: Callable[[str], Kustomize]) -> None:
    with Renderer(program("/bin/sleep 0.2; echo 'kind: Built'")) as renderer:
        first = asyncio.create_task(renderer.build(TREE, kustomize_root("prod", TREE)))
        second = asyncio.create_task(renderer.build(TREE, kustomize_root("prod", TREE)))
        await asyncio.sleep(0.05)
        first.cancel()
        assert await second == b"kind: Built\n"


async def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("image_updater.render.workspace._MEMORY", tmp_path)
    with Renderer.open({"PATH": ""}, explicit=binary("kustomize")) as renderer:
        for tag in range(5):
            tree = TREE.changed(
                {"prod/kustomization.yaml": f'resources: [../base]\nimages: [{{name: nginx, newTag: "{tag}"}}]'}
            )
            assert image(await renderer.build(tree, kustomize_root("prod", tree))) == f"nginx:{tag}"
        assert len(list(tmp_path.iterdir())) <= 2
    assert list(tmp_path.iterdir()) == []


async def test_a_build_that_is_being_ended_is_not_joined(program: Callable[[str], Kustomize], tmp_path: Path) -> None:
    flag = tmp_path / "second"
    script = f"if [ -e {flag} ]; then echo 'kind: Built'; else : >{flag}; exec /bin/sleep 60; fi"
    root = kustomize_root("prod", TREE)
    with Renderer(program(script)) as renderer:
        first = asyncio.create_task(renderer.build(TREE, root))
        while not flag.exists():
            await asyncio.sleep(0.01)
        first.cancel()
        second = asyncio.create_task(renderer.build(TREE, root))
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == b"kind: Built\n"


async def test_trees_do_not_keep_the_trees_before_them(program: Callable[[str], Kustomize]) -> None:
    seen = []
    with Renderer(program("echo 'kind: Built'")) as renderer:
        for n in range(12):
            tree = TREE.changed({"n.yaml": f"n: {n}\n"})
            seen.append(weakref.ref(tree))
            await renderer.build(tree, kustomize_root("prod", tree))
        del tree
        gc.collect()
        assert sum(ref() is not None for ref in seen) <= 5


async def test_a_failure_is_kept_for_a_while_only(program: Callable[[str], Kustomize], tmp_path: Path) -> None:
    """It may have been the machine: a full disk, no processes left."""
    now = [0.0]
    room, tries = tmp_path / "room", tmp_path / "tries"
    script = f"[ -e {room} ] || {{ echo x >>{tries}; echo no space left >&2; exit 1; }}\necho 'kind: Built'"
    with Renderer(program(script), monotonic=lambda: now[0]) as renderer:
        root = kustomize_root("prod", TREE)
        for _ in range(2):
            with pytest.raises(BuildFailed, match="no space"):
                await renderer.build(TREE, root)
        assert tries.read_text() == "x\n"
        room.touch()
        now[0] += 301
        assert await renderer.build(TREE, root) == b"kind: Built\n"
