"""Flagger's webhooks over HTTP: who may ask, what is answered, and that no token is ever written."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from image_updater.errors import SpecError
from image_updater.pipeline.daemon import endpoints
from image_updater.web import flagger
from image_updater.web.flagger import GATES, MAX_BODY, NEWS, Flagger, Tokens

TOKEN = "correct-horse-battery-staple"
OTHER = "another-token-of-some-length"
WEBHOOK: dict[str, Any] = {
    "name": "web",
    "namespace": "apps",
    "phase": "Progressing",
    "checksum": "85d557f47b",
    "metadata": {"team": "a", "token": TOKEN},
}


@dataclass
class Gate:
    """Holds or lets go as it is told."""

    passes: bool = True
    reason: str = "nothing holds it"
    asked: list[tuple[str, str, str, str, dict[str, str]]] = field(default_factory=list)
    news: list[tuple[str, str, str, str]] = field(default_factory=list)
    wait: float = 0.0
    leader: str = ""

    def elsewhere(self) -> str:
        return self.leader

    async def decide(
        self, namespace: str, canary: str, kind: str, checksum: str, metadata: Mapping[str, str]
    ) -> tuple[bool, str]:
        if self.wait:
            await asyncio.Event().wait()
        self.asked.append((namespace, canary, kind, checksum, dict(metadata)))
        return self.passes, self.reason

    async def heard(self, namespace: str, canary: str, kind: str, phase: str) -> None:
        self.news.append((namespace, canary, kind, phase))


class Watched:
    def health(self) -> tuple[bool, Mapping[str, object]]:
        return True, {}

    def ready(self) -> bool:
        return True

    def metrics_text(self) -> bytes:
        return b""


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n{OTHER}\n")
    return file


@asynccontextmanager
async def serving(gate: Gate, tokens: Path) -> AsyncIterator[str]:
    async with endpoints.serve(Watched(), "127.0.0.1:0", Flagger(gate, Tokens(tokens)).routes()) as address:
        yield f"http://{address}"


async def post(url: str, data: bytes | Mapping[str, Any], **options: Any) -> tuple[int, dict[str, Any]]:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    async with aiohttp.ClientSession() as session, session.post(url, data=body, **options) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type == "application/json" else {"text": text}


@pytest.mark.parametrize("kind", GATES)
async def test_a_gate_answers_200_or_403_with_its_reason(tokens: Path, kind: str) -> None:
    gate = Gate()
    async with serving(gate, tokens) as url:
        assert await post(f"{url}/flagger/{kind}", WEBHOOK) == (200, {"reason": "nothing holds it"})
        gate.passes, gate.reason = False, "the windows are closed"
        assert await post(f"{url}/flagger/{kind}", WEBHOOK) == (403, {"reason": "the windows are closed"})
    # The token is not handed on.
    assert gate.asked == [("apps", "web", kind, "85d557f47b", {"team": "a"})] * 2


@pytest.mark.parametrize("kind", NEWS)
async def test_news_are_heard_and_always_answered_200(tokens: Path, kind: str) -> None:
    gate = Gate(passes=False)
    async with serving(gate, tokens) as url:
        status, _ = await post(f"{url}/flagger/{kind}", {**WEBHOOK, "phase": "Failed"})
    assert status == 200
    assert gate.news == [("apps", "web", kind, "Failed")]
    assert gate.asked == []


def _without_token(**more: str) -> dict[str, Any]:
    return {**WEBHOOK, "metadata": {"team": "a", **more}}


@pytest.mark.parametrize(
    ("query", "headers", "metadata", "status"),
    [
        ({}, {}, {"token": TOKEN}, 200),
        ({}, {}, {"token": OTHER}, 200),
        ({"token": TOKEN}, {}, {}, 200),
        ({}, {"Authorization": f"Bearer {TOKEN}"}, {}, 200),
        ({}, {"Authorization": f"bearer  {TOKEN}"}, {}, 200),
        ({"token": "wrong"}, {}, {"token": TOKEN}, 200),
        ({}, {}, {}, 401),
        ({"token": ""}, {}, {"token": ""}, 401),
        ({"token": TOKEN[:-1]}, {}, {}, 401),
        ({"token": TOKEN + "x"}, {}, {}, 401),
        ({"token": TOKEN.upper()}, {}, {}, 401),
        ({"token": f"{TOKEN}\n{OTHER}"}, {}, {}, 401),
        ({}, {"Authorization": f"Basic {TOKEN}"}, {}, 401),
        ({}, {}, {"token": "Ünïcödé-tökén-lông"}, 401),
        ({}, {}, {"token": "\ud800 is half a character"}, 401),
    ],
    ids=[
        "metadata", "second", "query", "header", "header-case", "one-of-two", "none", "empty", "short", "long", "case",
        "both-lines", "basic", "not-ascii", "no-text",
    ],
)  # fmt: skip
async def test_who_shows_no_token_learns_nothing(
    tokens: Path, query: dict[str, str], headers: dict[str, str], metadata: dict[str, str], status: int
) -> None:
    gate = Gate()
    async with serving(gate, tokens) as url:
        got, answer = await post(
            f"{url}/flagger/confirm-rollout", _without_token(**metadata), params=query, headers=headers
        )
    assert got == status
    assert bool(gate.asked) is (status == 200)
    if status == 401:
        assert answer == {"reason": "no token, or a wrong one"}


async def test_without_a_token_file_there_are_no_gates(tokens: Path) -> None:
    async with endpoints.serve(Watched(), "127.0.0.1:0") as address:
        status, _ = await post(f"http://{address}/flagger/confirm-rollout", WEBHOOK)
        assert status == 404


async def test_only_posts_to_known_gates_are_answered(tokens: Path) -> None:
    gate = Gate()
    async with serving(gate, tokens) as url:
        assert (await post(f"{url}/flagger/pre-rollout", WEBHOOK))[0] == 404
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/flagger/confirm-rollout", params={"token": TOKEN}) as answer:
                assert answer.status == 405
            async with session.get(f"{url}/healthz") as answer:
                assert answer.status == 200
    assert gate.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 50_000,
        json.dumps({**WEBHOOK, "name": ""}).encode(),
        json.dumps({**WEBHOOK, "name": None}).encode(),
        json.dumps({**WEBHOOK, "name": "../secrets"}).encode(),
        json.dumps({**WEBHOOK, "namespace": "Apps"}).encode(),
        json.dumps({**WEBHOOK, "namespace": "x" * 300}).encode(),
        json.dumps({**WEBHOOK, "phase": {}}).encode(),
        json.dumps({"metadata": WEBHOOK["metadata"]}).encode(),
    ],
)
async def test_what_is_no_webhook_is_refused(tokens: Path, body: bytes) -> None:
    gate = Gate()
    async with serving(gate, tokens) as url:
        status, _ = await post(f"{url}/flagger/confirm-rollout", body, params={"token": TOKEN})
    assert status == 400
    assert gate.asked == []


async def test_a_large_body_is_not_read(tokens: Path) -> None:
    gate = Gate()
    async with serving(gate, tokens) as url:
        status, _ = await post(f"{url}/flagger/event", b" " * (MAX_BODY + 1), params={"token": TOKEN})
    assert status == 413


async def test_metadata_that_is_no_text_is_left_out(tokens: Path) -> None:
    gate = Gate()
    async with serving(gate, tokens) as url:
        for metadata in (None, [], {"a": 1, "b": "c", "d": {}}):
            body = {**WEBHOOK, "metadata": metadata}
            assert (await post(f"{url}/flagger/rollback", body, params={"token": TOKEN}))[0] == 200
    assert [asked[4] for asked in gate.asked] == [{}, {}, {"b": "c"}]


async def test_a_gate_that_does_not_decide_holds(tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flagger, "MAX_SECONDS", 0.2)
    gate = Gate(wait=1.0)
    async with serving(gate, tokens) as url:
        assert await post(f"{url}/flagger/rollback", WEBHOOK) == (403, {"reason": "there was no decision in time"})


async def test_a_decision_is_logged_once_and_no_token_ever(tokens: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gate = Gate()
    async with serving(gate, tokens) as url:
        for _ in range(3):
            await post(f"{url}/flagger/confirm-rollout", WEBHOOK, params={"token": TOKEN})
        gate.passes, gate.reason = False, "Freeze apps/night stops it"
        await post(f"{url}/flagger/confirm-rollout", WEBHOOK, params={"token": TOKEN})
        await post(f"{url}/flagger/confirm-rollout", WEBHOOK | {"name": ""}, params={"token": TOKEN})
    told = [record.getMessage() for record in caplog.records if record.name == "image_updater.web"]
    assert told == [
        "Canary apps/web: confirm-rollout passes: nothing holds it",
        "Canary apps/web: confirm-rollout holds: Freeze apps/night stops it",
    ]
    assert TOKEN not in caplog.text


# ------------------------------------------------------------------------------------------------ replicas


@pytest.mark.parametrize("kind", [*GATES, *NEWS])
@pytest.mark.parametrize("shown", ["metadata", "query", "header"])
async def test_a_replica_that_waits_hands_on_what_it_is_asked(tokens: Path, kind: str, shown: str) -> None:
    leading, waiting = Gate(passes=kind not in GATES, reason="a Freeze"), Gate()
    body = WEBHOOK if shown == "metadata" else _without_token()
    options = {
        "metadata": {},
        "query": {"params": {"token": TOKEN}},
        "header": {"headers": {"Authorization": f"Bearer {TOKEN}"}},
    }[shown]
    async with serving(leading, tokens) as there, serving(waiting, tokens) as here:
        waiting.leader = there.removeprefix("http://")
        status, answer = await post(f"{here}/flagger/{kind}", body, **options)
    assert (status, answer["reason"]) == ((403, "a Freeze") if kind in GATES else (200, "heard"))
    assert (len(leading.asked) + len(leading.news), waiting.asked, waiting.news) == (1, [], [])


async def test_two_that_take_each_other_for_the_leader_ask_once(tokens: Path) -> None:
    first, second = Gate(), Gate()
    async with serving(first, tokens) as one, serving(second, tokens) as two:
        first.leader, second.leader = two.removeprefix("http://"), one.removeprefix("http://")
        assert (await post(f"{one}/flagger/rollback", WEBHOOK))[0] == 200
    assert (len(first.asked), len(second.asked)) == (0, 1)


async def test_without_a_token_nothing_is_handed_on(tokens: Path) -> None:
    leading, waiting = Gate(), Gate()
    async with serving(leading, tokens) as there, serving(waiting, tokens) as here:
        waiting.leader = there.removeprefix("http://")
        assert (await post(f"{here}/flagger/rollback", _without_token()))[0] == 401
    assert leading.asked == []


@pytest.mark.parametrize(
    "leader", ["127.0.0.1:9", "evil.example.com:80", "10.0.0.1:80/x", "a@127.0.0.1:80", "127.0.0.1", "[::1]:x"]
)
async def test_a_leader_that_is_away_or_none_of_ours_holds(tokens: Path, leader: str) -> None:
    async with serving(Gate(leader=leader), tokens) as url:
        status, answer = await post(f"{url}/flagger/confirm-rollout", WEBHOOK)
    assert (status, answer) == (
        503,
        {"reason": "this replica does not lead, and the one that does cannot be reached"},
    )


@pytest.mark.parametrize("kind", ["no-json", "no-reason", "elsewhere"])
async def test_what_else_answers_there_lets_nothing_go(tokens: Path, kind: str) -> None:
    """A pod that has got the address of one that died."""

    async def answer(_: web.Request) -> web.Response:
        if kind == "elsewhere":
            raise web.HTTPTemporaryRedirect("http://127.0.0.1:9/")
        return web.Response(text="{}" if kind == "no-reason" else "welcome")

    async with (
        endpoints.serve(Watched(), "127.0.0.1:0", [web.post("/flagger/rollback", answer)]) as there,
        serving(Gate(leader=there), tokens) as url,
    ):
        assert (await post(f"{url}/flagger/rollback", WEBHOOK))[0] == 503


# ------------------------------------------------------------------------------------------------ the file


async def test_a_changed_file_counts_at_once_and_one_that_is_gone_closes_the_gates(tokens: Path) -> None:
    gate = Gate()
    async with serving(gate, tokens) as url:
        tokens.write_text(OTHER)
        assert (await post(f"{url}/flagger/rollback", WEBHOOK))[0] == 401
        assert (await post(f"{url}/flagger/rollback", _without_token(token=OTHER)))[0] == 200
        tokens.unlink()
        status, answer = await post(f"{url}/flagger/rollback", WEBHOOK)
        assert (status, answer) == (503, {"reason": "there is no token to compare with"})


@pytest.mark.parametrize(
    "text", ["", " \n\n", "short", f"{TOKEN}\nshort", f"{TOKEN}\n" * 17], ids=["empty", "blank", "short", "one", "many"]
)
def test_a_file_without_good_tokens_is_an_error(tokens: Path, text: str) -> None:
    tokens.write_text(text)
    with pytest.raises(SpecError) as caught:
        Tokens(tokens)
    assert TOKEN not in str(caught.value)
    assert caught.value.where.field == "--flagger-token-file"


def test_sixteen_tokens_of_sixteen_characters_are_good_ones(tokens: Path) -> None:
    tokens.write_text("".join(f"{number:016}\n" for number in range(16)))
    known = Tokens(tokens)
    assert known.admit(["0000000000000015"])
    assert not known.admit(["0000000000000016"])
    tokens.write_text("x" * 15)
    with pytest.raises(SpecError):
        Tokens(tokens)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        Tokens(tmp_path / "none")
