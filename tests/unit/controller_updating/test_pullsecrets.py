"""Whose logins a policy may use: its service account's, its workload's, and never those of who did not let it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import ObjectKey
from image_updater.controller import secrets
from image_updater.controller.update import pullsecrets
from image_updater.registry.errors import AuthenticationFailed
from tests.unit.controller_updating.fakes import Half, Line, automation, docker_config, policy, repository
from tests.unit.pipeline_selection.fakes import IMAGE, FakeRegistry
from tests.unit.pipeline_selection.fakes import policy as model_policy

if TYPE_CHECKING:
    from pathlib import Path

    from image_updater.images import ImageName
    from image_updater.registry import Access, TagList


class Guarded(FakeRegistry):
    """Only who logs in as `user` with `password` is answered; remembers who asked."""

    def __init__(self, *tags: str, password: str = "p") -> None:
        super().__init__(*tags)
        self.password = password
        self.asked: list[str | None] = []

    async def tags(
        self, image: ImageName, access: Access, *, previous: TagList | None = None, fresh: bool = False
    ) -> TagList:
        entry = access.config.find(image.registry, image.repository)
        self.asked.append(entry[1].password if entry else None)
        if entry is None or entry[1].password != self.password:
            raise AuthenticationFailed("the registry says no", remedy="log in")
        return await super().tags(image, access, previous=previous, fresh=fresh)


def account(*names: str) -> dict[str, Any]:
    return {"imagePullSecrets": [{"name": name} for name in names]}


@pytest.mark.parametrize(
    ("spec", "accounts", "asked"),
    [
        ({}, {}, None),
        ({}, {"default": account("plain")}, "p"),
        ({"serviceAccountName": "puller"}, {"puller": account("plain"), "default": account("other")}, "p"),
        ({}, {"default": account("other", "plain")}, "q"),
        ({}, {"default": account("other", "close")}, "p"),
        ({}, {"default": account("gone", "broken", "plain")}, "p"),
        ({"secretRef": {"name": "plain"}}, {"default": account("other")}, "p"),
        ({}, {"default": account("elsewhere")}, None),
    ],
    ids=[
        "nobody",
        "the default account's",
        "the named account's",
        "the first of equals",
        "the closest fit before the first",
        "what is missing or broken is passed over",
        "secretRef alone",
        "another registry's",
    ],
)
async def test_a_policy_asks_as_its_namespace_would(
    tmp_path: Path, spec: dict[str, Any], accounts: dict[str, Any], asked: str | None
) -> None:
    registry = Guarded("1.0.0")
    half = Half(tmp_path, registry, Line())
    half.cluster.put("Secret", "plain", docker_config("registry.test"))
    half.cluster.put("Secret", "other", docker_config("registry.test", password="q"))
    half.cluster.put("Secret", "close", docker_config("registry.test/acme"))
    half.cluster.put("Secret", "elsewhere", docker_config("registry.example"))
    half.cluster.put("Secret", "broken", {"data": {"username": "dQ==", "password": "cA=="}})
    for name, body in accounts.items():
        half.cluster.put("ServiceAccount", name, body)
    half.put(policy(**spec), repository(), automation())
    async with half.running():
        wanted = ("True", "Succeeded") if asked == "p" else ("False", "AuthenticationFailed")
        await half.until(lambda: half.ready("ImagePolicy", "web") == wanted)
    assert registry.asked[0] == asked


async def test_why_a_login_is_not_used_stands_beside_the_refusal(tmp_path: Path) -> None:
    half = Half(tmp_path, Guarded("1.0.0"), Line())
    half.cluster.put("ServiceAccount", "default", account("gone"))
    half.put(policy(), policy("named", serviceAccountName="nobody"))
    async with half.running():
        await half.until(lambda: half.ready("ImagePolicy", "web")[0] and half.ready("ImagePolicy", "named")[0])
        (_, *_), message = half.ready("ImagePolicy", "web"), half.written("ImagePolicy", "web")["conditions"][0]
        assert "pull secret apps/gone is not used: there is no Secret apps/gone" in message["message"]
        message = half.written("ImagePolicy", "named")["conditions"][0]
        assert "there is no ServiceAccount apps/nobody" in message["message"]


async def test_a_rotated_login_is_read_and_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pullsecrets, "RENEWED", 0.0)
    registry = Guarded("1.0.0")
    half = Half(tmp_path, registry, Line())
    half.cluster.put("ServiceAccount", "default", account("login"))
    half.cluster.put("Secret", "login", docker_config("registry.test"))
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImagePolicy", "web")[0] == "True")
        half.cluster.put("Secret", "login", docker_config("registry.test", password="new"))
        registry.password = "new"
        registry.push("1.1.0")
        half.updating.hint(IMAGE)
        await half.until(lambda: half.written("ImagePolicy", "web")["latest"]["tag"] == "1.1.0")
        assert "False" not in {
            each["status"]
            for kind, _, status in half.cluster.statuses
            if kind == "ImagePolicy"
            for each in status["conditions"]
        }, "nobody has seen it fail"


async def test_an_account_that_gets_a_pull_secret_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pullsecrets, "FRESH", 0.02)
    half = Half(tmp_path, Guarded("1.0.0"), Line())
    half.cluster.put("ServiceAccount", "default", account())
    half.cluster.put("Secret", "login", docker_config("registry.test"))
    half.put(policy(), repository(), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImagePolicy", "web") == ("False", "AuthenticationFailed"))
        half.cluster.put("ServiceAccount", "default", account("login"))
        await half.until(lambda: half.ready("ImagePolicy", "web") == ("True", "Succeeded"))
        await half.until(lambda: half.line.written == {"apps/web": "1.0.0"})


async def test_a_thousand_policies_of_one_account_read_it_once(tmp_path: Path) -> None:
    half = Half(tmp_path, Guarded("1.0.0"), Line())
    half.cluster.put("ServiceAccount", "default", account("login"))
    half.cluster.put("Secret", "login", docker_config("registry.test"))
    half.put(*(policy(f"p-{number}", f"registry.test/acme/i-{number}") for number in range(100)))
    async with half.running():
        await half.until(half.updating.decided)
        assert half.cluster.reads["ServiceAccount", "default"] == 1
        assert half.cluster.reads["Secret", "login"] == 1


def annotated(namespace: str, *pull: str) -> dict[str, Any]:
    name = f"annotation:{IMAGE}:semver *"
    keys = tuple(ObjectKey(namespace, each) for each in pull)
    return {name: model_policy(name=name, pull_secrets=keys, pull_accounts=(ObjectKey(namespace, "default"),))}


@pytest.mark.parametrize(
    ("namespace", "allowed", "pull", "through", "reviews"),
    [
        ("apps", False, ("login",), True, 0),
        ("apps", False, (), True, 0),
        ("prod", True, ("login",), True, 1),
        ("prod", False, ("login",), False, 1),
        ("prod", False, (), False, 1),
    ],
    ids=[
        "the automation's own namespace",
        "by the workload's account",
        "another one, and the automation's account may",
        "another one, and it may not",
        "by an account there, and it may not",
    ],
)
async def test_a_workload_lends_its_login_where_it_may_be_read(
    tmp_path: Path, namespace: str, allowed: bool, pull: tuple[str, ...], through: bool, reviews: int
) -> None:
    registry = Guarded("1.0.0")
    half = Half(tmp_path, registry, Line())
    half.cluster.put("Secret", "login", docker_config("registry.test"), namespace)
    half.cluster.put("ServiceAccount", "default", account("login"), namespace)
    user = "system:serviceaccount:apps:default"
    if not allowed:
        half.cluster.denied.add((user, "prod", "login"))
    half.line.implicit = annotated(namespace, *pull)
    half.put(repository(), automation())
    async with half.running():
        await half.until(lambda: half.written("ImageUpdateAutomation", "fleet").get("policies"))
        (found,) = half.written("ImageUpdateAutomation", "fleet")["policies"]
        assert len(half.cluster.reviews) == reviews
        if through:
            assert found["tag"] == "1.0.0"
        else:
            assert registry.asked == [None], "anonymous"
            assert "tag" not in found
            assert f"pull secret prod/login is not used: {user} may not get it" in found["reason"]
            half.cluster.denied.clear()
            half.updating.hint(IMAGE)
            await half.calm()
            half.updating.moved(ObjectKey("apps", "fleet"))
            await half.until(lambda: half.written("ImageUpdateAutomation", "fleet")["policies"][0].get("tag"))


async def test_secrets_that_nobody_names_any_more_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "FRESH", 0.02)
    half = Half(tmp_path, Guarded("1.0.0"), Line())
    half.cluster.put("Secret", "login", docker_config("registry.test"))
    half.put(policy(secretRef={"name": "login"}), repository(secretRef={"name": "login"}), automation())
    async with half.running():
        await half.until(lambda: half.ready("ImagePolicy", "web")[0] == "True")
        assert half.context.secrets.wanted == {ObjectKey("apps", "login")}
        half.cache.forget("ImagePolicy", ObjectKey("apps", "web"))
        await half.calm()
        assert half.context.secrets.wanted
        half.cache.forget("ImageUpdateAutomation", ObjectKey("apps", "fleet"))
        await asyncio.sleep(0.2)
        assert not half.context.secrets.wanted
