"""Names as the API server takes them."""

from __future__ import annotations

import re

import pytest

from image_updater.api.fields import check_label_key, check_name, check_namespace
from image_updater.api.schema import PATTERNS


@pytest.mark.parametrize("name", ["a", "web-1", "a.b.c", "a" * 253, "a" * 100 + "." + "b" * 100, "0"])
def test_an_object_may_have_this_name(name: str) -> None:
    assert check_name(name) is None


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a..b", ".a", "a_b", "a" * 254, "a b", "ä"])
def test_no_object_has_this_name(name: str) -> None:
    assert check_name(name) is not None


def test_a_namespace_is_one_label() -> None:
    assert check_namespace("a" * 63) is None
    assert check_namespace("a" * 64) is not None
    assert check_namespace("a.b") is not None


def test_the_prefix_of_a_label_key_is_a_name() -> None:
    assert check_label_key("a" * 100 + ".example/key") is None
    assert check_label_key("Example/key") is not None


@pytest.mark.parametrize("name", ["a", "a" * 100, "a.b", "a_b", "a__b", "a-", "A", "a..b"])
def test_the_server_takes_at_the_door_what_the_parser_takes(name: str) -> None:
    pattern, longest = PATTERNS[check_name]
    assert longest == 253
    assert (re.search(pattern, name) is not None) is (check_name(name) is None)
    key, _ = PATTERNS[check_label_key]
    assert (re.search(key, f"{name}/key") is not None) is (check_label_key(f"{name}/key") is None)
