"""Where the past of an image goes on behind an insert: asked only where it can say something, and once a process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pygit2
import pytest

from image_updater.git import History, Place, Wanted
from image_updater.images import parse_name
from image_updater.kustomize import locate
from image_updater.pipeline.people.past import Past
from image_updater.pipeline.people.pins import Asked, Rendering, before
from image_updater.pipeline.people.places import Versions, entry
from tests.integration.line.test_checkout import deployment
from tests.parts.gitservers import git

if TYPE_CHECKING:
    from pathlib import Path

    from image_updater.git import Chain
    from image_updater.kustomize import Provenance, Tree

PROD = "prod/kustomization.yaml"
BASE = "resources: [../base]\n"
PIN = "images:\n  - name: acme/web\n    newTag: 1.0.0\n"
OURS = "Update\n\nImage-Policy: default/web\nImage: acme/web\nNew: 1.1.0\nAutomation: default/fleet\n"


@dataclass
class Work:
    """A repository, and how often a tree of it was looked through."""

    folder: Path
    past: Past = field(init=False)
    located: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, str], message: str = "By hand") -> None:
        if not (self.folder / ".git").exists():
            git("init", "-q", "-b", "main", self.folder)
        for path, text in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        git("add", "-A", cwd=self.folder)
        git("commit", "-q", "-m", message, cwd=self.folder)
        tip = git("rev-parse", "HEAD", cwd=self.folder)
        history = History(pygit2.Repository(str(self.folder)), tip)
        known = getattr(self, "past", None)
        self.past = replace(known, history=history) if known is not None else Past(history=history, branch="main")

    def before(self, file: str = PROD, *folders: str) -> list[Chain]:
        def counted(tree: Tree) -> Provenance:
            self.located.append(tree.id)
            return locate(tree)

        fields = entry(Versions(self.past.history.tree)[file], "acme/web")
        wanted = Wanted(file=file, place=Place(tuple(fields)))
        asked = Asked(
            name="site", policy="default/web", image=parse_name("acme/web"), wanted=wanted, folders=folders or ("prod",)
        )

        async def ask() -> list[Chain]:
            chain = (await self.past.chains([wanted]))[wanted]
            return await before(chain, asked, self.past, Rendering(roots={}, locate=counted))

        return asyncio.run(ask())


@pytest.fixture
def work(tmp_path: Path) -> Work:
    made = Work(tmp_path / "fleet")
    made.commit({"base/web.yaml": deployment("web", "1.0.0"), "base/kustomization.yaml": "resources: [web.yaml]\n"})
    made.commit({PROD: BASE, "staging/kustomization.yaml": BASE})
    made.commit({"base/web.yaml": deployment("web", "1.1.0")}, OURS)
    return made


def said(chain: Chain) -> list[tuple[str, str, str]]:
    return [(each.commit.subject, str(each.before), str(each.after)) for each in chain.changes]


def test_the_past_of_a_pin_goes_on_with_what_it_took_the_place_of(work: Work) -> None:
    work.commit({PROD: BASE + PIN}, "Pin")
    (chain,) = work.before()
    assert said(chain) == [("Pin", "1.1.0", "1.0.0"), ("Update", "1.0.0", "1.1.0")]


def test_what_took_the_place_of_the_same_value_changed_nothing(work: Work) -> None:
    work.commit({PROD: BASE + PIN.replace("1.0.0", "1.1.0")}, "Pin")
    (chain,) = work.before()
    assert said(chain) == [("Update", "1.0.0", "1.1.0")]


def test_an_insert_is_looked_into_once_a_process(work: Work) -> None:
    work.commit({PROD: BASE + PIN}, "Pin")
    found = work.before()
    assert len(work.located) == 2
    for number in range(3):
        work.commit({"README.md": f"{number}\n"})
        assert [said(each) for each in work.before()] == [said(each) for each in found]
    assert len(work.located) == 2


def test_a_folder_that_was_not_there_is_not_looked_into(work: Work) -> None:
    work.commit({"eu/kustomization.yaml": BASE + PIN}, "Europe")
    assert work.before("eu/kustomization.yaml", "eu") == []
    assert work.located == []


def test_a_place_without_a_value_is_not_looked_into(work: Work) -> None:
    work.commit({PROD: BASE + PIN}, "Pin")
    work.commit({PROD: BASE}, "No more")
    assert work.before() == []
    assert work.located == []


def test_an_entry_of_ours_is_not_looked_into(work: Work) -> None:
    work.commit({PROD: BASE + PIN}, OURS.replace("1.1.0", "1.0.0"))
    assert work.before() == []
    assert work.located == []


def test_the_files_that_we_wrote_for_an_image_are_known_as_far_as_the_history_is_here(work: Work) -> None:
    assert work.past.wrote(parse_name("acme/web")) == {"base/web.yaml"}
    assert work.past.wrote(parse_name("acme/api")) == set()
    record = work.past.record()
    gone = replace(record, wrote={"acme/web": (*record.wrote["acme/web"], "e" * 40)})
    work.past.memory.records = dict.fromkeys(work.past.memory.records, (work.past.history.tip, gone))
    assert work.past.wrote(parse_name("docker.io/acme/web")) == {"base/web.yaml"}
