"""A second YAML reader sees in every golden case what the first one promised: the edits, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML, YAMLError

GOLDEN = Path(__file__).parents[2] / "golden"
CHANGED = sorted(
    str(path.relative_to(GOLDEN))
    for path in GOLDEN.glob("*/before/**/*.yaml")
    if path.read_bytes() != Path(str(path).replace("/before/", "/after/", 1)).read_bytes()
)


def leaves(node: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    if isinstance(node, str) and path[-2:] == ("helm", "values"):
        try:
            node = YAML(typ="safe", pure=True).load(node)  # Argo CD's values are a text that is YAML itself
        except YAMLError:
            return {path: node}
    if isinstance(node, dict):
        return {place: leaf for key, value in node.items() for place, leaf in leaves(value, (*path, key)).items()}
    if isinstance(node, list):
        return {place: leaf for i, value in enumerate(node) for place, leaf in leaves(value, (*path, i)).items()}
    return {path: node}


def read(path: Path) -> dict[tuple[Any, ...], Any]:
    with path.open("rb") as file:
        return leaves(list(YAML(typ="safe", pure=True).load_all(file)))


@pytest.mark.parametrize("name", CHANGED)
def test_ruamel_reads_only_image_values_that_differ(name: str) -> None:
    path = GOLDEN / name
    before, after = read(path), read(Path(str(path).replace("/before/", "/after/", 1)))
    differing = {place for place in before.keys() | after.keys() if before.get(place) != after.get(place)}
    assert differing
    for place in differing:
        words = " ".join(str(step) for step in place).lower()
        assert any(word in words for word in ("image", "tag", "digest", "data", "patch", "resources", "reference")), (
            place
        )
