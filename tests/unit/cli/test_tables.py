"""Tables on terminals: aligned where they fit, else flowing; never cut inside a path or an image."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from image_updater.cli.output import WIDE, table
from image_updater.cli.views import _policy

ROW = ("overlays/prod/kustomization.yaml:2", "images[0].newTag", "1.4.0 → 1.4.1", "default/web-prod")


def printed(width: int, *rows: tuple[str, ...]) -> list[str]:
    out = Console(file=io.StringIO(), width=width, markup=False, highlight=False, soft_wrap=width == WIDE)
    table(out, rows, styles=("", "dim"))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [WIDE, 200, 91])
def test_a_table_that_fits_is_aligned(width: int) -> None:
    assert printed(width, ROW, ("a:1", *ROW[1:])) == [
        "  overlays/prod/kustomization.yaml:2  images[0].newTag  1.4.0 → 1.4.1  default/web-prod",
        "  a:1                                 images[0].newTag  1.4.0 → 1.4.1  default/web-prod",
    ]


def test_a_row_that_does_not_fit_goes_on_below() -> None:
    assert printed(60, ROW) == [
        "  overlays/prod/kustomization.yaml:2  images[0].newTag",
        "      1.4.0 → 1.4.1  default/web-prod",
    ]


def test_a_long_reason_breaks_between_words_and_a_long_name_never() -> None:
    name = "registry.example.com/" + "x" * 40
    lines = printed(40, ("held", name, "older than what stands in Git, and not allowed"))
    assert lines == [
        "  held",
        f"      {name}",
        "      older than what stands in Git, and",
        "      not allowed",
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("default/web", "default/web"),
        ("annotation:docker.io/acme/web:semver ^1.2", "annotation semver ^1.2"),
        (r"annotation:h:5000/acme/web:newest:^(?:a|b):\d", r"annotation newest, filter ^(?:a|b):\d"),
    ],
)
def test_an_implicit_policy_is_shown_by_what_its_annotation_says(name: str, shown: str) -> None:
    assert _policy(name) == shown
