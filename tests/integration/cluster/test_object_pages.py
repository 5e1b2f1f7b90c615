"""The pages of the objects: their examples are parsed by us and taken by the server, their words are the code's."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from image_updater.api import load_text
from image_updater.api.kinds import KINDS
from image_updater.api.schema import crds
from tests.integration.chart.helm import template, workloads
from tests.integration.cli.documentation import ROOT, play
from tests.integration.cli.test_docs import headings
from tests.integration.cluster.documents import CLUSTER_PAGES, blocks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane

KIND_PAGES = {kind: f"docs/objects/{kind.lower()}.md" for kind in KINDS}


@pytest.mark.parametrize("kind", KIND_PAGES)
def test_each_kind_has_a_page_with_an_example_that_the_parser_and_the_server_take(
    plane: ControlPlane, namespace: str, kind: str
) -> None:
    text = "---\n".join(blocks((ROOT / KIND_PAGES[kind]).read_text(), "yaml"))
    load_text(text)
    documents = [each for each in yaml.safe_load_all(text) if each is not None]
    assert kind in {each["kind"] for each in documents}
    plane.apply(crds())
    for each in documents:
        each["metadata"].pop("namespace", None)
        path = plane.path(f"{each['kind']}.image-updater.dev", namespace, each["metadata"]["name"])
        query = "fieldManager=docs&fieldValidation=Strict"
        kept = plane.request("PATCH", f"{path}?{query}", each, "application/apply-patch+yaml")
        # The server kept what the page says, and added defaults at most.
        assert kept["spec"].items() >= {key: kept["spec"][key] for key in each["spec"]}.items()
        assert each["spec"].keys() <= kept["spec"].keys()


@pytest.mark.parametrize("page", [*KIND_PAGES.values(), *CLUSTER_PAGES])
def test_commands_of_ours_that_a_page_shows_have_the_flags_that_they_use(page: str, tmp_path: Path) -> None:
    for block in blocks((ROOT / page).read_text(), "sh"):
        ours = "".join(f"{line}\n" for line in block.splitlines() if line.startswith("image-updater "))
        play(f"```sh\n{ours}```", tmp_path)


def test_what_the_operations_page_shows_of_values_and_rules_is_read_as_it_is_meant() -> None:
    for block in blocks((ROOT / "docs/operations.md").read_text(), "yaml"):
        document = yaml.safe_load(block)
        if "groups" in document:
            assert all({"alert", "expr"} <= rule.keys() for group in document["groups"] for rule in group["rules"])
        else:
            assert workloads(template("--set-json", json.dumps(document)))


@pytest.mark.parametrize("page", [*KIND_PAGES.values(), *CLUSTER_PAGES])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", path.read_text()):
        place = path.parent / target if target else path
        assert place.exists(), f"{page}: {target}"
        if heading:
            assert heading in headings(place.read_text()), f"{page}: {target}#{heading}"


@pytest.mark.parametrize("page", [*KIND_PAGES.values(), *CLUSTER_PAGES])
def test_reasons_and_metrics_that_a_page_names_are_in_the_code(page: str) -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "image_updater").rglob("*.py"))
    text = (ROOT / page).read_text()
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    reasons = {word for row in rows for word in re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]*)+)`", row)}
    for word in reasons:
        assert f'"{word}"' in source, f"{page}: {word}"
    for name in re.findall(r"image_updater_[a-z_]+[a-z]", text):
        base = re.sub(r"_(?:total|bucket|sum|count)$", "", name)
        assert f'"{base}"' in source, f"{page}: {name}"
