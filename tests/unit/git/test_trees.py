"""Trees and files: what is written, what stays, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pygit2
import pytest

from image_updater.git import files, trees
from image_updater.git.commits import CommitInfo
from image_updater.git.errors import FileTrouble, MirrorDamaged, TreeRefused
from image_updater.git.trees import GitTree, TreeCache
from image_updater.kustomize.model import EntryKind
from tests.parts.gitservers import git


@pytest.fixture
def repository(tmp_path: Path) -> pygit2.Repository:
    root = tmp_path / "w"
    git("init", "-q", "-b", "main", root)
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/b/c/one.yaml").write_text("1")
    (root / "a/b/two.sh").write_text("2")
    (root / "a/b/two.sh").chmod(0o755)
    (root / "a/link").symlink_to("b")
    (root / "zäh.yaml").write_text("ü")
    git("add", "-A", cwd=root)
    git("update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,sub", cwd=root)
    git("commit", "-qm", "x", cwd=root)
    return pygit2.Repository(str(root))


def head(repository: pygit2.Repository) -> str:
    return str(repository.head.peel(pygit2.Commit).tree_id)


def listing(repository: pygit2.Repository, tree: str) -> dict[str, str]:
    out = git("-c", "core.quotepath=off", "ls-tree", "-r", tree, cwd=Path(repository.path))
    return {line.split("\t")[1]: line.split()[0] for line in out.splitlines()}


def test_a_git_tree_lists_and_reads(repository: pygit2.Repository) -> None:
    tree = GitTree(repository, head(repository), TreeCache())
    assert tree.read("zäh.yaml") == "ü".encode()
    assert tree.read("a/link") == b"b"
    assert {p: e.kind for p, e in tree.files().items()} == {
        "a/b/c/one.yaml": EntryKind.FILE, "a/b/two.sh": EntryKind.FILE, "a/link": EntryKind.SYMLINK,
        "zäh.yaml": EntryKind.FILE, "sub": EntryKind.SUBMODULE,
    }  # fmt: skip
    for path in ("none", "a", "a/link/x", "sub", "a/b/c/one.yaml/x"):
        with pytest.raises(KeyError):
            GitTree(repository, head(repository), TreeCache()).read(path)
    with pytest.raises(MirrorDamaged):
        GitTree(repository, "1" * 40, TreeCache()).files()


def test_an_edit_keeps_modes_and_everything_else(repository: pygit2.Repository) -> None:
    before = listing(repository, head(repository))
    made = trees.edited(repository, head(repository), {"a/b/two.sh": b"new", "n/e/w": b"w", "a/b/c/one.yaml": None})
    after = listing(repository, made)
    assert after == {k: v for k, v in before.items() if k != "a/b/c/one.yaml"} | {"n/e/w": "100644"}
    assert after["a/b/two.sh"] == "100755"
    assert trees.edited(repository, head(repository), {"a/b/two.sh": b"2"}) == head(repository)
    assert trees.edited(repository, made, {p: None for p in after if p not in ("sub", "a/link")}) != made


@pytest.mark.parametrize(
    "files_",
    [
        {"../x": b""},
        {"/x": b""},
        {"": b""},
        {"a//b": b""},
        {"./a": b""},
        {".git/config": b""},
        {"a/.GIT/x": b""},
        {".git. /x": b""},
        {"git~1/x": b""},
        {"a\\b": b""},
        {"a\0b": b""},
        {"a\udcff": b""},
        {"a/link": b""},
        {"a/link/x": b""},
        {"sub": b""},
        {"sub/x": b""},
        {"a/b": b""},
        {"zäh.yaml/x": b""},
        {"none": None},
        {"a/none": None},
        {"x": b"", "x/y": b""},
        {"x/y": b"", "x": b""},
        {"a": None},
    ],
    ids=str,
)
def test_what_may_not_be_written_is_refused(repository: pygit2.Repository, files_: dict[str, bytes | None]) -> None:
    with pytest.raises(TreeRefused):
        trees.edited(repository, head(repository), files_)


def test_files_are_written_whole_with_their_modes(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("old")
    (tmp_path / "run").chmod(0o750)
    (tmp_path / "gone").write_text("x")
    files.write_files(tmp_path, {"run": b"new", "n/e/w": b"w", "gone": None})
    assert (tmp_path / "run").read_text() == "new"
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "n/e/w").read_text() == "w"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n", "run"]


def test_nothing_is_written_through_a_symlink_or_when_one_file_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(outside)
    (root / "f").symlink_to(outside / "f")
    (root / "ok").write_text("old")
    for path in ("out/x", "f", "../outside/x", "ok/x"):
        with pytest.raises(TreeRefused):
            files.write_files(root, {"ok": b"new", path: b"bad"} if path != "ok/x" else {"ok/x": b"bad"})
    with pytest.raises(TreeRefused):
        files.write_files(root, {"ok": b"new", "none": None})
    assert (root / "ok").read_text() == "old"
    assert list(outside.iterdir()) == []
    assert sorted(p.name for p in root.iterdir()) == ["f", "ok", "out"]


def test_a_full_disk_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").write_text("old")
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileTrouble, match="No space left"):
        files.write_files(tmp_path, {"a": b"new", "b": b"new"})
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "old", "b": "old"}


@pytest.mark.parametrize(
    ("message", "trailers"),
    [
        ("s\n\nbody\n\nOld: 1\nNew: 2\nNew: 3\n", (("Old", "1"), ("New", "2"), ("New", "3"))),
        ("s\n\nAutomation: x\n", (("Automation", "x"),)),
        ("Old: 1", ()),
        ("s\n\nnot: a trailer\nbecause of this\n", ()),
        ("s\r\n\r\nOld: 1\r\n", (("Old", "1"),)),
        ("s\n\nOld: 1\n more\n", (("Old", "1 more"),)),
    ],
)
def test_trailers_are_the_last_paragraph(message: str, trailers: tuple[tuple[str, str], ...]) -> None:
    from datetime import UTC, datetime

    from image_updater.api.model import Author

    info = CommitInfo(
        id="", tree="", parents=(), message=message, author=Author(), when=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert info.trailers == trailers
