"""What a build may read is laid out exactly, and nothing leaves the folder."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from image_updater.errors import RenderError
from image_updater.render import LimitExceeded, Limits, Unbuildable, Workspace
from tests.parts.trees import MemoryTree, kustomize_root

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = {
    "base/deploy.yaml": "kind: Deployment\n",
    "base/kustomization.yaml": "resources: [deploy.yaml]\n",
    "prod/kustomization.yaml": "resources: [../base]\n",
    "secret.yaml": "not in the closure\n",
}
CLOSURE = frozenset(FILES) - {"secret.yaml"}


@pytest.fixture
def opened() -> Iterator[list[Workspace]]:
    spaces: list[Workspace] = []
    yield spaces
    for space in spaces:
        space.close()
        assert not Path(space.folder).exists()


def lay_out(opened: list[Workspace], tree: MemoryTree, limits: Limits | None = None, **fields: object) -> Workspace:
    space = Workspace(tree, limits=limits or Limits(), like=list(opened))
    opened.append(space)
    space.prepare(kustomize_root("prod", tree, **fields))
    return space


def laid_out(space: Workspace) -> dict[str, str]:
    top = Path(space.repository)
    return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}


def test_exactly_the_closure_is_written_each_file_once(opened: list[Workspace]) -> None:
    tree = MemoryTree(FILES)
    space = lay_out(opened, tree, closure=CLOSURE)
    assert laid_out(space) == {path: FILES[path] for path in CLOSURE}
    space.prepare(kustomize_root("base", tree, closure=CLOSURE))
    assert sorted(tree.reads) == sorted(CLOSURE)


def test_the_folder_is_ours_alone(opened: list[Workspace]) -> None:
    space = lay_out(opened, MemoryTree(FILES))
    assert os.stat(space.folder).st_mode & 0o077 == 0


def test_the_tree_after_an_edit_reads_only_what_differs(opened: list[Workspace]) -> None:
    before = MemoryTree(FILES)
    after = before.changed({"base/deploy.yaml": "kind: Job\n"})
    lay_out(opened, before)
    space = lay_out(opened, after)
    assert after.reads == ["base/deploy.yaml"]
    assert laid_out(space)["base/deploy.yaml"] == "kind: Job\n"
    assert laid_out(opened[0])["base/deploy.yaml"] == "kind: Deployment\n"


def test_a_workspace_that_is_gone_costs_a_read_and_nothing_else(opened: list[Workspace]) -> None:
    lay_out(opened, MemoryTree(FILES)).close()
    space = lay_out(opened, MemoryTree(FILES))
    assert laid_out(space) == FILES


@pytest.mark.parametrize(
    "links",
    [
        {"prod/out.yaml": "../../etc/passwd"},
        {"prod/out.yaml": "/etc/passwd"},
        {"a/b/up": "../..", "a/b/out": "up/../etc"},
        {"a": "b", "b": "../x"},
        {"a": "b", "b": "a"},
    ],
    ids=["upwards", "absolute", "through another link", "two steps", "a cycle"],
)
def test_a_symlink_that_leaves_is_refused(opened: list[Workspace], links: dict[str, str]) -> None:
    with pytest.raises(Unbuildable, match="symlink"):
        lay_out(opened, MemoryTree(FILES, symlinks=links))


def test_a_symlink_inside_is_a_symlink(opened: list[Workspace]) -> None:
    space = lay_out(opened, MemoryTree(FILES, symlinks={"prod/base": "../base", "a/b/c": "../../prod/./base"}))
    assert (Path(space.repository) / "a/b/c/deploy.yaml").read_text() == FILES["base/deploy.yaml"]
    assert os.readlink(Path(space.repository) / "prod/base") == "../base"


@pytest.mark.parametrize("path", ["../x.yaml", "/etc/x.yaml", "a/../../x.yaml", "a//x.yaml", "./x.yaml"])
def test_a_path_that_leaves_is_refused(opened: list[Workspace], path: str) -> None:
    with pytest.raises(Unbuildable, match="leaves the repository"):
        lay_out(opened, MemoryTree({path: "a: 1\n"}))


def test_a_file_below_a_symlink_is_refused(opened: list[Workspace]) -> None:
    tree = MemoryTree({"link/x.yaml": "a: 1\n"}, symlinks={"link": "other"})
    with pytest.raises(Unbuildable, match="below something that is no folder"):
        lay_out(opened, tree)


def test_a_submodule_is_refused(opened: list[Workspace]) -> None:
    with pytest.raises(Unbuildable, match="submodule"):
        lay_out(opened, MemoryTree(FILES, submodules={"vendor": "0" * 40}))


def test_a_closure_has_a_limit_on_files_and_bytes(opened: list[Workspace]) -> None:
    with pytest.raises(LimitExceeded, match="4 files, more than 3"):
        lay_out(opened, MemoryTree(FILES), Limits(files=3))
    with pytest.raises(LimitExceeded, match="more than 20 bytes"):
        lay_out(opened, MemoryTree(FILES), Limits(input=20))


def test_a_wrapper_refers_to_its_root(opened: list[Workspace]) -> None:
    tree = MemoryTree(FILES)
    space = lay_out(opened, tree)
    folder = space.prepare(kustomize_root("prod", tree, wrapper="resources:\n- ../ROOT\ncomponents:\n- ../ROOT/../c\n"))
    text = (Path(folder) / "kustomization.yaml").read_text()
    reference = text.splitlines()[1].removeprefix("- ")
    assert (Path(folder) / reference).resolve() == Path(space.repository) / "prod"
    assert text.splitlines()[3] == f"- {reference}/../c"


def test_a_folder_name_that_breaks_a_wrapper_is_refused(opened: list[Workspace]) -> None:
    tree = MemoryTree({"a, b/kustomization.yaml": "resources: []\n"})
    space = Workspace(tree, limits=Limits())
    opened.append(space)
    with pytest.raises(Unbuildable, match="rename the folder"):
        space.prepare(kustomize_root("a, b", tree, wrapper="resources: [../ROOT]\n"))


def test_a_limit_holds_on_a_second_try(opened: list[Workspace]) -> None:
    tree = MemoryTree(FILES)
    space = Workspace(tree, limits=Limits(input=60))
    opened.append(space)
    for _ in range(3):
        with pytest.raises(LimitExceeded, match="more than 60 bytes"):
            space.prepare(kustomize_root("prod", tree))


def test_a_full_disk_leaves_no_half_file(opened: list[Workspace]) -> None:
    space = Workspace(MemoryTree(FILES), limits=Limits())
    opened.append(space)
    root = kustomize_root("prod", space.tree)  # type: ignore[arg-type]
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        with pytest.raises(RenderError, match=r"temporary folder: File too large .*make room"):
            space.prepare(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    space.prepare(root)
    assert laid_out(space) == FILES


@pytest.mark.parametrize("forbids", [False, True], ids=["programs may run there", "mounted noexec"])
def test_the_helm_that_calls_itself_3_lies_where_programs_may_run(
    opened: list[Workspace], monkeypatch: pytest.MonkeyPatch, forbids: bool
) -> None:
    monkeypatch.setattr("image_updater.render.workspace._forbids_programs", lambda folder: forbids)
    space = lay_out(opened, MemoryTree(FILES), closure=CLOSURE)
    helm = Path(space.old_helm("/opt/my helm"))
    assert helm == Path(space.old_helm("/opt/my helm"))
    assert helm.is_relative_to(space.folder) is not forbids
    assert "exec '/opt/my helm'" in helm.read_text()
    space.close()
    assert not helm.parent.exists()
