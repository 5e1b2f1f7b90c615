"""Names as the API server takes them."""

from __future__ import annotations

import pytest

from image_updater.api.fields import check_label_key, check_name, check_namespace


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
