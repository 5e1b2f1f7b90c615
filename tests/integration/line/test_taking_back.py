"""Planned rollbacks through a running daemon, on a real Git server: what moves, what stays, what is recorded."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from image_updater.api.moments import exact_rfc3339
from image_updater.api.wishes import DenyWish, RollbackWish, Wishes, to_annotations
from image_updater.cli.app import cli
from image_updater.pipeline.rollback import evidence
from image_updater.pipeline.rollback.decision import Author, Back, Quarantines, RollbackPlan
from image_updater.pipeline.rollback.placements import Placement, Value
from image_updater.policy.situation import Origin, Quarantined
from image_updater.store import Store
from tests.integration.line.test_checkout import deployment
from tests.integration.line.test_people_daemon import FLEET, WEB, House, house
from tests.parts import gitservers
from tests.parts.gitservers import git

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from image_updater.pipeline.report import AutomationReport
    from image_updater.pipeline.rollback.evidence import Ground

OLD, BAD = Value("1.0.0"), Value("1.1.0")


def overlays(image: str) -> dict[str, str | None]:
    """One line that staging and prod render both, in which two workloads stand."""
    base = deployment("web", "1.1.0").replace("acme/web", image)
    return {
        WEB: None,
        "base/web.yaml": base,
        "base/worker.yaml": base.replace("name: web", "name: worker"),
        "base/kustomization.yaml": "resources: [web.yaml, worker.yaml]\n",
        "staging/kustomization.yaml": "resources: [../base]\n",
        "prod/kustomization.yaml": "resources: [../base]\n",
    }


def entries(image: str) -> dict[str, str | None]:
    """An `images:` entry that says it of two workloads."""
    return overlays(image) | {
        "prod/kustomization.yaml": f"resources: [../base]\nimages:\n  - name: {image}\n    newTag: 1.1.0\n"
    }


async def take(
    at: House, meant: Callable[[Placement], bool], to: Value = OLD, *, digest: str | None = "sha256:" + "a" * 64
) -> AutomationReport:
    """Back with these places, as a failed rollout asks for it. `digest`: the bad bytes of 1.1.0, None = all."""

    async def taking(ground: Ground) -> RollbackPlan | None:
        found = [each for each in await ground.found() if meant(each)]
        if not found:
            return None
        backs = tuple(
            Back(policy=each.policy, image=each.image, to=to, bad=BAD, places=frozenset({each.key})) for each in found
        )
        return RollbackPlan(
            automation=FLEET,
            backs=backs,
            reason="it crashes",
            place="shop/prod",
            quarantines=(Quarantines(image=at.image, value=Value("1.1.0", digest)),),
        )

    return await at.daemon.take_back(FLEET, taking)


def in_(root: str, name: str) -> Callable[[Placement], bool]:
    return lambda each: (each.root, each.object.name) == (root, name)


def before(make: Callable[[str], Mapping[str, str | None]]) -> Callable[[Path, str], None]:
    return lambda bare, image: _commit(bare, make(image), image)


def _commit(bare: Path, files: Mapping[str, str | None], image: str) -> None:
    text = f"Update\n\nImage-Policy: default/web\nImage: {image}\nOld: 1.0.0\nNew: 1.1.0\nAutomation: default/fleet\n"
    gitservers.commit(bare, files, message=text)


async def test_a_shared_line_stays_and_the_root_gets_an_entry(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with house(server, tmp_path, before=before(overlays)) as at:
        report = await take(at, lambda each: each.root == "prod")
        assert report.commit is not None, report
        assert git("show", "--format=", "--name-only", "main", cwd=at.bare) == "prod/kustomization.yaml"
        text = git("show", "main:prod/kustomization.yaml", cwd=at.bare)
        assert f"name: {at.image}\n  newTag: 1.0.0" in text.replace("  - ", "- ").replace("    ", "  ")
        message = git("log", "-1", "--format=%B", "main", cwd=at.bare)
        assert message.startswith(f"Roll back {at.image} from 1.1.0 to 1.0.0 in shop/prod\n")
        trailers = message.strip().rpartition("\n\n")[2].splitlines()
        assert trailers[:4] == ["Image-Policy: default/web", f"Image: {at.image}", "Old: 1.1.0", "New: 1.0.0"]
        assert trailers[-3:] == [
            "Rollback: it crashes",
            f"Quarantine: {at.image}:1.1.0@sha256:{'a' * 64}",
            "Quarantine-Reason: it crashes",
        ]


async def test_one_workload_alone_where_an_entry_would_reach_two_takes_both(
    server: gitservers.HttpServer,
    tmp_path: Path,
) -> None:
    async with house(server, tmp_path, before=before(overlays)) as at:
        report = await take(at, in_("prod", "web"))
        assert report.commit is not None, report
        assert "newTag: 1.0.0" in git("show", "main:prod/kustomization.yaml", cwd=at.bare)


async def test_an_entry_that_two_workloads_share_moves_for_both(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with house(server, tmp_path, before=before(entries)) as at:
        report = await take(at, in_("prod", "worker"))
        assert report.commit is not None, report
        assert git("show", "--format=", "--name-only", "main", cwd=at.bare) == "prod/kustomization.yaml"
        assert "newTag: 1.0.0" in git("show", "main:prod/kustomization.yaml", cwd=at.bare)


async def test_what_moved_meanwhile_is_left(server: gitservers.HttpServer, tmp_path: Path) -> None:
    async with house(server, tmp_path) as at:
        await at.push("1.1.0")
        asked = []

        async def taking(ground: Ground) -> RollbackPlan | None:
            """A person is faster: the first plan is made on a tip that is not the tip any more."""
            asked.append(ground.commit)
            if len(asked) == 1:
                at.person("1.2.0-rc1")
            backs = tuple(
                Back(policy=each.policy, image=each.image, to=OLD, bad=BAD, places=frozenset({each.key}))
                for each in await ground.found()
            )
            return RollbackPlan(automation=FLEET, backs=backs, reason="it crashes")

        report = await at.daemon.take_back(FLEET, taking)
        assert report.commit is None
        assert report.error is None
        assert len(asked) == 2
        assert at.tag == "1.2.0-rc1"


async def test_who_wrote_it_and_what_stood_there(server: gitservers.HttpServer, tmp_path: Path) -> None:
    found: list[tuple[Author, str | None, str]] = []

    async def taking(ground: Ground) -> RollbackPlan | None:
        (place,) = await ground.found()
        known = (await evidence.written(ground, [place]))[place.key]
        found.append((known.author, str(known.old) if known.old else None, str(place.value)))
        return None

    async with house(server, tmp_path) as at:
        await at.daemon.take_back(FLEET, taking)
        await at.push("1.1.0")
        await at.daemon.take_back(FLEET, taking)
        await take(at, lambda _: True, digest=None)
        await at.daemon.take_back(FLEET, taking)
        at.person("1.0.5")
        await at.daemon.take_back(FLEET, taking)
    assert found == [
        (Author.PERSON, None, "1.0.0"),
        (Author.OURS, "1.0.0", "1.1.0"),
        (Author.ROLLBACK, "1.1.0", "1.0.0"),
        (Author.PERSON, "1.0.0", "1.0.5"),
    ]


async def test_a_wish_is_granted_once_and_holds_until_something_newer(
    server: gitservers.HttpServer,
    tmp_path: Path,
) -> None:
    async with house(server, tmp_path) as at:
        await at.push("1.1.0")
        wish = RollbackWish(at=datetime.now(UTC) + timedelta(seconds=1), by="jo", reason="it is slow")
        await asyncio.sleep(1)  # Git's times are whole seconds
        situations = at.daemon._selector.situations
        situations.wished("default/web", Wishes(rollback=wish))
        await at.daemon.look(FLEET)
        await until(lambda: at.tag == "1.0.0")
        body = git("log", "-1", "--format=%B", "main", cwd=at.bare)
        assert "Rollback: asked for by jo: it is slow\nRollback-Asked: " in body
        tip = at.tip
        for _ in range(3):
            await at.daemon.look(FLEET)
        assert at.tip == tip
        assert at.hold is not None
        await at.push("1.2.0")
        assert at.tag == "1.2.0"
        for _ in range(3):
            await at.daemon.look(FLEET)
        assert at.tag == "1.2.0", "that wish was about what stood there then"
        situations.wished("default/web", Wishes(rollback=replace(wish, at=datetime.now(UTC), to="1.1.0")))
        await asyncio.sleep(1.1)
        situations.wished("default/web", Wishes(rollback=replace(wish, at=datetime.now(UTC), to="1.1.0")))
        await at.daemon.look(FLEET)
        await until(lambda: at.tag == "1.1.0")


async def test_who_insists_on_a_bad_tag_gets_it_and_the_commit_says_what_spoke_against_it(
    server: gitservers.HttpServer,
    tmp_path: Path,
) -> None:
    async with house(server, tmp_path) as at:
        await at.push("1.1.0")
        situations, now = at.daemon._selector.situations, datetime.now(UTC)
        bad = Quarantined(
            image=at.image,
            tag="1.0.0",
            reason="it\ncrashes",
            source="Quarantine default/old",
            origin=Origin.PERSON,
            since=now - timedelta(hours=1),
        )
        situations.failed("default/web", [bad])
        wish = RollbackWish(at=now + timedelta(seconds=1), by="jo", reason="we need it", to="1.0.0")
        await asyncio.sleep(1)  # Git's times are whole seconds
        denied = DenyWish(what="1.0.0", by="ada", reason="old")
        situations.wished("default/web", Wishes(rollback=wish, denied=(denied,)))
        await at.daemon.look(FLEET)
        await until(lambda: at.tag == "1.0.0")
        body = git("log", "-1", "--format=%B", "main", cwd=at.bare)
        against = "1.0.0 is quarantined by Quarantine default/old: it crashes; it is denied by ada: old"
        assert f"Rollback: asked for by jo: we need it (although {against})\n" in body
        tip = at.tip
        for _ in range(3):
            await at.daemon.look(FLEET)
        await asyncio.sleep(0.2)
        assert at.tip == tip, "an older Quarantine does not take back what somebody asked for in spite of it"


@pytest.mark.parametrize("to", ["9.9.9"])
async def test_a_tag_that_nobody_has_is_refused(server: gitservers.HttpServer, tmp_path: Path, to: str) -> None:
    async with house(server, tmp_path) as at:
        await at.push("1.1.0")
        tip = at.tip
        wish = RollbackWish(at=datetime.now(UTC) + timedelta(seconds=5), by="jo", to=to)
        at.daemon._selector.situations.wished("default/web", Wishes(rollback=wish))
        await at.daemon.look(FLEET)
        await asyncio.sleep(0.2)
        await at.daemon.look(FLEET)
        assert at.tip == tip


@pytest.mark.parametrize("by", ["an annotation", "the state file"])
def test_a_single_update_says_of_a_wish_that_it_waits(tmp_path: Path, by: str) -> None:
    at = datetime(2026, 11, 26, 12, 0, 0, 7, tzinfo=UTC)
    wish, words = RollbackWish(at=at, by="jo", to="1.0.0"), "jo asked for a rollback to 1.0.0 at 2026-11-26T12:00:00Z"
    folder, state = tmp_path / "fleet", tmp_path / "state.sqlite"
    folder.mkdir()
    (folder / "web.yaml").write_text(deployment("web", "1.1.0"))
    git("init", "-q", "-b", "main", folder)
    git("add", ".", cwd=folder)
    git("commit", "-qm", "Start", cwd=folder)
    annotations = {}
    if by == "an annotation":
        annotations = {name: text for name, text in to_annotations(Wishes(rollback=wish)).items() if text is not None}
    else:
        with Store.open(state) as store:
            store.save_wish("default/web", wish, at)
    spec = {"image": "acme/web", "policy": {"semver": {"range": "*"}}}
    metadata = {"name": "web", "annotations": annotations}
    policy = {"apiVersion": "image-updater.dev/v1alpha1", "kind": "ImagePolicy", "metadata": metadata, "spec": spec}
    (tmp_path / "policy.yaml").write_text(json.dumps(policy))
    (tmp_path / "tags.txt").write_text("1.0.0\n1.1.0\n")
    command = ["update", str(folder), "-f", str(tmp_path / "policy.yaml"), "--tags", str(tmp_path / "tags.txt")]
    command += ["--state", str(state)]
    said = CliRunner().invoke(cli, command)
    assert (said.exit_code, words in " ".join(said.output.split())) == (0, True), said.output
    trailers = f"Image-Policy: default/web\nRollback: asked for by jo\nRollback-Asked: {exact_rfc3339(at)}"
    git("commit", "-q", "--allow-empty", "-m", f"Roll back\n\n{trailers}", cwd=folder)
    assert words not in " ".join(CliRunner().invoke(cli, command).output.split()), "it was granted"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)
