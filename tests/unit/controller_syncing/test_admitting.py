"""What keeps a Kustomization from being applied, in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from image_updater.api.model import ObjectKey
from image_updater.controller.sync.admitting import Admitting, SourceNotReady
from image_updater.errors import SecretNotFound, Where

FLEET = ObjectKey("apps", "fleet")
MISSING = SecretNotFound(
    "there is no Secret apps/git", where=Where(object="GitRepository apps/fleet", field="spec.secretRef")
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "GitRepository apps/fleet is not fetched yet"),
        (MISSING, "GitRepository apps/fleet: spec.secretRef: there is no Secret apps/git"),
        ("git.test: no connection", "GitRepository apps/fleet: git.test: no connection"),
    ],
    ids=["not yet", "an error that names it", "one that does not"],
)
def test_a_source_without_a_revision_is_named_once(error: object, said: str) -> None:
    context: Any = SimpleNamespace(
        settings=SimpleNamespace(allow_cross_namespace_refs=False), cache=SimpleNamespace(get=lambda *_: object())
    )
    sources: Any = SimpleNamespace(error=lambda _: error)
    state: Any = SimpleNamespace(key=ObjectKey("apps", "shop"), plan=None, revision=None)
    kustomization: Any = SimpleNamespace(source_ref=FLEET, depends_on=())
    with pytest.raises(SourceNotReady) as caught:
        Admitting(context, sources, states={}, cycles=dict).check(state, kustomization)
    assert str(caught.value) == said
