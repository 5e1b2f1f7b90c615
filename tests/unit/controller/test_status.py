"""One write for each decision, none when nothing changed, Events on transitions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from image_updater.cluster.errors import ClusterUnavailable
from image_updater.controller.cache import Cache, Entry
from image_updater.controller.status import Decision, Happening, Ready, StatusWriter, document
from image_updater.errors import RegistryError, SecretNotFound, SpecError, Waiting, Where
from tests.unit.controller.test_cache import WEB, body

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
GOOD = Ready(state=True, reason="Succeeded", message="1.2.3 is the newest")


class Server:
    """Keeps what is applied; fails as often as it is told."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.bodies: list[dict[str, Any]] = []
        self.failures = 0

    async def apply(self, _: object, document: dict[str, Any], **__: Any) -> dict[str, Any]:
        if self.failures:
            self.failures -= 1
            raise ClusterUnavailable("down")
        self.bodies.append(document)
        return document


class Events:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []

    def event(self, *, about: object, type: str, reason: str, message: str, action: str = "") -> None:  # noqa: A002
        self.sent.append((type, reason, message))


def make() -> tuple[StatusWriter, Server, Events, Entry]:
    cache = Cache()
    entry = cache.observe("ImagePolicy", body())
    assert entry is not None
    server, events = Server(cache), Events()
    writer = StatusWriter(server, cache, events, clock=lambda: NOW)  # type: ignore[arg-type]
    return writer, server, events, entry


async def test_a_decision_is_written_once() -> None:
    writer, server, events, entry = make()
    for _ in range(3):
        writer.write(entry, Decision(ready=GOOD, fields={"tagCount": 3}))
        await writer.settle()
    assert len(server.bodies) == 1
    status = server.bodies[0]["status"]
    assert status["tagCount"] == 3
    assert status["observedGeneration"] == 1
    assert [(each["type"], each["status"], each["reason"]) for each in status["conditions"]] == [
        ("Ready", "True", "Succeeded")
    ]
    assert events.sent == [("Normal", "Succeeded", "1.2.3 is the newest")]


async def test_decisions_that_come_together_are_one_write_and_tell_all_that_happened() -> None:
    writer, server, events, entry = make()
    for number in range(5):
        happened = (Happening(reason="Committed", message=f"commit {number}"),)
        writer.write(entry, Decision(ready=GOOD, fields={"tagCount": number}, happened=happened))
    await writer.settle()
    assert [each["status"]["tagCount"] for each in server.bodies] == [4]
    assert [message for _, reason, message in events.sent if reason == "Committed"] == [f"commit {n}" for n in range(5)]


async def test_a_failed_write_is_tried_again(monkeypatch: Any) -> None:
    monkeypatch.setattr("image_updater.controller.status.RETRIES", (0.0,))
    writer, server, events, entry = make()
    server.failures = 3
    writer.write(entry, Decision(ready=GOOD))
    while writer.failures < 2:
        await asyncio.sleep(0)
    assert list(writer.failing) == [("ImagePolicy", WEB)]
    await writer.settle()
    assert (writer.failures, writer.failing) == (3, {})
    assert len(server.bodies) == 1
    assert len(events.sent) == 1


async def test_an_object_that_is_gone_or_replaced_is_not_written() -> None:
    writer, server, events, entry = make()
    server.cache.observe("ImagePolicy", body(uid="another"))
    writer.write(entry, Decision(ready=GOOD))
    await writer.settle()
    assert server.bodies == []
    assert events.sent == []


async def test_objects_that_are_gone_are_forgotten(monkeypatch: Any) -> None:
    monkeypatch.setattr("image_updater.controller.status.TIDY", 10)
    writer, server, _, _ = make()
    for number in range(100):
        entry = server.cache.observe("ImagePolicy", body(name=f"p{number}", uid=f"u{number}"))
        assert entry is not None
        writer.write(entry, Decision(ready=GOOD))
        await writer.settle()
        if number != 50:
            server.cache.forget("ImagePolicy", entry.key)
    kept = {key.name for _, key in writer._written}
    assert "p50" in kept
    assert len(kept) < 12
    assert len(writer._locks) == len(kept)


async def test_a_changed_message_is_written_and_is_no_transition() -> None:
    writer, server, events, entry = make()
    writer.write(entry, Decision(ready=GOOD))
    await writer.settle()
    writer.write(entry, Decision(ready=Ready(state=True, reason="Succeeded", message="1.2.4 is the newest")))
    await writer.settle()
    assert len(server.bodies) == 2
    assert len(events.sent) == 1


def test_terminal_errors_stall_and_transient_ones_are_tried_again() -> None:
    stalled = Ready.of(SpecError("bad"))
    assert (stalled.state, stalled.stalled, stalled.reconciling, stalled.reason) == (False, True, False, "InvalidSpec")
    again = Ready.of(RegistryError("429"))
    assert (again.state, again.stalled, again.reconciling) == (False, False, True)


def test_times_of_conditions_move_with_their_status_only() -> None:
    first = document({}, Decision(ready=GOOD), generation=1, now=NOW)
    later = datetime(2026, 11, 25, 13, 0, tzinfo=UTC)
    same = document(first, Decision(ready=GOOD), generation=1, now=later)
    assert same == first
    failed = document(first, Decision(ready=Ready.of(RegistryError("429"))), generation=1, now=later)
    assert {each["type"]: each["lastTransitionTime"] for each in failed["conditions"]} == {
        "Ready": "2026-11-25T13:00:00Z",
        "Reconciling": "2026-11-25T13:00:00Z",
    }


def test_the_request_that_was_handled_last_stays() -> None:
    first = document({}, Decision(ready=GOOD, handled="one"), generation=1, now=NOW)
    assert first["lastHandledReconcileAt"] == "one"
    assert document(first, Decision(ready=GOOD), generation=1, now=NOW)["lastHandledReconcileAt"] == "one"


async def test_what_is_saved_is_on_the_server_and_nothing_older_comes_after_it(monkeypatch: Any) -> None:
    monkeypatch.setattr("image_updater.controller.status.RETRIES", (0.0,))
    writer, server, _, entry = make()
    writer.write(entry, Decision(ready=GOOD, fields={"tagCount": 1}))
    await writer.save(entry, Decision(ready=GOOD, fields={"tagCount": 2}))
    assert server.bodies[-1]["status"]["tagCount"] == 2
    await writer.settle()
    assert server.bodies[-1]["status"]["tagCount"] == 2


async def test_what_cannot_be_saved_is_raised() -> None:
    writer, server, _, entry = make()
    server.failures = 1
    with pytest.raises(ClusterUnavailable):
        await writer.save(entry, Decision(ready=GOOD))
    server.cache.observe("ImagePolicy", body(uid="another"))
    with pytest.raises(Waiting):
        await writer.save(entry, Decision(ready=GOOD))


async def test_who_waits_is_not_ready_and_warns_nobody() -> None:
    writer, _, events, entry = make()
    writer.write(entry, Decision(ready=Ready.of(Waiting("for another one"))))
    await writer.settle()
    assert events.sent == [("Normal", "Waiting", "for another one")]


@pytest.mark.parametrize(
    ("error", "reconciling", "stalled"),
    [(SpecError("wrong"), False, True), (SecretNotFound("there is no Secret a/b"), True, False)],
    ids=["wrong", "may-come"],
)
def test_a_secret_that_is_missing_is_no_stall(error: SpecError, reconciling: bool, stalled: bool) -> None:
    ready = Ready.of(error)
    assert (ready.state, ready.reason) == (False, type(error).reason)
    assert (ready.reconciling, ready.stalled) == (reconciling, stalled)


async def test_an_object_is_not_named_in_its_own_status() -> None:
    writer, server, events, entry = make()
    wrong = SpecError("is required", where=Where(object=f"{entry.kind} {entry.key}", field="spec.image"))
    writer.write(entry, Decision(ready=Ready.of(wrong)))
    await writer.settle()
    assert {each["message"] for each in server.bodies[0]["status"]["conditions"]} == {"spec.image: is required"}
    assert [message for _, _, message in events.sent] == ["spec.image: is required"]


OWN = frozenset({"tagCount", "latest"})


async def test_a_part_of_a_status_moves_alone() -> None:
    writer, server, events, entry = make()
    assert not await writer.amend(entry, {"tagCount": 1}, OWN)
    assert server.bodies == [], "nothing was decided of it yet"
    writer.write(entry, Decision(ready=GOOD, fields={"tagCount": 3, "latest": {"image": "a", "tag": "1"}}))
    await writer.settle()
    first = server.bodies[-1]["status"]
    assert await writer.amend(entry, {"tagCount": 4}, OWN)
    await writer.settle()
    assert server.bodies[-1]["status"] == {**first, "tagCount": 4}
    assert await writer.amend(entry, {"tagCount": None}, OWN)
    await writer.settle()
    assert "tagCount" not in server.bodies[-1]["status"]
    assert await writer.amend(entry, {"tagCount": None}, OWN)
    await writer.settle()
    assert len(server.bodies) == 3, "what is so already is not written"
    assert len(events.sent) == 1


async def test_what_moves_while_a_decision_waits_or_is_written_joins_it() -> None:
    writer, server, events, entry = make()
    bad = Ready(state=False, reason="Failed", message="no", reconciling=True)
    writer.write(entry, Decision(ready=GOOD, fields={"tagCount": 1}))
    await writer.settle()
    writer.write(entry, Decision(ready=bad, fields={"tagCount": 2}))
    assert await writer.amend(entry, {"latest": {"image": "a", "tag": "1"}}, OWN)  # the write has begun, or waits
    await writer.settle()
    status = server.bodies[-1]["status"]
    assert (status["tagCount"], status["latest"]["tag"]) == (2, "1")
    assert [each["status"] for each in status["conditions"] if each["type"] == "Ready"] == ["False"]
    assert [reason for _, reason, _ in events.sent] == ["Succeeded", "Failed"]
