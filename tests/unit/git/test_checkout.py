"""Local work trees: what is there, what is dirty, and commits that hold exactly what was asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from image_updater.api.model import Author
from image_updater.errors import SpecError
from image_updater.git.access import GitAccess
from image_updater.git.checkout import Checkout
from image_updater.git.errors import CheckoutError, FileTrouble, PushRaced, RevisionNotFound, TreeRefused
from image_updater.git.folder import FolderTree
from image_updater.kustomize.model import EntryKind, blob_id
from tests.parts.gitservers import bare, commit, git

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ME = Author(name="updater", email="updater@example.com")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    origin = bare(tmp_path / "origin.git", files={"a.yaml": "a: 1\n", "d/b.yaml": "b: 1\r\n", "c.sh": "#!/bin/sh\n"})
    git("clone", "-q", origin, tmp_path / "work")
    root = tmp_path / "work"
    (root / "c.sh").chmod(0o755)
    (root / "link").symlink_to("a.yaml")
    (root / ".gitignore").write_text("*.log\n")
    git("add", "-A", cwd=root)
    git("commit", "-qm", "More", cwd=root)
    git("push", "-q", cwd=root)
    return root


def opened(root: Path) -> Checkout:
    found = Checkout.open(root)
    assert found is not None
    return found


def test_a_folder_without_git_is_no_checkout(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert Checkout.open(tmp_path / "x") is None


def test_the_tree_is_the_files_as_they_stand(work: Path) -> None:
    (work / "a.yaml").write_text("a: changed\n")
    (work / "new.yaml").write_text("n: 1\n")
    (work / "x.log").write_text("ignored")
    (work / "d/b.yaml").unlink()
    (work / "nested").mkdir()
    git("init", "-q", work / "nested/repo")
    (work / "nested/repo/z.yaml").write_text("z")
    checkout = opened(work / "d")
    assert checkout.root == work
    tree = checkout.tree()
    assert set(tree.files()) == {"a.yaml", "c.sh", "link", ".gitignore", "new.yaml"}
    assert tree.read("a.yaml") == b"a: changed\n"
    assert tree.read("link") == b"a.yaml"
    assert tree.files()["link"].kind is EntryKind.SYMLINK
    for path, entry in tree.files().items():
        assert entry.oid == blob_id(tree.read(path))
    assert checkout.head_tree().read("d/b.yaml") == b"b: 1\r\n"
    assert checkout.revision_tree("HEAD~1").read("a.yaml") == b"a: 1\n"
    with pytest.raises(RevisionNotFound):
        checkout.revision_tree("nope")


def test_ids_are_those_of_the_bytes_on_disk_where_git_converts_line_ends(work: Path) -> None:
    git("config", "core.autocrlf", "true", cwd=work)
    (work / "a.yaml").unlink()
    git("checkout", "-q", "a.yaml", cwd=work)
    assert (work / "a.yaml").read_bytes() == b"a: 1\r\n"
    tree = opened(work).tree()
    assert tree.read("a.yaml") == b"a: 1\r\n"
    assert tree.files()["a.yaml"].oid == blob_id(b"a: 1\r\n")
    made = opened(work).commit({"a.yaml": b"a: 2\r\n"}, "Move a", ME, when=NOW)
    assert git("cat-file", "-p", f"{made}:a.yaml", cwd=work) == "a: 2"
    assert (
        subprocess.run(["git", "show", f"{made}:a.yaml"], cwd=work, capture_output=True, check=True).stdout == b"a: 2\n"
    )
    assert git("status", "--porcelain", cwd=work) == ""


def test_dirty_names_all_that_differs_from_head(work: Path) -> None:
    assert opened(work).dirty() == frozenset()
    (work / "a.yaml").write_text("x")
    (work / "c.sh").write_text("staged")
    git("add", "c.sh", cwd=work)
    (work / "new").write_text("n")
    (work / "x.log").write_text("ignored")
    git("rm", "-q", "--cached", "link", cwd=work)
    (work / "d/b.yaml").unlink()
    assert opened(work).dirty() == {"a.yaml", "c.sh", "new", "link", "d/b.yaml"}


def test_a_commit_holds_only_the_files_named(work: Path) -> None:
    (work / "d/b.yaml").write_text("staged by a person\n")
    git("add", "d/b.yaml", cwd=work)
    (work / "a.yaml").write_text("modified by a person\n")
    (work / "untracked").write_text("u")
    checkout = opened(work)
    before = checkout.head
    made = checkout.commit(
        {"c.sh": b"#!/bin/sh\nexit 1\n", "n/e/w.yaml": b"w: 1\n"}, "Ours\n\nAutomation: x\n", ME, when=NOW
    )
    assert checkout.head == made == git("rev-parse", "main", cwd=work)
    assert git("rev-parse", "main~1", cwd=work) == before
    assert git("show", "--name-status", "--format=", "main", cwd=work).splitlines() == ["M\tc.sh", "A\tn/e/w.yaml"]
    assert git("ls-tree", "main", "c.sh", cwd=work).startswith("100755")
    assert os.access(work / "c.sh", os.X_OK)
    assert git("diff", "--cached", "--name-only", cwd=work) == "d/b.yaml"
    assert git("diff", "--name-only", cwd=work) == "a.yaml"
    assert set(git("status", "--porcelain", cwd=work).splitlines()) == {"M a.yaml", "M  d/b.yaml", "?? untracked"}
    assert git("reflog", "-1", "--format=%gs", cwd=work) == "commit: Ours"
    git("fsck", "--strict", cwd=work)


def test_a_deletion_is_committed_too(work: Path) -> None:
    opened(work).commit({"d/b.yaml": None}, "Remove", ME, when=NOW)
    assert not (work / "d/b.yaml").exists()
    assert git("status", "--porcelain", cwd=work) == ""
    assert git("ls-tree", "-r", "--name-only", "HEAD", cwd=work).splitlines() == [
        ".gitignore",
        "a.yaml",
        "c.sh",
        "link",
    ]


def _modify(work: Path) -> str:
    (work / "a.yaml").write_text("dirty")
    return "a.yaml"


def _stage(work: Path) -> str:
    (work / "a.yaml").write_text("dirty")
    git("add", "a.yaml", cwd=work)
    return "a.yaml"


def _untracked(work: Path) -> str:
    (work / "u.yaml").write_text("dirty")
    return "u.yaml"


def _filtered(work: Path) -> str:
    (work / ".git/info/attributes").write_text("a.yaml filter=lfs\n")
    return "a.yaml"


def _linked_folder(work: Path) -> str:
    (work / "out").symlink_to("/tmp")
    git("add", "out", cwd=work)
    git("commit", "-qm", "out", cwd=work)
    return "out/x.yaml"


@pytest.mark.parametrize(
    "prepare",
    [
        _modify,
        _stage,
        _untracked,
        _filtered,
        _linked_folder,
        lambda w: "link",
        lambda w: "x.log",
        lambda w: "../x",
        lambda w: ".git/config",
        lambda w: "d",
    ],
    ids=[
        "modified",
        "staged",
        "untracked",
        "filter",
        "folder symlink",
        "symlink",
        "ignored",
        "outside",
        "git",
        "folder",
    ],
)
def test_what_may_not_be_written_is_refused_and_nothing_changes(work: Path, prepare: Callable[[Path], str]) -> None:
    path = prepare(work)
    before = (git("rev-parse", "HEAD", cwd=work), git("status", "--porcelain", cwd=work))
    with pytest.raises(TreeRefused):
        opened(work).commit({"c.sh": b"new", path: b"new"}, "x", ME, when=NOW)
    assert (git("rev-parse", "HEAD", cwd=work), git("status", "--porcelain", cwd=work)) == before
    assert not list(work.rglob("*.tmp"))


def test_a_detached_head_and_a_merge_are_named(work: Path) -> None:
    git("checkout", "-q", "--detach", cwd=work)
    checkout = opened(work)
    assert checkout.branch is None
    with pytest.raises(CheckoutError, match="detached"):
        checkout.commit({"a.yaml": b"1"}, "x", ME, when=NOW)
    with pytest.raises(CheckoutError, match="detached"):
        checkout.upstream()
    git("checkout", "-q", "main", cwd=work)
    (work / ".git/MERGE_HEAD").write_text(git("rev-parse", "HEAD~1", cwd=work) + "\n")
    with pytest.raises(CheckoutError, match="merge"):
        opened(work).commit({"a.yaml": b"1"}, "x", ME, when=NOW)


def test_a_locked_index_leaves_everything_as_it_was(work: Path) -> None:
    (work / ".git/index.lock").write_text("")
    head = git("rev-parse", "HEAD", cwd=work)
    with pytest.raises(CheckoutError, match="index"):
        opened(work).commit({"a.yaml": b"new\n"}, "x", ME, when=NOW)
    (work / ".git/index.lock").unlink()
    assert (work / "a.yaml").read_text() == "a: 1\n"
    assert git("rev-parse", "HEAD", cwd=work) == head
    assert git("status", "--porcelain", cwd=work) == ""


def test_a_bad_author_changes_nothing(work: Path) -> None:
    with pytest.raises(SpecError):
        opened(work).commit({"a.yaml": b"new\n"}, "x", Author(name="a<b", email="x@y"), when=NOW)
    assert git("status", "--porcelain", cwd=work) == ""


def test_the_first_commit_of_a_new_repository(tmp_path: Path) -> None:
    git("init", "-q", "-b", "main", tmp_path / "new")
    checkout = opened(tmp_path / "new")
    assert checkout.head is None
    assert checkout.branch == "main"
    assert checkout.head_tree().files() == {}
    made = checkout.commit({"a.yaml": b"1"}, "First", ME, when=NOW)
    assert git("rev-parse", "main", cwd=tmp_path / "new") == made
    assert git("status", "--porcelain", cwd=tmp_path / "new") == ""


def test_linked_worktrees_and_submodules(work: Path, tmp_path: Path) -> None:
    git("worktree", "add", "-q", "-b", "side", tmp_path / "side", cwd=work)
    side = opened(tmp_path / "side")
    made = side.commit({"a.yaml": b"side\n"}, "Side", ME, when=NOW)
    assert git("rev-parse", "side", cwd=work) == made
    assert opened(work).head != made
    git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "origin.git"), "sub", cwd=work
    )
    git("commit", "-qm", "Sub", cwd=work)
    tree = opened(work).tree()
    assert tree.files()["sub"].kind is EntryKind.SUBMODULE
    assert not any(p.startswith("sub/") for p in tree.files())
    with pytest.raises(TreeRefused):
        opened(work).commit({"sub/a.yaml": b"x"}, "x", ME, when=NOW)


async def test_a_push_goes_to_the_upstream_and_refuses_to_lose_others(work: Path, tmp_path: Path) -> None:
    checkout = opened(work)
    assert checkout.upstream().branch == "main"
    made = checkout.commit({"a.yaml": b"2\n"}, "Two", ME, when=NOW)
    await checkout.push(GitAccess())
    assert git("rev-parse", "main", cwd=tmp_path / "origin.git") == made
    assert git("rev-list", "--count", "origin/main..main", cwd=work) == "0"
    assert git("rev-parse", "origin/main", cwd=work) == made
    await checkout.push(GitAccess())
    theirs = commit(tmp_path / "origin.git", {"z": "person"})
    checkout.commit({"a.yaml": b"3\n"}, "Three", ME, when=NOW)
    with pytest.raises(PushRaced, match="not here"):
        await checkout.push(GitAccess())
    assert git("rev-parse", "main", cwd=tmp_path / "origin.git") == theirs


def test_where_a_push_goes_follows_the_configuration(work: Path, tmp_path: Path) -> None:
    git("remote", "add", "fork", "gh:me/app", cwd=work)
    git("config", "url.https://github.com/.insteadOf", "gh:", cwd=work)
    git("config", "remote.pushDefault", "fork", cwd=work)
    found = opened(work).upstream()
    assert (found.remote, found.url, found.branch) == ("fork", "https://github.com/me/app", "main")
    git("config", "remote.fork.pushurl", "https://u:s3cret@example.com/x", cwd=work)
    found = opened(work).upstream()
    assert found.url == "https://u:s3cret@example.com/x"
    assert "s3cret" not in repr(found)
    git("config", "branch.main.pushRemote", "origin", cwd=work)
    assert opened(work).upstream().remote == "origin"
    git("switch", "-q", "-c", "lonely", cwd=work)
    git("config", "--unset", "remote.pushDefault", cwd=work)
    with pytest.raises(CheckoutError, match="no upstream"):
        opened(work).upstream()


def test_a_plain_folder_is_a_tree_too(tmp_path: Path) -> None:
    (tmp_path / "f/d").mkdir(parents=True)
    (tmp_path / "f/d/a.yaml").write_text("a")
    (tmp_path / "f/.hidden").write_text("h")
    (tmp_path / "f/.git").mkdir()
    (tmp_path / "f/.git/config").write_text("x")
    (tmp_path / "f/l").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "f/pipe")
    tree = FolderTree(tmp_path / "f")
    assert set(tree.files()) == {"d/a.yaml", ".hidden", "l"}
    assert tree.read("l") == b"/etc/passwd"
    same = FolderTree(tmp_path / "f").id
    assert tree.id == same
    (tmp_path / "f/d/a.yaml").write_text("b")
    with pytest.raises(FileTrouble, match="changed"):
        tree.read("d/a.yaml")
    assert FolderTree(tmp_path / "f").id != same
    with pytest.raises(KeyError):
        tree.read("none")


KILLED = """
import os, sys
from pathlib import Path
from image_updater.api.model import Author
from image_updater.git.checkout import Checkout

checkout = Checkout.open(Path(sys.argv[1]))
checkout._move = lambda *a: os.kill(os.getpid(), 9)
checkout.commit({"a.yaml": b"a: 2\\n"}, "Ours", Author())
"""


def test_a_process_killed_before_the_branch_moves_leaves_an_edit_not_a_lie(work: Path) -> None:
    head = git("rev-parse", "HEAD", cwd=work)
    done = subprocess.run([sys.executable, "-c", KILLED, str(work)], check=False)
    assert done.returncode == -signal.SIGKILL
    git("fsck", "--strict", cwd=work)
    assert git("rev-parse", "HEAD", cwd=work) == head
    assert git("status", "--porcelain", cwd=work) == "M  a.yaml"
    assert not list(work.rglob("*.tmp"))
    checkout = opened(work)
    assert checkout.tree().read("a.yaml") == b"a: 2\n"
    with pytest.raises(TreeRefused):
        checkout.commit({"a.yaml": b"a: 3\n"}, "x", ME, when=NOW)


def test_a_person_who_commits_meanwhile_keeps_the_commit(work: Path) -> None:
    checkout = opened(work)
    move = checkout._move

    def late(*args: object) -> None:
        git("commit", "-q", "--allow-empty", "-m", "Person", cwd=work)
        move(*args)  # type: ignore[arg-type]

    checkout._move = late  # type: ignore[method-assign, assignment]
    with pytest.raises(CheckoutError, match="moved meanwhile"):
        checkout.commit({"d/b.yaml": b"b: 2\n"}, "Ours", ME, when=NOW)
    assert git("log", "-1", "--format=%s", cwd=work) == "Person"
    assert (work / "d/b.yaml").read_bytes() == b"b: 1\r\n"


def test_what_is_staged_as_removed_and_ignored_is_not_there(work: Path) -> None:
    (work / "x.log").write_text("x")
    git("add", "-f", "x.log", cwd=work)
    git("commit", "-qm", "log", cwd=work)
    assert "x.log" in opened(work).tree().files()
    git("rm", "-q", "--cached", "x.log", cwd=work)
    assert "x.log" not in opened(work).tree().files()
    git("rm", "-q", "--cached", "a.yaml", cwd=work)
    assert "a.yaml" in opened(work).tree().files()


def test_names_that_are_no_utf8_are_listed_and_left_alone(work: Path) -> None:
    for name in (b"bad\xff.yaml", b"tracked\xfe.yaml"):
        with open(os.fsencode(work) + b"/" + name, "wb") as file:
            file.write(b"x")
    subprocess.run([b"git", b"add", b"tracked\xfe.yaml"], cwd=work, check=True)
    git("commit", "-qm", "bytes", cwd=work)
    checkout = opened(work)
    assert os.fsdecode(b"bad\xff.yaml") in checkout.dirty()
    tree = checkout.tree()
    assert tree.read(os.fsdecode(b"bad\xff.yaml")) == b"x"
    assert tree.read(os.fsdecode(b"tracked\xfe.yaml")) == b"x"
    assert tree.id
    checkout.commit({"a.yaml": b"2\n"}, "Two", ME, when=NOW)
    assert os.fsdecode(b"tracked\xfe.yaml") in checkout.head_tree().files()
    with pytest.raises(TreeRefused):
        checkout.commit({os.fsdecode(b"tracked\xfe.yaml"): b"2\n"}, "Two", ME, when=NOW)
