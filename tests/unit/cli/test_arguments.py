"""What is typed becomes a value, or a usage error that says what was expected."""

from __future__ import annotations

import click
import pytest

from image_updater.cli.explain import parse_current
from image_updater.cli.set import parse_assignment
from image_updater.pipeline.report import SetImage
from image_updater.pipeline.targets import is_url

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("web=:1.2", SetImage(image="web", tag="1.2")),
        ("web:1.2", SetImage(image="web", tag="1.2")),
        (f"web@{DIGEST}", SetImage(image="web", digest=DIGEST)),
        ("web=acme/web", SetImage(image="web", new_name="acme/web")),
        ("web=acme/web:1", SetImage(image="web", new_name="acme/web", tag="1")),
        ("web=localhost:5000/web", SetImage(image="web", new_name="localhost:5000/web")),
        ("localhost:5000/web=:2", SetImage(image="localhost:5000/web", tag="2")),
        ("localhost:5000/web:2", SetImage(image="localhost:5000/web", tag="2")),
        (
            f"web=acme/web:1@{DIGEST}",
            SetImage(image="web", new_name="acme/web", tag="1", digest=DIGEST),
        ),
        ("web=*:2", SetImage(image="web", tag="2")),
        ("PLACEHOLDER=acme/web:2", SetImage(image="PLACEHOLDER", new_name="acme/web", tag="2")),
    ],
)
def test_assignments(text: str, wanted: SetImage) -> None:
    assert parse_assignment(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["web", "web=", "=:1", "web=:", "web=@", "web=:1 2", "web=x/UPPER", "web:1=:2", "web=:1@sha256:abc", "web=*", ""],
)
def test_wrong_assignments_are_usage_errors(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_assignment(text)


def test_current_values() -> None:
    value = parse_current(f"docker.io/library/nginx=1.2@{DIGEST}")
    assert value.image is not None
    assert (value.image.canonical, value.tag, value.digest) == ("docker.io/library/nginx", "1.2", DIGEST)
    assert parse_current("1.2").image is None


@pytest.mark.parametrize("text", ["", "web=", "@" + DIGEST, "a b", "1@sha256:x", "UPPER=1"])
def test_wrong_current_values_are_usage_errors(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_current(text)


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("https://example.test/a.git", True),
        ("ssh://git@example.test/a", True),
        ("git@example.test:acme/fleet.git", True),
        ("example.test:acme/fleet.git", True),
        ("file:///srv/git", True),
        (".", False),
        ("apps/web", False),
        ("./a:b", False),
        ("/srv/git@x:y", False),
    ],
)
def test_paths_and_urls(target: str, url: bool) -> None:
    assert is_url(target) is url
