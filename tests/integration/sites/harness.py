"""A repository as values, objects and tags; one run of the command line over it, and what must have come of it.

Expectations are written from the design's sentences, never from the code: an `update` is judged by the bytes that it
leaves, by its report, and by a second run that finds nothing to do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from image_updater.cli.app import cli

WEB = "ghcr.io/acme/web"
TAGS = ["1.0.0", "1.1.0", "1.2.0", "2.0.0", "latest"]
"""`^1` chooses 1.2.0."""

A, B, C = ("sha256:" + char * 64 for char in "abc")


def policy(image: str = WEB, *, name: str = "web", strategy: str = "semver: {range: '^1'}", more: str = "") -> str:
    return f"""apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {{name: {name}}}
spec:
  image: {image}
  policy:
    {strategy}
{more}"""


POLICY = policy()
ALWAYS = policy(more="  digestReflectionPolicy: Always\n")
PINNED = [{"tag": "1.0.0", "digest": A}, {"tag": "1.2.0", "digest": C}]


def automation(update: str = "", *, name: str = "fleet", selector: str = "") -> str:
    return f"""---
apiVersion: image-updater.dev/v1alpha1
kind: ImageUpdateAutomation
metadata: {{name: {name}}}
spec:
  sourceRef: {{name: fleet}}
{f"  policySelector: {selector}" if selector else ""}
  update: {{{update}}}
"""


SOURCE = """---
apiVersion: image-updater.dev/v1alpha1
kind: GitRepository
metadata: {name: fleet}
spec: {url: 'https://git.example.com/acme/fleet.git', ref: {branch: main}}
"""


def scoped(update: str, policies: str = POLICY) -> str:
    """Policies, and one automation with these settings under `update:`."""
    return policies + SOURCE + automation(update)


def deployment(
    image: str = f"{WEB}:1.0.0",
    *,
    name: str = "web",
    annotations: str = "",
    namespace: str = "",
    kind: str = "Deployment",
) -> str:
    """The image stands in the last line."""
    lines = f"  namespace: {namespace}\n" if namespace else ""
    lines += f"  annotations: {annotations}\n" if annotations else ""
    return f"""apiVersion: apps/v1
kind: {kind}
metadata:
  name: {name}
{lines}spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: {name}
          image: {image}
"""


def pod(*containers: str, name: str = "p", more: str = "") -> str:
    """The first container stands in line 6."""
    listed = "".join(f"  - {container}\n" for container in containers)
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n{listed}{more}"


def release(values: str, *, annotations: str = "") -> str:
    """A HelmRelease; the values begin in line 7, or in line 6 without annotations."""
    notes = f"metadata:\n  name: web\n  annotations: {annotations}\n" if annotations else "metadata: {name: web}\n"
    indented = "".join(f"    {line}\n" for line in values.splitlines())
    return f"apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\n{notes}spec:\n  values:\n{indented}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    code: int
    report: dict[str, Any]
    files: dict[str, bytes]

    def states(self) -> list[tuple[str, int, str]]:
        return [(site["file"], site["line"], site["state"]) for site in self.report["sites"]]

    def site(self, file: str, line: int, *, root: str | None = None) -> dict[str, Any]:
        """The one row of this place (for this root)."""
        found: list[dict[str, Any]] = [
            site
            for site in self.report["sites"]
            if (site["file"], site["line"]) == (file, line) and (root is None or root in site["roots"])
        ]
        assert len(found) == 1, self.report["sites"]
        return found[0]


def lay(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def read(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def run(*arguments: str) -> tuple[int, str, str]:
    """A command in this process: exit code, standard output, standard error."""
    result = CliRunner().invoke(cli, list(arguments), standalone_mode=False)
    if isinstance(result.exception, click.ClickException):
        return result.exception.exit_code, result.stdout, result.stderr + result.exception.format_message()
    if result.exception is not None:
        raise result.exception
    code = result.return_value
    assert isinstance(code, int)
    return code, result.stdout_bytes.decode(), result.stderr  # `stdout` would turn CRLF into LF


def update(
    tmp_path: Path,
    files: Mapping[str, str | bytes],
    *arguments: str,
    objects: str = POLICY,
    tags: Sequence[Any] | Mapping[str, Any] = TAGS,
) -> Outcome:
    """`update --write` over `files`, and a second run that must find nothing to do."""
    folder = lay(tmp_path / "repository", files)
    common = ["update", str(folder), "--tags", str(tmp_path / "tags.json"), "-o", "json"]
    (tmp_path / "tags.json").write_text(json.dumps(tags))
    if objects:
        (tmp_path / "objects.yaml").write_text(objects)
        common += ["-f", str(tmp_path / "objects.yaml")]
    code, out, _ = run(*common, "--write", *arguments)
    outcome = Outcome(code=code, report=json.loads(out), files=read(folder))
    check_report(outcome.report)
    changed = outcome.files != {name: t if isinstance(t, bytes) else t.encode() for name, t in files.items()}
    assert outcome.report["changed"] is changed
    again, out, _ = run(*common, *arguments)
    assert (again, json.loads(out)["edits"]) == (0, []), "a second run finds nothing to do"
    return outcome


def check_report(report: Mapping[str, Any]) -> None:
    """The shape of section 10: keys, and a reason wherever a state is not `current` or `updated`."""
    assert {"changed", "commit", "edits", "sites", "problems"} <= set(report)
    for edit in report["edits"]:
        assert set(edit) == {"file", "line", "field", "old", "new", "policy", "kind"}
        assert {"scalar": (True, True), "insert": (False, True), "remove": (True, False)}[edit["kind"]] == (
            edit["old"] is not None,
            edit["new"] is not None,
        )
    for site in report["sites"]:
        assert set(site) == {"file", "line", "field", "image", "policy", "roots", "state", "reason"}
        assert site["reason"] or site["state"] in ("current", "updated"), site
        assert site["image"] or site["policy"] is None, site
    for problem in report["problems"]:
        assert {"file", "line", "reason"} <= set(problem)


def rows(outcome: Outcome) -> list[tuple[Any, ...]]:
    """Edits as (file, line, field, old, new, kind)."""
    keys = ("file", "line", "field", "old", "new", "kind")
    return [tuple(edit[key] for key in keys) for edit in outcome.report["edits"]]
