"""Two policies that fight over one value, told by the trailers of the commits that they made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from image_updater.api.model import Author
from image_updater.git import CommitInfo
from image_updater.pipeline.people.contested import _fight, steps

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = "apps/web.yaml"


def commit(number: int, policy: str, old: str, new: str, *, image: str = "ghcr.io/acme/web") -> CommitInfo:
    message = (
        f"Update {image} to {new}\n\n{FILE}:3 image: {old} -> {new}\n\n"
        f"Image-Policy: {policy}\nImage: {image}\nOld: {old}\nNew: {new}\n"
        f"Source-Revision: main@sha1:1\nAutomation: apps/all\nProof: rendered\n"
    )
    return person(number, message)


def person(number: int, message: str = "Set it by hand") -> CommitInfo:
    return CommitInfo(
        id=f"{number:040x}",
        tree="t",
        parents=(),
        message=message,
        author=Author(),
        when=datetime(2026, 11, 25, tzinfo=UTC),
    )


def fight(history: Sequence[CommitInfo], *, touched: bool = True, image: str = "ghcr.io/acme/web") -> str | None:
    """Policy apps/ours wants `a` where Git holds `b`."""
    return _fight(steps(history), "apps/ours", image, {"a"}, {"b"}, lambda _: touched)


@pytest.mark.parametrize(
    ("history", "trips"),
    [
        ([], False),
        ([person(1)], False),
        # Another policy has just displaced what we want.
        ([commit(2, "apps/other", "a", "b")], True),
        ([commit(3, "apps/other", "a", "b"), commit(2, "apps/ours", "b", "a")], True),
        # A newer value of somebody is no fight.
        ([commit(2, "apps/other", "x", "b")], False),
        ([commit(2, "apps/other", "a", "c")], False),
        # Ours alone: once there and back is a tag that went and came; twice is two readings of one policy.
        ([commit(2, "apps/ours", "a", "b")], False),
        ([commit(3, "apps/ours", "a", "b"), commit(2, "apps/ours", "b", "a")], True),
        # A person's commit between the two changes nothing of that.
        ([person(4), commit(3, "apps/other", "a", "b")], True),
    ],
)
def test_what_is_a_fight(history: list[CommitInfo], trips: bool) -> None:
    assert (fight(history) is not None) is trips


def test_what_a_rollback_took_back_may_come_again() -> None:
    up = commit(2, "apps/ours", "b", "a")
    back = commit(3, "apps/ours", "a", "b")
    rollback = person(3, back.message + "Rollback: asked for by ada\n")
    assert fight([back, up]) is not None
    assert fight([rollback, up]) is None
    # Another policy's rollback is as good as its update: one of the two must not claim the line.
    other = commit(3, "apps/other", "a", "b")
    assert fight([person(3, other.message + "Rollback: it crashed\n"), up]) is not None


def test_the_reason_names_the_other_one_and_what_to_do() -> None:
    reason = fight([commit(2, "apps/other", "a", "b")])
    assert reason is not None
    for word in ("apps/other", "apps/all", "a by b", "000000000000", "let only one policy claim it"):
        assert word in reason


def test_a_commit_that_left_this_file_alone_is_about_another_environment() -> None:
    assert fight([commit(2, "apps/other", "a", "b")], touched=False) is None


def test_images_are_compared_as_images() -> None:
    assert fight([commit(2, "apps/other", "a", "b", image="docker.io/library/nginx")], image="nginx") is not None
    assert fight([commit(2, "apps/other", "a", "b", image="ghcr.io/acme/api")]) is None


def test_one_commit_may_carry_many_moves() -> None:
    message = (
        "Update 2 images\n\nImage-Policy: p/one\nImage: x/one\nOld: 1\nOld: 2\nNew: 3\nDigest: sha256:d\n"
        "Image-Policy: p/two\nImage: x/two\nNew: 4\nAutomation: p/all\nProof: parsed\n"
    )
    found = steps([person(1, message)])
    assert [(step.policy, step.image, sorted(step.old), sorted(step.new)) for step in found] == [
        ("p/one", "x/one", ["1", "2"], ["3", "sha256:d"]),
        ("p/two", "x/two", [], ["4"]),
    ]
