"""What an account may not apply is asked once for a kind and namespace, by name only where that is refused."""

from __future__ import annotations

from typing import Any

from image_updater.cluster.errors import ClusterUnavailable, Forbidden, KindUnknown
from image_updater.cluster.model import Ref, Resource
from image_updater.controller.sync.rights import doubtful, refused
from image_updater.errors import ImageUpdaterError
from image_updater.sync.errors import BeingDeleted, Contested, HeldBack
from image_updater.sync.model import Action, Done


def config(namespace: str, name: str) -> Ref:
    return Ref("", "ConfigMap", namespace, name)


class Account:
    """May do what is in `rights`: (namespace, name), or (namespace, None) for all of them there."""

    def __init__(self, *rights: tuple[str, str | None], error: ImageUpdaterError | None = None) -> None:
        self.rights = rights
        self.error = error
        self.asked: list[tuple[str | None, str | None]] = []

    async def serving(self, group: str, kind: str) -> Resource:
        if kind == "Unknown":
            raise KindUnknown(kind)
        return Resource(group=group, version="v1", kind=kind, plural=f"{kind.lower()}s", namespaced=True)

    async def may(self, verb: str, _: Resource, namespace: str | None, name: str | None) -> bool:
        assert verb == "patch"
        self.asked.append((namespace, name))
        if self.error is not None:
            raise self.error
        return (namespace, name) in self.rights


async def ask(account: Any, *refs: Ref) -> frozenset[Ref]:
    return await refused(account, refs)


async def test_one_question_for_a_kind_and_namespace() -> None:
    account = Account(("q", None), ("p", "mine"))
    refs = [config("q", "a"), config("q", "b"), config("p", "mine"), config("p", "other")]
    assert await ask(account, *refs) == {config("p", "other")}
    assert sorted(account.asked, key=str) == [("p", "mine"), ("p", "other"), ("p", None), ("q", None)]


async def test_in_doubt_it_may() -> None:
    assert await ask(Account(error=ClusterUnavailable("down")), config("p", "a")) == frozenset()
    assert await ask(Account(), Ref("", "Unknown", "p", "a")) == frozenset()


async def test_an_account_that_may_not_be_used_applies_nothing() -> None:
    assert await ask(Account(error=Forbidden("impersonate")), config("p", "a")) == {config("p", "a")}


def test_what_failed_for_another_cause_is_not_asked_about() -> None:
    errors = [Forbidden("no"), Contested("two"), HeldBack("first"), BeingDeleted("goes")]
    done = [Done(ref=config("p", str(i)), action=Action.FAILED, error=error) for i, error in enumerate(errors)]
    assert {ref.name for ref in doubtful(done)} == {"0", "1", "2"}
