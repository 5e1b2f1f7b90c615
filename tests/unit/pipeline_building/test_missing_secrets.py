"""A Secret that is not there may come: it is called so, and looked for again."""

from __future__ import annotations

import pytest

from image_updater.api.model import Commit, ImageUpdateAutomation, Meta, ObjectKey
from image_updater.errors import SecretNotFound
from image_updater.pipeline.commits import signer_for


def test_a_signing_key_that_is_not_there_is_waited_for() -> None:
    key = ObjectKey("apps", "web")
    automation = ImageUpdateAutomation(meta=Meta(key=key), source_ref=key, commit=Commit(signing_key="gone"))
    with pytest.raises(SecretNotFound, match="there is no Secret apps/gone"):
        signer_for(automation, lambda _: None)
