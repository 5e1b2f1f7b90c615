"""What pages beside those of the objects show of a cluster: the objects in them are taken by us and by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from image_updater.api import load_text
from image_updater.api.schema import crds
from tests.integration.cli.documentation import ROOT
from tests.integration.cluster.documents import blocks
from tests.parts.loops import API

if TYPE_CHECKING:
    from tests.parts.controlplane import ControlPlane


PAGES = (
    "README.md",
    "docs/access.md",
    "docs/gates.md",
    "docs/guide.md",
    "docs/migrating-from-flux.md",
    "docs/people-first.md",
    "docs/replay.md",
    "docs/when-it-fails.md",
)


@pytest.mark.parametrize("page", PAGES)
def test_objects_that_a_page_shows_are_taken_by_us_and_by_the_server(
    plane: ControlPlane, namespace: str, page: str
) -> None:
    shown = [block for block in blocks((ROOT / page).read_text(), "yaml") if API in block]
    # One that shows what is refused is played by test_docs.
    shown = [block for block in shown if "kind: OCIRepository" not in block]
    assert shown
    plane.apply(crds())
    for block in shown:
        load_text(block)
        for each in yaml.safe_load_all(block):
            each["metadata"].pop("namespace", None)
            path = plane.path(f"{each['kind']}.image-updater.dev", namespace, each["metadata"]["name"])
            query = "fieldManager=docs&fieldValidation=Strict&force=true"
            plane.request("PATCH", f"{path}?{query}", each, "application/apply-patch+yaml")
