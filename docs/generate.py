"""Write the reference pages from the code they describe: `make generate`; `--check` only says what is out of date.

The pages are committed, so that they can be read in the repository; the check keeps them true.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import image_updater
from image_updater import errors
from image_updater.api.annotations import FORMS, MEANING, PER_CONTAINER, PREFIX
from image_updater.api.durations import format_duration
from image_updater.api.fields import ListOf, MapOf, Struct
from image_updater.api.kinds import KINDS, LATER_KINDS
from image_updater.api.model import API_VERSION
from image_updater.api.rbac import RULES
from image_updater.api.shapes import Many, Record
from image_updater.api.status import REASONS, STATUS
from image_updater.api.wishes import MEANING as WISHES
from image_updater.cli.app import cli
from image_updater.settings import OTHER_VARIABLES, Role, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from image_updater.api.fields import Field, Type
    from image_updater.api.kinds import Kind

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code: do not edit. -->"


def objects() -> Iterator[str]:
    """The kinds with every field of spec and status."""
    yield "# Objects\n"
    yield f"`apiVersion: {API_VERSION}`. Unknown fields are errors. A field that is marked *not built yet* is refused"
    yield "by name, so that a gate is never silently dropped; its inert values pass. Every mistake of a file is told at"
    yield "once, with its line and field.\n"
    yield "- Durations are Go's: `30s`, `5m`, `1h30m`, `100ms`."
    yield "- An object without namespace is in `default`. Two objects of one kind and name are an error."
    yield "- A string that YAML reads as a number or a boolean (`1.10`, `on`) must be quoted."
    yield "- `kind: List` is expanded; kinds of other groups are ignored, Flux's of the same names too."
    yield "- `kind: Secret` (`v1`) is read: `data` in base64, `stringData` as text. Without it a `…SecretRef` is looked"
    yield "  up in `--secrets DIR`: `DIR/<namespace>/<name>/<key>`, then `DIR/<name>/<key>`."
    yield "\nIn a cluster:\n"
    yield "- `image-updater crds | kubectl apply -f -` makes them known, `kubectl get image-updater` lists all."
    yield "- What the server can check it refuses at once. The rest it stores, mistyped fields too, so that the"
    yield "  controller can name them: such an object is `Stalled`, with the reason `InvalidSpec`."
    yield "- The annotation `image-updater.dev/requestedAt`, with any new value, asks for work now; when it is done the"
    yield "  value stands in `status.lastHandledReconcileAt`."
    yield "- A status is written when a decision, a reason or a condition changes, and not otherwise: no time in it"
    yield "  moves by itself. Conditions are those of kstatus, so `kubectl wait --for=condition=Ready` works.\n"
    yield "| kind | short name | what it is |\n|---|---|---|"
    for kind in KINDS.values():
        yield f"| [{kind.name}](#{kind.name.lower()}) | `{kind.short}` | {kind.doc} |"
    for kind in KINDS.values():
        yield from _one_kind(kind)
    yield "\n## Later\n\n" + ", ".join(f"`{name}`" for name in LATER_KINDS) + ": refused by name until they are built."


def _one_kind(kind: Kind) -> Iterator[str]:
    yield f"\n## {kind.name}\n\n{kind.doc}\n"
    columns = ", ".join(name for name, *_ in kind.columns)
    rest = "its age, whether it is ready and why" if kind.name in STATUS else "and its age"
    if kind.wide:
        rest += f"; with `-o wide` {', '.join(name for name, _ in kind.wide)} as well"
    yield f"`kubectl get {kind.short}` prints {columns}, {rest}.{' It has no namespace.' if kind.cluster else ''}\n"
    yield "| field | type | default | meaning |\n|---|---|---|---|"
    yield from _rows(kind.spec, "spec")
    rules = [*_rules(kind.spec, "spec"), *(f"- {rule.message}" for rule in kind.rules)]
    if rules:
        yield "\nThe server refuses at once what breaks one of these:\n"
        yield from rules
    if kind.name not in STATUS:
        yield f"\nA {kind.name} has no status."
        return
    yield f"\nThe status of {kind.name}:\n"
    yield "| field | type | meaning |\n|---|---|---|"
    yield from _status_rows(STATUS[kind.name], "status")


def _rules(struct: Struct, path: str) -> Iterator[str]:
    if struct.one_of is not None:
        yield f"- `{path}`: exactly one of "
        yield "  " + ", ".join(f"`{each.name}`" for each in struct.fields if each.name not in struct.beside)
    for rule in struct.rules:
        yield f"- `{path}`: {rule.message}"
    for each in struct.fields:
        inner, suffix = _inner(each.type)
        if isinstance(inner, Struct):
            yield from _rules(inner, f"{path}.{each.name}{suffix}")


def _status_rows(record: Record, prefix: str) -> Iterator[str]:
    for each in record.fields:
        path = f"{prefix}.{each.name}"
        yield f"| `{path}` | {_cell(each.shape.describe())} | {_cell(each.doc)} |"
        if isinstance(each.shape, Record):
            yield from _status_rows(each.shape, path)
        elif isinstance(each.shape, Many) and isinstance(each.shape.item, Record):
            yield from _status_rows(each.shape.item, f"{path}[]")


def rights() -> Iterator[str]:
    """The controller's rights by role, each with its reason."""
    yield "# Rights of the controller\n"
    yield "`image-updater install` and the chart make exactly these, for the roles that are chosen (`--roles`). A"
    yield "Kustomization is applied as a service account of its own namespace: what that account needs is not here, and"
    yield "the controller changes nothing with its own rights. The strong one is `impersonate`: who takes over the"
    yield "controller can act as any service account of the namespaces that are worked on.\n"
    yield "- **watched**: in the namespaces that are worked on. All of them: a ClusterRole; with `--watch-namespaces` a"
    yield "  Role in each."
    yield "- **cluster**: of the whole cluster, and only when it is worked on as a whole. Without these rights objects"
    yield "  of the cluster can be applied all the same, and drift of them is seen at the interval."
    yield "- **own**: in the controller's own namespace."
    yield "- Everybody who is authenticated may ask what the server serves and what he himself may do"
    yield "  (`system:discovery`, `system:basic-user`): no rule repeats that."
    yield "- Kinds of other groups are watched for drift when their group is named (`rbac.watchGroups` of the chart).\n"
    yield "| role | where | groups | resources | verbs | why |\n|---|---|---|---|---|---|"
    for rule in RULES:
        roles = ", ".join(role.value for role in Role if role in rule.roles)
        groups = ", ".join(f"`{each}`" if each else "core" for each in rule.groups)
        resources, verbs = (", ".join(f"`{each}`" for each in listed) for listed in (rule.resources, rule.verbs))
        yield f"| {roles} | {rule.place.value} | {groups} | {resources} | {verbs} | {_cell(rule.why)} |"
    yield "\n## For people\n"
    yield "Our kinds join the cluster's own roles: who has `view` reads them, who has `edit` or `admin` changes them."
    yield "To create a Kustomization in a namespace is to act as any service account of it, which `edit` allows anyway."


def _rows(struct: Struct, prefix: str) -> Iterator[str]:
    for each in struct.fields:
        path = f"{prefix}.{each.name}"
        yield f"| `{path}` | {each.type.describe()} | {_default(each)} | {_cell(each.doc)} |"
        inner, suffix = _inner(each.type)
        if isinstance(inner, Struct):
            yield from _rows(inner, path + suffix)


def _inner(kind: Type) -> tuple[Type, str]:
    if isinstance(kind, ListOf):
        return kind.item, "[]"
    if isinstance(kind, MapOf):
        return kind.value, ".*"
    return kind, ""


def _default(each: Field) -> str:
    if each.required:
        return "required"
    if each.shown is not None:
        return each.shown
    return _value(each.default)


def _value(value: Any) -> str:
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, StrEnum):
        return f"`{value.value}`"
    if hasattr(value, "total_seconds"):
        return f"`{format_duration(value)}`"
    if isinstance(value, tuple):
        return ", ".join(_value(item) for item in value)
    if dataclasses.is_dataclass(value):
        return ""
    return f"`{value}`"


def on_workloads() -> Iterator[str]:
    """What can be written on a workload in Git, and the markers."""
    yield "# Annotations and markers\n"
    yield "On a workload **in Git** (any kind with containers, and HelmRelease), below `metadata.annotations`."
    yield "They make implicit policies: nothing else is needed.\n"
    yield "| annotation | meaning |\n|---|---|"
    for name, text in MEANING.items():
        container = "[.<container>]" if name in PER_CONTAINER else ""
        yield f"| `{PREFIX}{name}{container}` | {_cell(text)} |"
    yield f"\n## Forms of `{PREFIX}policy`\n"
    yield "| form | meaning | example |\n|---|---|---|"
    for form in FORMS.values():
        yield f"| `{_cell(form.text)}` | {form.doc} | `{form.example}` |"
    yield (
        "\n`ref` without a namespace means that of the automation which finds it; another one is `refused`. Where an"
        "\nannotation behind the prefix is unknown, or is not taken up (`min-age` beside `ref`, `hold` on a workload),"
        "\nthe images of the object are `refused`."
    )
    yield "\n## On an ImagePolicy\n"
    yield "What people ask of it; [five commands](../people-first.md#five-commands) write them.\n"
    yield "| annotation | meaning |\n|---|---|"
    for name, text in WISHES.items():
        yield f"| `{name}` | {_cell(text)} |"
    yield "\n## On what is applied, and on our objects\n"
    yield "| annotation | on | meaning |\n|---|---|---|"
    applied = "objects that a Kustomization applies, in Git or in the cluster"
    yield f"| `{PREFIX}reconcile: disabled` | {applied} | neither applied nor pruned |"
    yield f"| `{PREFIX}prune: disabled` | {applied} | applied, never deleted |"
    yield (
        f"| `{PREFIX}requestedAt` | ImagePolicy, GitRepository, ImageUpdateAutomation, Kustomization"
        " | another value than before: work now; `status.lastHandledReconcileAt` says when it is done |"
    )
    yield "\nFlux's `reconcile`, `prune`, `ssa` and `force` on what is applied mean what they mean there."
    yield "\n## Markers\n"
    yield "A comment behind a scalar, on its line. Flux's form is read as it stands, ours may be shorter:\n"
    yield "```yaml"
    yield 'image: ghcr.io/acme/web:1.2.3   # {"$imagepolicy": "apps:web"}'
    yield 'tag: 1.2.3                      # {"$imagepolicy": "apps:web:tag"}'
    yield "image: ghcr.io/acme/web:1.2.3   # image-policy: web"
    yield "tag: 1.2.3                      # image-policy: web:tag"
    yield "```\n"
    yield "Without a part the whole reference is written; `:name`, `:tag` and `:digest` write that part alone."
    yield "\n## Who claims an image\n"
    yield "A marker, then a container's annotation, then the workload's, then an ImagePolicy with this image: a higher"
    yield "one silences the lower ones. Two of the same rank are a conflict: reported, never resolved by chance."


def settings() -> Iterator[str]:
    """Flags and variables."""
    yield "# Settings\n"
    yield "A flag wins over its variable. A command takes the flags that mean something to it (see `--help`).\n"
    yield "| flag | variable | default | meaning |\n|---|---|---|---|"
    for each in dataclasses.fields(Settings):
        data = each.metadata
        yield f"| `{data['flag']}` | `{data['variable']}` | {_value(each.default)} | {_cell(data['help'])} |"
    yield "\nOther variables:\n"
    for name, text in OTHER_VARIABLES.items():
        yield f"- `{name}`: {text}"


def commands() -> Iterator[str]:
    """Every command's own help."""
    yield "# Commands\n\n```text"
    root = click.Context(cli, info_name="image-updater", max_content_width=100, terminal_width=100)
    yield cli.get_help(root) + "\n```"
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, max_content_width=100, terminal_width=100)
        yield f"\n## {name}\n\n```text\n{command.get_help(context)}\n```"


def reasons() -> Iterator[str]:
    """The error tree: what a condition's reason means and what happens next; and what is no error."""
    yield "# Reasons\n"
    yield "The reason of a condition or an error says what happens next: *terminal* waits for its input to change,"
    yield "*transient* is tried again, *waiting* needs something to happen first."
    yield "[Troubleshooting](../troubleshooting.md) says what to do about each.\n"
    yield "| reason | room | next | meaning |\n|---|---|---|---|"
    for kind in sorted(_leaves(errors.ImageUpdaterError), key=lambda each: (each.reason, each.__module__)):
        state = next(
            base.__name__.lower()
            for base in (errors.Terminal, errors.Transient, errors.Waiting)
            if issubclass(kind, base)
        )
        room = kind.__module__.split(".")[1]
        yield f"| `{kind.reason}` | {'' if room == 'errors' else room} | {state} | {_cell(_meaning(kind))} |"
    yield "\n## Of conditions and Events\n"
    yield "In a cluster the reason of an error is that of the conditions `Ready` and `Stalled`. Beside them:\n"
    for name, meaning in REASONS.items():
        yield f"- `{name}`: {meaning}"


_BRANCH = re.compile(r"^[ │]*(?:[├└]── )?([\w, ]+?)(?: \(\w+\))? {2,}(\S.*)$", re.MULTILINE)
"""A line of the tree that a module of errors opens with: the names, and what they mean."""


def _meaning(kind: type[errors.ImageUpdaterError]) -> str:
    """What the tree of its module says of an error; else its own description; else what is said of its parent."""
    for names, text in _BRANCH.findall(sys.modules[kind.__module__].__doc__ or ""):
        if kind.__name__ in names.split(", ") and not text.startswith("("):
            return str(text).removesuffix(kind.reason).rstrip()
    if kind.__doc__:
        return kind.__doc__.split("\n\n")[0]
    parent = kind.__base__
    if parent is errors.Transient or not issubclass(parent or object, errors.ImageUpdaterError):
        return "any other failure of this kind"
    assert parent is not None
    return _meaning(parent)


def _leaves(kind: type[errors.ImageUpdaterError]) -> Iterator[type[errors.ImageUpdaterError]]:
    for each in kind.__subclasses__():
        if "reason" in vars(each) and each.__module__.startswith("image_updater."):
            yield each
        yield from _leaves(each)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\|", "|").replace("|", "\\|")


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "objects.md": objects,
    "rights.md": rights,
    "annotations.md": on_workloads,
    "settings.md": settings,
    "commands.md": commands,
    "reasons.md": reasons,
}


_REASON = re.compile(r'^    reason(?:: ClassVar\[str\])? = "', re.MULTILINE)
"""In a class: an error's own reason."""


def load_rooms() -> None:
    """Import the modules with errors, so that the tree is whole."""
    top = Path(image_updater.__path__[0])
    for path in sorted(top.rglob("*.py")):
        if _REASON.search(path.read_text()):
            importlib.import_module(".".join(("image_updater", *path.relative_to(top).with_suffix("").parts)))


def page(name: str) -> str:
    """The text of a reference page, as it must stand on disk."""
    lines = "\n".join(PAGES[name]()).splitlines()
    return NOTE + "\n\n" + "\n".join(line.rstrip() for line in lines) + "\n"


def main(arguments: list[str]) -> int:
    """0 when the pages are up to date (or were written); 1 with `--check` when one is not."""
    load_rooms()
    known = {REFERENCE / name for name in PAGES}
    stale = []
    for path in sorted(set(REFERENCE.rglob("*.md")) - known):
        stale.append(f"docs/reference/{path.relative_to(REFERENCE)}")
        if arguments != ["--check"]:
            path.unlink()
    for name in PAGES:
        text = page(name)
        path = REFERENCE / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(f"docs/reference/{name}")
        if arguments != ["--check"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if arguments == ["--check"] and stale:
        print(f"out of date: {', '.join(stale)} (make generate)", file=sys.stderr)
        return 1
    print(f"{len(PAGES)} pages, {len(stale)} {'out of date' if arguments == ['--check'] else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
