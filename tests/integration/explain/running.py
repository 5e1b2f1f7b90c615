"""`image-updater explain` as a person runs it, and what holds for each of its answers (design section 10)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from image_updater.cli.app import cli

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

IMAGE = "registry.example/acme/web"
NOW = "2026-06-01T12:00:00Z"
FATES = ("chosen", "eligible", "held", "rejected")
HEAD = "apiVersion: image-updater.dev/v1alpha1\n"


def policy(strategy: str, *fields: str, name: str = "web", image: str = IMAGE, labels: str = "") -> str:
    """An ImagePolicy; `fields` are further lines of its spec."""
    metadata = f"{{name: {name}{labels}}}"
    lines = [f"image: {image}", f"policy: {strategy}", *fields]
    return f"{HEAD}kind: ImagePolicy\nmetadata: {metadata}\nspec:\n" + "".join(f"  {line}\n" for line in lines)


def thing(kind: str, *spec: str, name: str = "thing") -> str:
    """Any other object of ours."""
    return f"{HEAD}kind: {kind}\nmetadata: {{name: {name}}}\nspec:\n" + "".join(f"  {line}\n" for line in spec)


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    code: int
    stdout: str
    stderr: str

    @property
    def reports(self) -> list[dict[str, Any]]:
        document = json.loads(self.stdout)
        assert isinstance(document, list), document
        return document

    @property
    def errors(self) -> list[dict[str, Any]]:
        document = json.loads(self.stdout)
        errors = document["errors"]
        assert isinstance(errors, list)
        return errors

    def report(self, name: str | None = None) -> dict[str, Any]:
        found = [each for each in self.reports if name is None or each["policy"] == name]
        assert len(found) == 1, found
        return found[0]

    @property
    def chosen(self) -> str | None:
        chosen = self.report()["chosen"]
        return None if chosen is None else str(chosen["tag"])

    def verdicts(self, name: str | None = None) -> dict[str, str]:
        return {each["tag"]: each["verdict"] for each in self.report(name)["tags"]}

    def reason(self, tag: str | None = None) -> str:
        report = self.report()
        if tag is None:
            return str(report["reason"])
        return str({each["tag"]: each["reason"] for each in report["tags"]}[tag])


def run(*arguments: str, input: bytes | None = None, env: Mapping[str, str] | None = None) -> Answer:  # noqa: A002
    result = CliRunner().invoke(cli, list(arguments), input=input, env=env, standalone_mode=False)
    error = result.exception
    if error is not None:
        # `cli.app.run` turns these into exit code 2.
        import click

        if not isinstance(error, click.UsageError):
            raise error
        return Answer(code=2, stdout=result.stdout, stderr=result.stderr + error.format_message())
    assert isinstance(result.return_value, int)
    return Answer(code=result.return_value, stdout=result.stdout, stderr=result.stderr)


def write(folder: Path, objects: str | bytes, tags: object = None) -> list[str]:
    """The arguments for these objects, and for these tags: text, bytes, or what becomes JSON."""
    file = folder / "policies.yaml"
    file.write_bytes(objects if isinstance(objects, bytes) else objects.encode())
    arguments = ["explain", "-f", str(file), "-o", "json", "--now", NOW]
    if tags is not None:
        listed = folder / "tags"
        data = tags if isinstance(tags, str | bytes) else json.dumps(tags)
        listed.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
        arguments += ["--tags", str(listed)]
    return arguments


def explain(folder: Path, objects: str | bytes, tags: object = None, *arguments: str) -> Answer:
    """One run; a good answer is checked for all that every answer must be."""
    answer = run(*write(folder, objects, tags), *arguments)
    assert "Traceback" not in answer.stderr
    if answer.code in (0, 1):
        for report in answer.reports:
            check(report)
    return answer


def check(report: Mapping[str, Any], tags: Sequence[str] | None = None) -> None:
    """The documented keys and no others (an `error` where there is one), every reason said, best first."""
    assert set(report) - {"error"} == {"policy", "image", "chosen", "reason", "tags"}
    assert report["reason"]
    rows = report["tags"]
    assert all(set(row) == {"tag", "verdict", "reason"} and row["reason"] for row in rows)
    assert len({row["tag"] for row in rows}) == len(rows), "a tag stands once"
    assert {row["verdict"] for row in rows} <= set(FATES)
    fates = [row["verdict"] for row in rows]
    assert fates == sorted(fates, key=lambda fate: fate == "rejected"), "the rejected come last"
    winners = [row["tag"] for row in rows if row["verdict"] == "chosen"]
    if report["chosen"] is None:
        assert not winners
    else:
        assert set(report["chosen"]) == {"tag", "digest"}
        assert winners == [report["chosen"]["tag"]] == [rows[0]["tag"]]
    if tags is not None:
        assert sorted(row["tag"] for row in rows) == sorted(set(tags))
