"""What a command leaves at an ImagePolicy or in a state file, and how `run` hears of it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from image_updater.api import SpecErrors
from image_updater.api.wishes import (
    APPROVALS,
    DENY,
    HOLD,
    RESUME,
    ApprovalWish,
    DenyWish,
    HoldWish,
    ResumeWish,
    RollbackWish,
    UndenyWish,
    Wish,
    Wishes,
)
from image_updater.cluster.errors import Conflict, Forbidden
from image_updater.errors import SpecError
from image_updater.pipeline.people.asking import ClusterDesk, StateDesk, change
from image_updater.pipeline.people.listening import Listening
from image_updater.pipeline.people.standing import standing_of
from image_updater.policy.situation import Proven
from image_updater.store import Stage, StateFailed, Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


# ------------------------------------------------------------------------------------------- annotations


@pytest.mark.parametrize(
    ("annotations", "new", "patch"),
    [
        ({}, HoldWish(reason="x", by="ada"), {HOLD: '{"reason": "x", "by": "ada"}'}),
        ({HOLD: "an older one"}, HoldWish(reason="x"), {HOLD: '{"reason": "x"}'}),
        ({HOLD: "x", DENY: "1"}, ResumeWish(at=NOW), {HOLD: None, RESUME: '{"at": "2026-03-01T12:00:00Z"}'}),
        ({DENY: "1,2"}, UndenyWish(what="1"), {DENY: '[{"what": "2"}]'}),
        ({DENY: "1"}, UndenyWish(what="1"), {DENY: None}),
        ({DENY: "1"}, UndenyWish(what="2"), {}),
        ({APPROVALS: "1"}, ApprovalWish(tag="2", by="a"), {APPROVALS: '[{"tag": "1"}, {"tag": "2", "by": "a"}]'}),
        # One that cannot be read is overwritten where it is replaced as a whole.
        ({HOLD: "{rotten"}, HoldWish(reason="x"), {HOLD: '{"reason": "x"}'}),
        ({RESUME: "soon"}, HoldWish(reason="x"), {HOLD: '{"reason": "x"}'}),
    ],
)
def test_one_wish_changes_no_more_annotations_than_its_own(
    annotations: dict[str, str], new: Wish, patch: dict[str, str | None]
) -> None:
    assert change(annotations, new) == patch


@pytest.mark.parametrize(
    ("annotation", "new"),
    [(APPROVALS, ApprovalWish(tag="1")), (DENY, DenyWish(what="1")), (DENY, UndenyWish(what="1"))],
)
def test_a_list_that_cannot_be_read_is_not_overwritten(annotation: str, new: Wish) -> None:
    with pytest.raises(SpecErrors, match=r"metadata\.annotations\[image-updater\.dev"):
        change({annotation: "{rotten"}, new)


class Server:
    """An API server with one ImagePolicy, and people who are faster a few times."""

    def __init__(self, annotations: dict[str, str], *, faster: list[Wish] | None = None, who: Any = "ada") -> None:
        self.body: dict[str, Any] = {
            "metadata": {"namespace": "apps", "name": "web", "annotations": annotations, "resourceVersion": "1"},
            "spec": {"approvals": 2},
        }
        self.faster = faster or []
        self.who = who
        self.patches: list[Any] = []

    async def get(self, resource: Any, name: str, namespace: str | None = None) -> Any:
        return json.loads(json.dumps(self.body)) if (namespace, name) == ("apps", "web") else None

    async def list(self, resource: Any, namespace: str | None = None, **_: Any) -> Any:
        return ([self.body] if namespace == "apps" else []), "1"

    async def create(self, resource: Any, body: Any) -> Any:
        if isinstance(self.who, Exception):
            raise self.who
        return {"status": {"userInfo": {"username": self.who}}}

    async def patch(self, resource: Any, name: str, namespace: str, patch: Any, **_: Any) -> Any:
        self.patches.append(patch)
        metadata = self.body["metadata"]
        if self.faster:
            self._take(change(metadata["annotations"], self.faster.pop(0)))
        if patch["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise Conflict("somebody was faster")
        self._take(patch["metadata"]["annotations"])
        return json.loads(json.dumps(self.body))

    def _take(self, annotations: dict[str, str | None]) -> None:
        metadata = self.body["metadata"]
        for name, text in annotations.items():
            if text is None:
                metadata["annotations"].pop(name, None)
            else:
                metadata["annotations"][name] = text
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)


def desk(server: Any) -> ClusterDesk:
    return ClusterDesk(server, namespace="apps", account="user 'x' of the kubeconfig")


async def test_whoever_is_slower_asks_again_and_nobodys_wish_is_lost() -> None:
    server = Server(
        {DENY: "0.9"}, faster=[DenyWish(what="1.0", by="bob"), ApprovalWish(tag="1.2", by="bob"), HoldWish(reason="y")]
    )
    after = await desk(server).ask("apps/web", DenyWish(what="1.1", by="ada"), NOW)
    assert [each.what for each in after.wishes.denied] == ["0.9", "1.0", "1.1"]
    assert [each.by for each in after.wishes.approvals] == ["bob"]
    assert after.wishes.hold == HoldWish(reason="y")
    assert len(server.patches) == 4
    assert set(server.patches[-1]["metadata"]["annotations"]) == {DENY}


async def test_a_policy_that_changes_all_the_time_is_said_to_do_so() -> None:
    server = Server({}, faster=[HoldWish(reason=str(i)) for i in range(100)])
    with pytest.raises(Conflict, match="faster than it can be asked"):
        await desk(server).ask("apps/web", DenyWish(what="1"), NOW)


async def test_a_wish_that_changes_nothing_writes_nothing() -> None:
    server = Server({})
    await desk(server).ask("apps/web", UndenyWish(what="1"), NOW)
    assert server.patches == []


async def test_an_unknown_policy_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(SpecError, match="there is no ImagePolicy apps/wbe") as caught:
        await desk(Server({})).find("wbe")
    assert caught.value.remedy == "did you mean 'web'?"
    with pytest.raises(SpecError, match="there is no ImagePolicy other/web"):
        await desk(Server({})).find("other/web")


async def test_the_policy_of_an_annotation_is_spoken_to_in_git() -> None:
    with pytest.raises(SpecError, match="has no object") as caught:
        await desk(Server({})).find("annotation:ghcr.io/acme/web:semver ^1")
    assert caught.value.remedy is not None
    assert "`Image-Updater: hold`" in caught.value.remedy
    assert "`ref NAME`" in caught.value.remedy


async def test_the_server_says_who_asks_and_the_kubeconfig_where_it_does_not() -> None:
    assert await desk(Server({}, who="system:serviceaccount:apps:robot")).me() == "system:serviceaccount:apps:robot"
    assert await desk(Server({}, who="")).me() == "user 'x' of the kubeconfig"
    assert await desk(Server({}, who=Forbidden("no"))).me() == "user 'x' of the kubeconfig"


def test_the_status_of_a_policy_says_how_it_stands() -> None:
    found = standing_of(
        {
            "metadata": {"namespace": "apps", "name": "web", "annotations": {HOLD: "x", RESUME: "soon"}},
            "spec": {"approvals": 1, "deny": ["0.1"], "suspend": True},
            "status": {
                "latest": {"tag": "1.2"},
                "conditions": [{"type": "Stalled", "message": "a"}, {"type": "Ready", "message": "b"}],
                "candidates": [{"tag": "1.2"}, {"tag": "1.1"}],
                "proven": [
                    {"tag": "1.2", "since": "2026-03-01T12:00:00Z", "environment": "a/b"},
                    {"tag": "1.1", "since": "2026-03-01T11:00:00Z", "withdrawn": "2026-03-01T12:00:00Z"},
                    {"tag": "1.0", "since": "2026-03-01T10:00:00Z", "digest": "sha256:1"},
                ],
                "leadTime": {
                    "tag": "1.2",
                    "environment": "a/b",
                    "seen": "2026-03-01T11:00:00Z",
                    "healthy": "2026-03-01T12:00:00Z",
                },
                "history": [{"tag": "1.1", "applied": "2026-03-01T10:30:00Z"}],
            },
        }
    )
    assert (found.policy, found.tag, found.reason, found.approvals) == ("apps/web", "1.2", "b", 1)
    assert (found.denied, found.suspend, found.candidates) == (("0.1",), True, ("1.2", "1.1"))
    assert found.wishes.hold == HoldWish(reason="x")
    assert len(found.problems) == 1
    assert found.good == Proven(tag="1.0", at=NOW - 2 * HOUR, digest="sha256:1")
    assert [(each.tag, each.environment, each.lead_time) for each in found.milestones] == [
        ("1.2", "a/b", HOUR),
        ("1.1", "", None),
        ("1.0", "", None),
    ]


_PROVEN = [{"tag": tag, "since": f"2026-03-01T{hour}:00:00Z"} for tag, hour in (("1.2", 12), ("1.1", 11), ("1.0", 10))]


@pytest.mark.parametrize(
    ("status", "annotations", "serving", "good"),
    [
        ({"latest": {"tag": "1.2"}}, {}, "1.2", "1.1"),
        ({"latest": {"tag": "1.3"}}, {}, "1.3", "1.2"),
        ({"latest": {"tag": "1.2"}}, {DENY: "1.1"}, "1.2", "1.0"),
        ({"latest": {"tag": "1.1"}}, {DENY: "1.2"}, None, None),
        ({"latest": {"tag": "1.2"}, "rollback": {"state": "Done", "tag": "1.2", "to": "1.1"}}, {}, None, None),
        ({"latest": {"tag": "1.2"}, "rollback": {"state": "Refused", "tag": "1.2"}}, {}, "1.2", "1.1"),
        ({"latest": {"tag": "1.2"}, "hold": {"tag": "1.2", "by": "Ada"}}, {}, None, None),
        ({"latest": {"tag": "1.2"}, "hold": {"tag": "1.3", "by": "Kustomization apps/shop"}}, {}, "1.3", "1.2"),
    ],
    ids=["chosen", "not proven", "one denied", "what serves denied", "rolled back", "refused", "reverted", "failed"],
)
def test_where_a_rollback_goes_is_only_said_where_status_tells_what_serves(
    status: dict[str, Any], annotations: dict[str, str], serving: str | None, good: str | None
) -> None:
    metadata = {"namespace": "apps", "name": "web", "annotations": annotations}
    found = standing_of({"metadata": metadata, "status": {**status, "proven": _PROVEN}})
    assert (found.serving, found.good.tag if found.good else None) == (serving, good)


def test_a_tag_is_one_row_in_an_environment_whoever_knew_its_digest() -> None:
    def standing(*digests: str | None) -> list[tuple[str, str | None, timedelta | None]]:
        row = {"tag": "1.0.0", "environment": "a/b", "seen": "2026-03-01T11:59:55Z", "healthy": "2026-03-01T12:00:00Z"}
        proven = {"tag": "1.0.0", "since": "2026-03-01T12:00:00Z", "environment": "a/b"}
        status = {"history": [{**row, "digest": digest} for digest in digests], "proven": [proven]}
        found = standing_of({"metadata": {"namespace": "apps", "name": "web"}, "status": status})
        return [(each.tag, each.digest, each.lead_time) for each in found.milestones]

    took = timedelta(seconds=5)
    assert standing("sha256:1") == [("1.0.0", "sha256:1", took)]
    assert standing(None) == [("1.0.0", None, took)]
    # Which of two it was, nobody can say.
    assert standing("sha256:1", "sha256:2") == [
        ("1.0.0", "sha256:1", took),
        ("1.0.0", "sha256:2", took),
        ("1.0.0", None, None),
    ]


def test_a_policy_without_status_stands_as_it_is() -> None:
    found = standing_of({"metadata": {"namespace": "apps", "name": "web"}, "spec": {}})
    assert (found.tag, found.good, found.milestones, found.approvals) == (None, None, (), 0)


async def test_what_speaks_against_a_tag_is_told_to_who_asks_for_it() -> None:
    class Full(Server):
        async def list(self, resource: Any, namespace: str | None = None, **_: Any) -> Any:
            if resource.kind == "ClusterQuarantine":
                raise Forbidden("no")
            assert namespace == "apps"
            spec = {"image": "acme/web", "tag": "1.0", "reason": "crash loop"}
            return [{"metadata": {"namespace": "apps", "name": "bad"}, "spec": spec}], "1"

    server = Full({DENY: '[{"what": "1.0", "by": "ada", "reason": "slow"}]'})
    server.body["spec"] = {"image": "docker.io/acme/web", "deny": ["0.9"]}
    failed = {"tag": "1.1", "environment": "a/b", "failed": "2026-03-01T11:00:00Z"}
    server.body["status"] = {"history": [failed]}
    at = ClusterDesk(server, namespace="apps", account="")
    standing = await at.find("web")
    unseen = "not looked up among the ClusterQuarantines, which cannot be read: no"
    assert await at.against(standing, "1.0", NOW) == (
        "quarantined by Quarantine apps/bad: crash loop",
        "denied by ada: slow",
        unseen,
    )
    assert await at.against(standing, "0.9", NOW) == ("denied by spec.deny", unseen)
    assert await at.against(standing, "1.1", NOW) == ("known to have failed in a/b at 2026-03-01T11:00:00Z", unseen)
    assert await at.against(standing, "1.2", NOW) == (unseen,)


# ------------------------------------------------------------------------------------------- the state file


async def test_a_policy_of_the_state_file_is_found_by_its_name() -> None:
    with Store.open(None) as store:
        for name in ("apps/web", "apps/api", "other/api"):
            store.save_decision(name, "1.0", None, "the highest", NOW)
        store.note_milestone("apps/web", "a/b", "0.9", None, Stage.HEALTHY, NOW)
        state = StateDesk(store, me="ada@host")
        found = await state.find("web")
        assert (found.policy, found.tag, found.reason) == ("apps/web", "1.0", "the highest")
        assert found.good == Proven(tag="0.9", at=NOW, environment="a/b")
        assert found.approvals is None
        assert (await state.find("other/api")).policy == "other/api"
        assert (await StateDesk(store, me="", namespace="apps").find("api")).policy == "apps/api"
        with pytest.raises(SpecError, match="several namespaces have a policy api") as caught:
            await state.find("api")
        assert caught.value.remedy == "name one of apps/api, other/api"
        with pytest.raises(SpecError, match="there is no policy wbe") as caught:
            await state.find("wbe")
        assert caught.value.remedy == "did you mean 'web'?"
        after = await state.ask("apps/web", RollbackWish(at=NOW, to="0.9"), NOW)
        assert after.wishes.rollback == RollbackWish(at=NOW, to="0.9")
        assert await state.me() == "ada@host"


async def test_an_empty_state_file_says_what_is_expected(tmp_path: Path) -> None:
    with (
        Store.open(tmp_path / "state.sqlite") as store,
        pytest.raises(SpecError, match="no policy is known in") as caught,
    ):
        await StateDesk(store, me="").find("web")
    assert "`run`" in (caught.value.remedy or "")


# ------------------------------------------------------------------------------------------- the ear of `run`


class Heard:
    """The situations, as far as wishes go to them."""

    def __init__(self) -> None:
        self.wishes: dict[str, Wishes] = {}
        self.times = 0

    def wished(self, policy: str, wishes: Wishes) -> None:
        self.times += self.wishes.get(policy, Wishes()) != wishes
        self.wishes[policy] = wishes


def test_what_was_asked_is_heard_once_and_again_where_it_was_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    heard: Any = Heard()
    with Store.open(file) as run, Store.open(file) as command:
        command.save_wish("apps/web", HoldWish(reason="x"), NOW)
        ear = Listening(run, heard)
        assert ear.look()
        assert heard.wishes["apps/web"].hold == HoldWish(reason="x")
        assert not ear.look()
        assert heard.times == 1
        heard.wishes.clear()  # the policy went, and came back
        assert not ear.look()
        assert heard.wishes["apps/web"].hold == HoldWish(reason="x")
        command.save_wish("apps/web", ResumeWish(at=NOW), NOW)
        assert ear.look()
        assert heard.wishes["apps/web"] == Wishes(resumed=NOW)


def test_wishes_that_a_new_file_does_not_have_are_over(tmp_path: Path) -> None:
    heard: Any = Heard()
    with Store.open(tmp_path / "a.sqlite") as old, Store.open(tmp_path / "b.sqlite") as new:
        old.save_wish("apps/web", HoldWish(reason="x"), NOW)
        ear = Listening(old, heard)
        ear.look()
        ear._store = new
        ear.look()
        assert heard.wishes == {"apps/web": Wishes()}


async def test_a_file_that_fails_is_told_once_and_looked_at_again(caplog: pytest.LogCaptureFixture) -> None:
    heard: Any = Heard()
    told = 0
    turns: asyncio.Queue[str] = asyncio.Queue()

    def tell() -> None:
        nonlocal told
        told += 1

    with Store.open(None) as store:
        ear = Listening(store, heard, heard=tell)
        ear.look()
        working = store.wishes_version

        def failing() -> int:
            raise StateFailed("the file is locked")

        async def sleep(seconds: float) -> None:
            turn = await turns.get()
            store.wishes_version = failing if turn == "fail" else working  # type: ignore[method-assign]
            if turn == "ask":
                store.save_wish("apps/web", HoldWish(reason="x"), NOW)
            turns.task_done()

        running = asyncio.create_task(ear.run(sleep))
        for turn in ("quiet", "fail", "fail", "ask", "quiet"):
            turns.put_nowait(turn)
        await turns.join()
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert told == 1
    assert heard.wishes["apps/web"].hold == HoldWish(reason="x")
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "what people ask through the state file cannot be read: the file is locked"
    ]


def test_a_resume_ends_a_hold_that_began_by_a_clock_ahead_of_ours() -> None:
    def resumes(**status: object) -> datetime:
        body = {"metadata": {"namespace": "apps", "name": "web"}, "spec": {}, "status": status}
        return standing_of(body).resumes(NOW)

    def at(minutes: int) -> str:
        return (NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")

    assert resumes() == NOW
    assert resumes(hold={"reason": "x", "since": at(-5)}) == NOW
    assert resumes(hold={"reason": "x"}) == NOW
    assert resumes(hold={"reason": "x", "since": at(5)}) >= NOW + timedelta(minutes=5)
    later = resumes(hold={"reason": "x", "since": at(5)}, breaker={"reason": "y", "since": at(9)})
    assert NOW + timedelta(minutes=9) <= later <= NOW + timedelta(minutes=10)
    assert resumes(hold={"reason": "x", "since": at(24 * 60)}) == NOW, "no clock is so far behind"


async def test_an_ear_hears_on_after_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[bool] = []

    def look(self: Listening) -> bool:
        looks.append(True)
        if len(looks) < 3:
            raise KeyError("nobody has thought of it")
        return False

    async def sleep(_: float) -> None:
        if len(looks) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(Listening, "look", look)
    heard: Any = Heard()
    with Store.open(tmp_path / "state.sqlite") as store, pytest.raises(asyncio.CancelledError):
        await Listening(store, heard).run(sleep)
    assert caplog.text.count("unexpected fault") == 1
