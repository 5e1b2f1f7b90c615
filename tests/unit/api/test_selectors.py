from __future__ import annotations

import pytest

from image_updater.api.selectors import parse_selector
from image_updater.errors import SpecError


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("  ", {"a": "1"}, True),
        ("shard=a", {"shard": "a"}, True),
        ("shard==a", {"shard": "b"}, False),
        ("shard = a", {"shard": "a"}, True),
        ("shard!=a", {"shard": "b"}, True),
        ("shard!=a", {}, True),
        ("shard!=a", {"shard": "a"}, False),
        ("shard=", {"shard": ""}, True),
        ("shard=", {}, False),
        ("tier in (web, api)", {"tier": "api"}, True),
        ("tier in (web,api)", {}, False),
        ("tier notin (db)", {}, True),
        ("tier notin(db)", {"tier": "db"}, False),
        ("team", {"team": ""}, True),
        ("!team", {"team": "x"}, False),
        ("! team", {}, True),
        ("acme.dev/team in (a, b),shard!=c,!old", {"acme.dev/team": "b"}, True),
        ("acme.dev/team in (a, b),shard!=c,!old", {"acme.dev/team": "b", "shard": "c"}, False),
    ],
)
def test_a_selector_means_what_kubectl_says(text: str, labels: dict[str, str], matches: bool) -> None:
    assert parse_selector(text).matches(labels) is matches


@pytest.mark.parametrize("text", ["a b", "=a", "a=b=c", "a in b", "a in (b", "a=b c", "a,,b", "a,", "a=-", "a>1"])
def test_what_is_no_selector_says_what_one_is(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_selector(text)
    assert caught.value.where.field == "--selector"
    assert "shard=a" in (caught.value.remedy or "")
