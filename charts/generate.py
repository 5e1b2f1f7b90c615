"""Write the chart's generated files from the code they describe: `make generate`; `--check` only says what is stale.

Definitions and rights come from `image_updater/api`, the settings from `image_updater/settings.py`, the schema and the
table of the values from the comments of `values.yaml`. They are committed: a chart is used without this repository.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from image_updater import __version__
from image_updater.api import rbac
from image_updater.api.schema import crds
from image_updater.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

CHART = Path(__file__).parent / "image-updater"
NOTE = "Written by charts/generate.py from the code: do not edit."

OF_THE_CHART = (
    *("state", "cache", "secrets", "listen", "color", "kubeconfig"),
    *("roles", "watch_namespaces", "selector", "leader_election", "lease_namespace"),
)
"""Settings that the chart decides, or that mean nothing in a cluster: no values."""

NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
OPEN: dict[str, Any] = {"type": "object"}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}

DEFINITIONS: dict[str, dict[str, Any]] = {
    "name": NAME,
    "open": OPEN,
    "strings": STRINGS,
    "duration": {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"},
    "named": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
    "reference": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {"name": {"type": "string"}},
    },
    "variable": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "value": {"type": "string"}, "valueFrom": OPEN},
    },
    "resources": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"requests": OPEN, "limits": OPEN, "claims": {"type": "array", "items": OPEN}},
    },
    "component": {
        "type": "object",
        "required": ["name", "roles"],
        "additionalProperties": False,
        "properties": {
            "name": {**NAME, "maxLength": 20},
            "roles": {"$ref": "#/properties/roles"},
            "replicas": {"$ref": "#/properties/replicas"},
            "resources": {"$ref": "#/definitions/resources"},
            "serviceAccount": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"name": NAME, "annotations": STRINGS},
            },
        },
    },
    "shard": {
        "type": "object",
        "required": ["name", "selector"],
        "additionalProperties": False,
        "properties": {
            "name": {**NAME, "maxLength": 20},
            "selector": {"type": "string", "minLength": 1},
            "replicas": {"$ref": "#/properties/replicas"},
            "resources": {"$ref": "#/definitions/resources"},
        },
    },
    "policy": {
        "type": "object",
        "required": ["name", "spec"],
        "additionalProperties": False,
        "properties": {"name": NAME, "spec": OPEN},
    },
}


# ------------------------------------------------------------------------------------------- the values


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One key of values.yaml: its path, its default as written, what its comment says, what `@schema` adds."""

    path: tuple[str, ...]
    default: Any
    node: yaml.Node
    text: str
    hint: dict[str, Any]


def values(text: str) -> Iterator[Value]:
    """Every documented key, in order. Mappings with content are descended into, unless `@schema` says what they are."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _values(root, text.splitlines(), ())


def _values(mapping: yaml.MappingNode, lines: list[str], prefix: tuple[str, ...]) -> Iterator[Value]:
    for key, node in mapping.value:
        path = (*prefix, key.value)
        comment, hint = _comment(lines, key.start_mark.line, ".".join(path))
        yield Value(path=path, default=_plain(node), node=node, text=comment, hint=hint)
        if isinstance(node, yaml.MappingNode) and not hint and not node.flow_style:
            yield from _values(node, lines, path)


def _plain(node: yaml.Node) -> Any:
    return yaml.SafeLoader("").construct_object(node, deep=True)


def _comment(lines: list[str], line: int, path: str) -> tuple[str, dict[str, Any]]:
    block: list[str] = []
    while line and lines[line - 1].strip().startswith("#"):
        line -= 1
        block.insert(0, lines[line].strip().removeprefix("#").strip())
    hints = [each.removeprefix("@schema ") for each in block if each.startswith("@schema ")]
    hint: dict[str, Any] = {}
    for each in hints:
        hint.update(yaml.safe_load(each))
    return " ".join(each for each in block if not each.startswith("@schema ")), hint


def schema() -> dict[str, Any]:
    """`values.schema.json`: what stands in values.yaml, and nothing else."""
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": NOTE,
        "title": "Values of the chart image-updater",
        "type": "object",
        "additionalProperties": False,
        "properties": {},
        "definitions": DEFINITIONS,
    }
    for value in values((CHART / "values.yaml").read_text()):
        parent = root
        for name in value.path[:-1]:
            parent = parent["properties"][name]
        if "properties" in parent:
            parent["properties"][value.path[-1]] = _schema(value)
    root["properties"]["settings"] = _settings(root["properties"]["settings"])
    # What Helm itself hands to a chart that has another in it, and to that one.
    root["properties"]["global"] = root["properties"]["crds"]["properties"]["global"] = OPEN
    return root


def _schema(value: Value) -> dict[str, Any]:
    if _leaf(value) and not value.text:
        raise SystemExit(f"{'.'.join(value.path)}: no comment says what it is")
    result: dict[str, Any] = {"description": value.text} if value.text else {}
    if "$ref" in value.hint:
        return {**result, **value.hint}  # draft 7 ignores what stands beside a $ref; readers do not
    match value.default:
        case bool():
            result["type"] = "boolean"
        case int():
            result["type"] = "integer"
        case str():
            result["type"] = "string"
        case list():
            result["type"] = "array"
        case dict():
            result |= {"type": "object", "additionalProperties": False, "properties": {}}
        case _:
            raise SystemExit(f"{'.'.join(value.path)}: a default of no known type")
    if isinstance(value.default, list) and "items" not in value.hint:
        raise SystemExit(f"{'.'.join(value.path)}: a list needs `# @schema {{items: …}}`")
    return {**result, **value.hint, "default": value.default} if _leaf(value) else result


def _leaf(value: Value) -> bool:
    return not isinstance(value.default, dict)


def _settings(block: dict[str, Any]) -> dict[str, Any]:
    """Every setting that a user of the chart may give, under its camelCase name."""
    properties = {}
    for each in dataclasses.fields(Settings):
        if each.name in OF_THE_CHART:
            continue
        text = str(each.metadata["help"])
        properties[camel(each.name)] = {"description": text, **_type(each)}
    return {**block, "additionalProperties": False, "properties": properties}


def camel(name: str) -> str:
    """`registry_rate` as `registryRate`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _type(setting: dataclasses.Field[Any]) -> dict[str, Any]:
    """The JSON type by the annotation of the field, which is text: `int | None`, `LogFormat`."""
    annotation = str(setting.type)
    words = re.findall(r"[A-Za-z]+", annotation)
    if "bool" in words:
        return {"type": "boolean"}
    if "tuple" in words:
        return {"type": "array", "items": {"type": "string"}}
    if "int" in words:
        return {"type": "integer"}
    if "float" in words:
        return {"type": "number"}
    if isinstance(setting.default, StrEnum):
        return {"type": "string", "enum": [str(word) for word in type(setting.default)]}
    return {"type": "string"}


def table() -> str:
    """The values as rows of a table."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for value in values((CHART / "values.yaml").read_text()):
        group = isinstance(value.default, dict) and not value.hint
        if group and not value.text:
            continue
        default = "" if group else f"`{json.dumps(value.default, ensure_ascii=False)}`"
        cell = value.text.replace("|", "\\|")
        rows.append(f"| `{'.'.join(value.path)}` | {default} | {cell} |")
    return "\n".join(rows)


# ------------------------------------------------------------------------------------------- the files


class _Dumper(yaml.SafeDumper):
    """Without anchors: each place says what it says."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(document: Any) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def readme() -> str:
    """The README with its table as it must be."""
    text = (CHART / "README.md").read_text()
    begin, end = "<!-- values: written by charts/generate.py -->\n", "\n<!-- end of values -->"
    head, found, rest = text.partition(begin)
    assert found, "the README has no place for the table"
    return f"{head}{begin}\n{table()}\n{end}{rest.partition(end)[2]}"


def versioned(path: Path) -> str:
    """A Chart.yaml with the version of the package."""
    return re.sub(r"(?m)^(\s*(?:appVersion|version)): .*$", rf"\1: {__version__}", path.read_text())


def files() -> dict[Path, str]:
    """Path → text, as it must stand on disk."""
    made = {
        CHART / "Chart.yaml": versioned(CHART / "Chart.yaml"),
        CHART / "charts/crds/Chart.yaml": versioned(CHART / "charts/crds/Chart.yaml"),
        CHART / "values.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        CHART / "README.md": readme(),
        CHART / "files/rbac.yaml": f"# {NOTE}\n" + dump(rbac.table()),
    }
    for definition in crds():
        # Helm 3's `show crds` puts nothing between files.
        text = f"---\n# {NOTE}\n{dump(definition)}"
        made[CHART / "charts/crds/crds" / f"{definition['spec']['names']['plural']}.yaml"] = text
    return made


def main(arguments: list[str]) -> int:
    """0 when the files are up to date (or were written); 1 with `--check` when one is not."""
    stale = []
    made = files()
    for path in [*CHART.glob("charts/crds/crds/*.yaml"), *made]:
        text = made.get(path)
        if path.exists() and path.read_text() == text:
            continue
        stale.append(str(path.relative_to(CHART.parent.parent)))
        if arguments == ["--check"]:
            continue
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if arguments == ["--check"] and stale:
        print(f"out of date: {', '.join(dict.fromkeys(stale))} (make generate)", file=sys.stderr)
        return 1
    print(f"{len(made)} files, {len(stale)} {'out of date' if arguments == ['--check'] else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
