"""Kustomize's words for a person: the repository's paths instead of ours, the place it names, and not a page of it.

What it cannot read it quotes, and that may be a Secret: a patch, a generator's literal, a scalar. These words go into
logs, status and Events, so what it quotes of values is left out.
"""

from __future__ import annotations

import posixpath
import re
import textwrap
from typing import TYPE_CHECKING

from image_updater.errors import Where
from image_updater.render.errors import BuildFailed, LimitExceeded

if TYPE_CHECKING:
    from image_updater.kustomize.model import Root
    from image_updater.render.workspace import Workspace

_HEAD, _TAIL = 400, 1_400
"""Characters kept of a long message: how it began, and the cause, which kustomize puts last."""

_FILE = re.compile(r"[^\s'\":,;()\[\]]+\.(?:ya?ml|json)\b|[^\s'\":,;()\[\]]*\bKustomization\b")
_LINE = re.compile(r"\byaml: line (\d+)|\bline (\d+):")
_LOGGED = re.compile(r'"command failed" err=(?:"((?:[^"\\]|\\.)*)"|<\n(.*?)\n >)', re.DOTALL)
"""How kubectl wraps what its kustomize says, when it comes as a log line: quoted, or indented where it has many."""

_QUOTED = (
    (re.compile(r"(literal sources \[).*(\]: invalid literal source ).*(, expected)", re.DOTALL), r"\1…\2…\3"),
    (re.compile(r'(\[patch: )".*?"(\](?:\s|$|:))', re.DOTALL), r'\1"…"\2'),
    (re.compile(r"(unknown anchor )'[^']*'"), r"\1'…'"),
    (re.compile(r"(cannot unmarshal !!\w+ )`.*?`( into )", re.DOTALL), r"\1`…`\2"),
)
"""How kustomize quotes what stands in files."""
_CONFIG = re.compile(r"(with config: `\n?)(.*?)(\n`)", re.DOTALL)
"""A generator or transformer that it could not set up, as YAML: only its end has a backquote where a line begins."""
_SAFE = frozenset({"apiVersion", "kind", "metadata", "target", "path", "name", "namespace", "options"})
"""Fields of such a configuration that tell which one it is and hold no values."""

_ACCUMULATION = re.compile(r"accumulation err='(?:accumulating|merging) resources from '[^']*': (.*?)': must build at ")
_STEPS = re.compile(
    r"^(?:accumulat\w+ (?:resources|components)(?: from '[^']*')?: |accumulateDirectory: |MalformedYAMLError: )+"
)
"""What kustomize tells of its way to an error: it first takes everything for a file, and then for a folder."""

_SENTENCE = 300

_MEMORY = ("cannot allocate memory", "out of memory")


def failure(messages: str, status: int, workspace: Workspace, root: Root) -> BuildFailed | LimitExceeded:
    """The error that a failed build becomes."""
    text = _paths(messages, workspace, root)
    logged = _LOGGED.search(text)
    if logged is not None:
        quoted, block = logged.groups()
        text = quoted.replace('\\"', '"').replace("\\n", "\n") if block is None else textwrap.dedent(block)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("# Warning")]
    text = "\n".join(lines).removeprefix("Error: ").removeprefix("error: ").strip()
    text = _without_values(text)
    if any(words in text for words in _MEMORY):
        return LimitExceeded("the build needs more memory than it may use", where=Where(file=_own(root)))
    if not text:
        text = f"kustomize ended with status {status} and said nothing"
    if len(text) > _HEAD + _TAIL + 20:
        text = f"{text[:_HEAD]} … {text[-_TAIL:]}"
    return BuildFailed(text, where=_where(text, root))


def sentence(text: str) -> str:
    """What is wrong, out of the chain of what kustomize was at when it met it."""
    text = " ".join(_CONFIG.sub("", text).replace("with config: `", "").split())
    text = re.split(r"recursed accumulation of path '[^']*': |couldn't make target for path '[^']*': ", text)[-1]
    found = _ACCUMULATION.search(text)
    text = _STEPS.sub("", found[1] if found is not None else text)
    text = re.sub(r"evalsymlink failure on '([^']*)' : .*no such file or directory", r"\1 does not exist", text)
    text = re.sub(r"(missing metadata\.name in )object \{\{\S* (\w+)\}.*", r"\1an object of kind \2", text)
    text = text.strip().removesuffix('"') if text.count('"') % 2 else text.strip()
    return text if len(text) <= _SENTENCE else f"{text[: _SENTENCE - 1]}…"


def _without_values(text: str) -> str:
    for pattern, instead in _QUOTED:
        text = pattern.sub(instead, text)
    return _CONFIG.sub(lambda found: f"{found[1]}{_told(found[2])}{found[3]}", text)


def _told(config: str) -> str:
    lines = []
    safe = True
    for line in config.splitlines():
        if line and not line[0].isspace() and not line.startswith("-"):
            key, colon, _ = line.partition(":")
            safe = key in _SAFE
            lines.append(line if safe else f"{key}: …" if colon else "…")
        elif safe:
            lines.append(line)
    return "\n".join(lines)


def _paths(text: str, workspace: Workspace, root: Root) -> str:
    for folder in {workspace.repository, workspace.repository.removeprefix("/private")}:
        text = text.replace(folder + "/", "").replace(folder, ".")
    wrapper = re.escape(workspace.folder) + r"/wrappers/\d+"
    text = re.sub(wrapper, lambda _: f"<{root.id}>", text)
    text = re.sub(re.escape(workspace.folder) + r"/scratch/?", "<temporary>/", text)
    text = re.sub(r"(?:\.\./)+repository/?", "", text).replace(workspace.folder, "<temporary>")
    return text.replace(posixpath.dirname(workspace.folder) + "/", "<outside the repository>/")


def _where(text: str, root: Root) -> Where:
    """The last file that is named and belongs to the build; the line only if the text names one."""
    line = None
    for found in _LINE.finditer(text):
        line = int(found.group(1) or found.group(2))
    named = None
    for match in _FILE.finditer(text):
        file = _in_closure(match.group(0), root)
        if file is not None:
            named = file
    if named is None:
        return Where(file=_own(root))
    return Where(file=named, line=line)


def _in_closure(name: str, root: Root) -> str | None:
    if name in root.closure:
        return name
    beside = posixpath.normpath(posixpath.join(root.path, name))
    if beside in root.closure:
        return beside
    ends = [path for path in root.closure if path.endswith("/" + name)]
    return ends[0] if len(ends) == 1 else None


def _own(root: Root) -> str:
    return root.kustomization or root.path
