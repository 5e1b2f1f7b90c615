"""`spec.verify` end to end: which tag is chosen from a registry with signatures, and what Git's own tag is worth."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from image_updater.api.model import ImagePolicy, Meta, ObjectKey, Secret, SemverPolicy, Verify
from image_updater.embedded import EmbeddedRegistry
from image_updater.pipeline.answers.selection import Selector
from image_updater.registry import RegistryClient
from image_updater.store import Store
from tests.parts import signing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from image_updater.pipeline.answers.outcome import Outcome

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
SECRET = ObjectKey("apps", "keys")
NAME = "apps/web"


@dataclass
class World:
    registry: EmbeddedRegistry
    selector: Selector
    secrets: dict[ObjectKey, Secret]
    policy: ImagePolicy
    now: datetime

    async def sign(self, digest: str, key: signing.PrivateKey = KEY) -> None:
        layer = signing.simple_layer(key, signing.payload(digest))
        tag = signing.tag_of(digest, ".sig")
        await asyncio.to_thread(signing.push, self.registry.url, "acme/web", tag, [layer])

    async def look(self) -> Outcome:
        self.now += timedelta(minutes=5)
        return (await self.selector.refresh([self.policy]))[NAME]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with EmbeddedRegistry() as registry, RegistryClient() as client:
        secrets = {SECRET: Secret(meta=Meta(key=SECRET), data={"cosign.pub": signing.public_pem(KEY)})}
        made: list[World] = []
        with Store.open(tmp_path / "state") as store:
            selector = Selector(
                store=store,
                secrets=secrets.get,
                environment={},
                clock=lambda: made[0].now,
                registry=client,
                durable=True,
            )
            policy = ImagePolicy(
                meta=Meta(key=ObjectKey("apps", "web")),
                image=f"{registry.host}/acme/web",
                strategy=SemverPolicy(range="*"),
                insecure=True,
                verify=Verify(secret_ref="keys"),
            )
            made.append(World(registry, selector, secrets, policy, datetime(2026, 1, 1, tzinfo=UTC)))
            yield made[0]


def chosen(outcome: Outcome) -> str | None:
    return outcome.selection.tag if outcome.selection is not None else None


async def test_the_newest_that_is_signed_wins_and_a_signature_that_comes_late_is_seen(world: World) -> None:
    good = world.registry.push("acme/web", "1.0.0")
    late = world.registry.push("acme/web", "1.1.0")
    await world.sign(good)
    outcome = await world.look()
    assert chosen(outcome) == "1.0.0"
    assert "1.1.0 is not verified yet: not signed (yet)" in outcome.reason
    await world.sign(late)
    assert chosen(await world.look()) == "1.1.0"


async def test_another_key_is_out_and_a_verdict_that_is_good_costs_nothing_more(world: World) -> None:
    good = world.registry.push("acme/web", "1.0.0")
    bad = world.registry.push("acme/web", "1.1.0")
    await world.sign(good)
    await world.sign(bad, OTHER)
    outcome = await world.look()
    assert chosen(outcome) == "1.0.0"
    assert "1.1.0 is not verified: its signature does not count: wrong, or by another key than cosign.pub" in (
        outcome.reason
    )
    blobs = world.registry.requests["GET blobs"]
    assert chosen(await world.look()) == "1.0.0"
    assert world.registry.requests["GET blobs"] == blobs


async def test_other_keys_in_the_secret_judge_anew(world: World) -> None:
    digest = world.registry.push("acme/web", "1.0.0")
    await world.sign(digest)
    assert chosen(await world.look()) == "1.0.0"
    world.secrets[SECRET] = Secret(meta=Meta(key=SECRET), data={"cosign.pub": signing.public_pem(OTHER)})
    assert chosen(await world.look()) is None


async def test_without_its_secret_a_policy_chooses_nothing(world: World) -> None:
    await world.sign(world.registry.push("acme/web", "1.0.0"))
    world.secrets.clear()
    outcome = await world.look()
    assert chosen(outcome) is None
    assert outcome.error is not None
    assert outcome.error.reason == "SecretNotFound"


async def test_a_tag_that_somebody_wrote_by_hand_is_checked_when_asked(world: World) -> None:
    old = world.registry.push("acme/web", "1.0.0")
    new = world.registry.push("acme/web", "1.1.0")
    assert await world.selector.verified(world.policy, "1.0.0", None) is None
    await world.sign(new)
    await world.look()
    found = await world.selector.verified(world.policy, "1.0.0", None)
    assert found is not None
    assert (found.ok, found.reason) == (False, "not signed (yet)")
    by_digest = await world.selector.verified(world.policy, "1.0.0", new)
    assert by_digest is not None
    assert by_digest.ok
    await world.sign(old)
    await world.look()
    found = await world.selector.verified(world.policy, "1.0.0", None)
    assert found is not None
    assert found.ok
    assert await world.selector.verified(world.policy, "9.9.9", None) is None
