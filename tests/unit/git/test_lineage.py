"""Who changed a value: many places in one walk, and where a history ends."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pygit2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_updater.git import Chain, End, History, Place, Role, Value, Wanted, comparing, entry_field, field_at
from image_updater.git.address import Version, read
from tests.parts import gitservers
from tests.parts.gitservers import git
from tests.unit.git.test_address import TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from image_updater.git.lineage import Changed

FILE = "kustomization.yaml"


def entries(**tags: str) -> str:
    return "images:\n" + "".join(f"  - name: {name}\n    newTag: {tag}\n" for name, tag in tags.items())


def imported(folder: Path, history: Sequence[Mapping[str, str]], *, start: int = 0) -> str:
    """A line of commits, oldest first, each with these files written; the last one's id."""
    if not folder.exists():
        git("init", "-q", "--bare", "-b", "main", folder)
    lines = ["feature done"]
    for number, files in enumerate(history, start):
        message = f"Commit {number}\n"
        lines += ["commit refs/heads/main", f"committer Ada <ada@acme.example> {1_700_000_000 + number} +0000",
                  f"data {len(message)}", message]  # fmt: skip
        if number == start and start:
            lines.append("from refs/heads/main^0")
        for path, text in files.items():
            lines += [f"M 100644 inline {path}", f"data {len(text.encode())}", text]
    git("fast-import", "--quiet", cwd=folder, stdin=("\n".join(lines) + "\ndone\n").encode())
    return git("rev-parse", "main", cwd=folder)


def everything(_: str, changes: Sequence[Changed]) -> bool:
    return False


def history(folder: Path, commit: str) -> History:
    return History(pygit2.Repository(str(folder)), commit)


def entry(past: History, name: str, file: str = FILE) -> Wanted:
    found = past.version(file)
    assert found is not None
    return Wanted(file=file, place=Place((entry_field(found, Role.TAG, 0, ("images",), name, "newTag"),)))


def said(chain: Chain) -> list[tuple[str, str | None, str | None]]:
    def tag(value: Value | None) -> str | None:
        return value.tag if value is not None else None

    return [(each.commit.subject, tag(each.before), tag(each.after)) for each in chain.changes]


def test_many_places_are_followed_in_one_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"i{number:02}" for number in range(40)]
    states = [{f"{name}.yaml": entries(web="1.0") for name in names}]
    states += [{f"{name}.yaml": entries(web="1.1")} for name in names]
    commit = imported(tmp_path / "r.git", states)
    past = history(tmp_path / "r.git", commit)
    compared: list[str] = []
    made = comparing.Compared.__init__

    def counted(self: comparing.Compared, commit: pygit2.Commit, *rest: object) -> None:
        compared.append(str(commit.id))
        made(self, commit, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(comparing.Compared, "__init__", counted)
    chains = past.trace({name: entry(past, "web", f"{name}.yaml") for name in names}, enough=lambda *_: True)
    assert [said(chains[name]) for name in names] == [[(f"Commit {n + 1}", "1.0", "1.1")] for n in range(40)]
    assert len(compared) == 40, "each commit is compared with its parent once"


def test_a_walk_ends_where_enough_is_known(tmp_path: Path) -> None:
    commit = imported(tmp_path / "r.git", [{FILE: entries(web=f"1.{n}")} for n in range(5)])
    past = history(tmp_path / "r.git", commit)
    chain = past.trace({"web": entry(past, "web")}, enough=lambda _, changes: len(changes) == 2)["web"]
    assert said(chain) == [("Commit 4", "1.3", "1.4"), ("Commit 3", "1.2", "1.3")]
    assert (chain.end, chain.now) == (End.ENOUGH, Value("1.4"))


def test_a_walk_ends_at_its_limit_and_at_a_shallow_boundary(tmp_path: Path) -> None:
    texts = [{FILE: entries(web="1.0")}, *({"note": f"{n}\n"} for n in range(9))]
    commit = imported(tmp_path / "r.git", texts)
    past = history(tmp_path / "r.git", commit)
    limited = past.trace({"web": entry(past, "web")}, enough=everything, limit=5)["web"]
    assert (limited.end, limited.changes) == (End.LIMIT, ())
    whole = past.trace({"web": entry(past, "web")}, enough=everything)["web"]
    assert (whole.end, said(whole)) == (End.START, [("Commit 0", None, "1.0")])
    git("clone", "-q", "--bare", "--depth", "3", (tmp_path / "r.git").as_uri(), tmp_path / "shallow.git")
    cut = history(tmp_path / "shallow.git", commit)
    ended = cut.trace({"web": entry(cut, "web")}, enough=everything)["web"]
    assert (ended.end, ended.changes) == (End.BOUNDARY, ())
    assert ended.last == git("rev-list", "main", cwd=tmp_path / "shallow.git").split()[-1]
    assert not cut.reaches(4)
    assert past.reaches(1000)


def test_a_file_that_was_no_yaml_for_a_while_says_nothing_then(tmp_path: Path) -> None:
    broken = "images: [\n"
    commit = imported(
        tmp_path / "r.git",
        [{FILE: text} for text in (entries(web="1.0"), broken, broken, entries(web="1.0"), broken, entries(web="1.1"))],
    )
    past = history(tmp_path / "r.git", commit)
    chain = past.trace({"web": entry(past, "web")}, enough=everything)["web"]
    assert said(chain) == [("Commit 5", "1.0", "1.1"), ("Commit 0", None, "1.0")]


@pytest.mark.parametrize("changed", [False, True], ids=["as-it-is", "with-an-edit"])
def test_a_file_is_followed_under_its_old_name(tmp_path: Path, changed: bool) -> None:
    folder = tmp_path / "r.git"
    imported(folder, [{"old/kustomization.yaml": entries(api="1", web="1.0")}])
    gitservers.commit(folder, {"old/kustomization.yaml": entries(api="1", web="1.1")}, message="Move it up")
    new = entries(web="1.1", api="2") if changed else entries(api="1", web="1.1")
    commit = gitservers.commit(folder, {"old/kustomization.yaml": None, "new/kustomization.yaml": new}, message="Away")
    past = history(folder, commit)
    chain = past.trace({"web": entry(past, "web", "new/kustomization.yaml")}, enough=everything)["web"]
    assert said(chain) == [("Move it up", "1.0", "1.1"), ("Commit 0", None, "1.0")]


DEPLOYMENT = "kind: Deployment\nmetadata: {name: NAME}\nspec: {containers: [{name: app, image: acme/NAME:1}]}\n"


def test_a_document_that_went_to_a_file_of_its_own_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "r.git"
    one, other = DEPLOYMENT.replace("NAME", "one"), DEPLOYMENT.replace("NAME", "other")
    imported(folder, [{"all.yaml": one + "---\n" + other}])
    commit = gitservers.commit(folder, {"all.yaml": one, "other.yaml": other}, message="Apart")
    past = history(folder, commit)
    version = past.version("other.yaml")
    assert version is not None
    field = field_at(version, Role.IMAGE, 0, ("spec", "containers", 0, "image"))
    chain = past.trace({"x": Wanted(file="other.yaml", place=Place((field,)))}, enough=everything)["x"]
    assert said(chain) == [("Commit 0", None, "1")]


def test_an_entry_that_came_and_went_has_a_past(tmp_path: Path) -> None:
    states = (
        entries(api="1"),
        entries(api="1", web="2"),
        entries(api="2", web="2"),
        entries(api="2"),
        entries(api="3"),
    )
    commit = imported(tmp_path / "r.git", [{FILE: text} for text in states])
    past = history(tmp_path / "r.git", commit)
    chain = past.trace({"web": entry(past, "web")}, enough=everything)["web"]
    assert said(chain) == [("Commit 3", "2", None), ("Commit 1", None, "2")]
    assert chain.now is None


def test_a_file_that_was_deleted_and_put_back_keeps_its_past(tmp_path: Path) -> None:
    folder = tmp_path / "r.git"
    imported(folder, [{FILE: entries(web="1.0")}, {FILE: entries(web="1.1")}, {"note": "1\n"}])
    gitservers.commit(folder, {FILE: None}, message="Away")
    gitservers.commit(folder, {"note": "2\n"}, message="Beside it")
    commit = gitservers.commit(folder, {FILE: entries(api="2", web="1.0")}, message="Back")
    past = history(folder, commit)
    chain = past.trace({"web": entry(past, "web")}, enough=everything)["web"]
    assert said(chain) == [
        ("Back", None, "1.0"),
        ("Away", "1.1", None),
        ("Commit 1", "1.0", "1.1"),
        ("Commit 0", None, "1.0"),
    ]
    never = past.trace({"api": entry(past, "api")}, enough=everything)["api"]
    assert (never.end, said(never)) == (End.START, [("Back", None, "2")])


def test_what_was_deleted_and_put_back_on_a_side_keeps_its_past(tmp_path: Path) -> None:
    folder = tmp_path / "r.git"
    imported(folder, [{FILE: entries(web="1.0")}, {FILE: entries(web="1.1")}])
    git("branch", "side", "main", cwd=folder)
    gitservers.commit(folder, {"note": "1\n"}, message="Meanwhile")
    gitservers.commit(folder, {FILE: None}, message="Away", branch="side")
    side = gitservers.commit(folder, {FILE: entries(web="1.0")}, message="Back", branch="side")
    tree = git("merge-tree", "--write-tree", "main", "side", cwd=folder)
    merged = git("commit-tree", tree, "-p", "main", "-p", side, "-m", "Merge", cwd=folder)
    past = history(folder, merged)
    chain = past.trace({"web": entry(past, "web")}, enough=everything)["web"]
    assert [subject for subject, _, _ in said(chain)] == ["Back", "Away", "Commit 1", "Commit 0"]


def test_a_new_file_has_no_past_of_the_one_that_went_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "r.git"
    imported(folder, [{FILE: entries(web="1.0")}, {FILE: entries(web="1.1")}])
    gitservers.commit(folder, {FILE: None, f"prod/{FILE}": entries(web="1.1")}, message="Move it")
    commit = gitservers.commit(folder, {FILE: entries(web="1.0")}, message="Another one")
    past = history(folder, commit)
    chain = past.trace({"web": entry(past, "web")}, enough=everything)["web"]
    assert (chain.end, said(chain)) == (End.START, [("Another one", None, "1.0")])


def test_a_new_file_of_a_shallow_clone_came_into_being_there(tmp_path: Path) -> None:
    folder = tmp_path / "r.git"
    imported(folder, [{"note": f"{number}\n"} for number in range(5)])
    made = gitservers.commit(folder, {FILE: entries(web="1.0")}, message="New")
    commit = gitservers.commit(folder, {"note": "9\n"})
    git("clone", "-q", "--bare", "--depth", "4", folder.as_uri(), tmp_path / "shallow.git")
    for past in (history(folder, commit), history(tmp_path / "shallow.git", commit)):
        chain = past.trace({"web": entry(past, "web")}, enough=everything)["web"]
        assert (chain.end, chain.last, said(chain)) == (End.START, made, [("New", None, "1.0")])


def test_the_files_of_a_commit(tmp_path: Path) -> None:
    folder = tmp_path / "r.git"
    first = imported(folder, [{"a": "1\n", "b": "1\n"}])
    second = gitservers.commit(folder, {"a": None, "c/d": "1\n"})
    past = history(folder, second)
    assert past.files(first) == frozenset(("a", "b"))
    assert past.files(second) == frozenset(("a", "c/d"))
    empty = git("commit-tree", f"{second}^{{tree}}", "-p", second, "-m", "Nothing", cwd=folder)
    assert past.files(empty) == frozenset()


@settings(max_examples=25)
@given(texts=st.lists(TEXTS, min_size=2, max_size=8))
def test_a_walk_tells_what_reading_every_version_tells(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("law") / "r.git"
    commit = imported(folder, [{FILE: text} for text in texts])
    past = history(folder, commit)
    place = entry(past, "acme/web").place
    values: list[Value | None] = []
    for text in texts:
        found = read(Version(text.encode()), place)
        assert found is not None
        values.append(found.value)
    expected = [(n, *pair) for n, pair in enumerate(itertools.pairwise([None, *values])) if pair[0] != pair[1]]
    chain = past.trace({"web": Wanted(file=FILE, place=place)}, enough=everything)["web"]
    assert [(each.commit.subject, each.before, each.after) for each in chain.changes] == [
        (f"Commit {n}", before, after) for n, before, after in reversed(expected)
    ]
