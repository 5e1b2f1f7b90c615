"""What a process keeps in memory is of the policies that there are: previews come and go, each with its login."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING

from image_updater.api.model import ImagePolicy, Meta, ObjectKey, Secret, SemverPolicy
from image_updater.pipeline.answers.selection import Selector
from image_updater.pipeline.daemon.following import Following
from image_updater.pipeline.daemon.scheduler import Schedule
from image_updater.store import Store
from tests.unit.pipeline_selection.fakes import IMAGE, Clock, FakeRegistry, newest, policy

if TYPE_CHECKING:
    import pytest


class World:
    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.registry.push("1.0.0", created=Clock().now)
        self.users: dict[str, str] = {}
        clock = Clock()
        self.selector = Selector(
            store=Store.open(None),
            secrets=self.secret,
            environment={},
            clock=clock,
            registry=self.registry,  # type: ignore[arg-type]
        )
        polls = Schedule[tuple[str, str]](random.Random(1).random)
        self.following = Following(self.selector, polls, clock=clock, monotonic=lambda: 0.0)

    def secret(self, key: ObjectKey) -> Secret:
        login = base64.b64encode(f"{self.users.get(key.name, 'robot')}:word".encode()).decode()
        config = {"auths": {IMAGE.partition("/")[0]: {"auth": login}}}
        return Secret(meta=Meta(key=key), data={".dockerconfigjson": json.dumps(config).encode()})

    async def follow(self, *policies: ImagePolicy) -> None:
        await self.following.follow(policies)
        await self.selector.refresh(policies)

    def kept(self) -> tuple[int, int]:
        """Lists, and books of facts."""
        return len(self.selector._listings._known), len(self.selector._book._known)


async def test_lists_and_facts_go_with_the_last_policy_that_asks_as_their_source() -> None:
    world = World()
    await world.follow(*(newest(name=f"p{n}", secret_ref=f"login-{n}") for n in range(5)))
    await world.follow(newest(name="same", secret_ref="login-0"))
    assert world.kept() == (5, 5)
    world.following.drop([f"default/p{n}" for n in range(5)])
    assert world.kept() == (1, 1)
    world.following.drop(["default/same"])
    assert world.kept() == (0, 0)


async def test_another_login_leaves_nothing_of_the_one_before() -> None:
    world = World()
    ours = newest(secret_ref="login")
    await world.follow(ours)
    world.users["login"] = "somebody-else"
    await world.following.renew([ours])
    await world.selector.refresh([ours])
    assert world.kept() == (1, 1)


async def test_a_fault_with_one_policy_keeps_no_other_from_being_followed(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.users["odd"] = "\ud800"  # nobody's JSON holds that
    restored = await world.following.follow([newest(name="odd", secret_ref="odd"), newest(secret_ref="login")])
    assert restored["default/odd"].reason.startswith("unexpected fault: UnicodeEncodeError")
    assert list(world.following.names) == ["default/odd", "default/web"]
    assert "surrogates not allowed" in caplog.text


async def test_what_is_only_edited_keeps_its_list() -> None:
    world = World()
    await world.follow(policy(secret_ref="login"))
    edited = policy(SemverPolicy(range="^1"), secret_ref="login")
    await world.following.follow([edited])
    await world.selector.select([edited])
    assert world.registry.calls["tags"] == 1
