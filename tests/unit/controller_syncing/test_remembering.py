"""What is remembered over restarts."""

from __future__ import annotations

from image_updater.cluster.model import Ref
from image_updater.controller.sync.remembering import Remembering
from image_updater.store import Store
from image_updater.sync.model import Applied

WEB = Ref("apps", "Deployment", "prod", "web")


def test_it_reads_back_what_it_wrote() -> None:
    with Store.open(None) as store:
        remembering = Remembering(store.cache("applied"))
        known = {WEB: Applied(digest="d", uid="u", fields="f")}
        remembering.save("uid", known)
        remembering.flush()
        assert Remembering(store.cache("applied")).load("uid") == known
        assert remembering.load("another") == {}


def test_what_it_cannot_read_is_nothing() -> None:
    with Store.open(None) as store:
        cache = store.cache("applied")
        for number, data in enumerate([b"", b"{", b'[["a"]]', b"7", b"\xff"]):
            cache.put(str(number), data)
            assert Remembering(cache).load(str(number)) == {}


def test_without_a_store_nothing_is_remembered() -> None:
    remembering = Remembering(None)
    remembering.save("uid", {WEB: Applied(digest="d", uid="u", fields="f")})
    assert remembering.load("uid") == {}
