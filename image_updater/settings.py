"""Everything that flags and environment decide, as one frozen value.

Each field's metadata names its flag, its variable and what it means: `--help` and the reference page are made from it.
Values arrive parsed, or are parsed here from an environment that is handed in; nothing here reads a file or the
process's environment by itself. A flag wins over its variable.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from image_updater.errors import SpecError, Where

PREFIX = "IMAGE_UPDATER_"

OTHER_VARIABLES: Final = {
    "IMAGE_UPDATER_DEBUG": "Any value: errors end in a traceback.",
    "IMAGE_UPDATER_VENV": "For working on the product itself: where its virtual environment is.",
    "POD_NAMESPACE": "In a cluster: the namespace of the controller's own pod.",
    "POD_NAME": "In a cluster: the name of its pod, which holds the Lease.",
    "POD_IP": "In a cluster: the address of its pod, to which other replicas hand on what Flagger asks.",
    "POD_UID": "In a cluster: the uid of its pod; a restarted container goes on with the Lease of the one before.",
}
"""Variables that are no settings."""

_SERVICE_LINK = re.compile(r"(?:_SERVICE_HOST|_SERVICE_PORT\w*|_PORT|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)\Z")
"""What Kubernetes puts into every pod beside a Service named `image-updater…`: nobody's mistake."""


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Color(StrEnum):
    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Role(StrEnum):
    """What one process of the controller does; apart, each needs fewer rights (`api/rbac.py`)."""

    UPDATE = "update"
    """Policies and automations: from registries to commits."""
    SYNC = "sync"
    """Kustomizations: from commits to the cluster."""
    WEB = "web"
    """What answers requests from outside."""


Parse = Callable[[str], Any]
"""Text of a variable to its value; raises ValueError that ends the sentence `'text' …`."""

_WORDS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _path(text: str) -> Path:
    if not text:
        raise ValueError("names no file or folder")  # `--state "$UNSET"` is not the current folder
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("names a home folder that is not known here") from None


def _flag(text: str) -> bool:
    known = _WORDS.get(text.strip().lower())
    if known is None:
        raise ValueError("is neither true nor false")
    return known


def _number(minimum: float, maximum: float, *, whole: bool = False) -> Parse:
    def parse(text: str) -> float:
        try:
            value: float = int(text) if whole else float(text)
        except ValueError:
            raise ValueError(f"is not a {'whole ' if whole else ''}number") from None
        if not minimum <= value <= maximum:
            raise ValueError(f"is not between {minimum:g} and {maximum:g}")
        return value

    return parse


_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?\Z")
"""Near enough to how Kubernetes names objects (RFC 1123)."""


def _name(text: str) -> str:
    if not _NAME.match(text.strip()):
        raise ValueError("is not a name: lower case letters, digits and '-'")
    return text.strip()


def _list(parse: Parse) -> Parse:
    """Comma-separated; empty = none. What stands there twice counts once."""

    def parse_all(text: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(parse(item.strip()) for item in text.split(",") if item.strip()))

    return parse_all


def _some(parse: Parse) -> Parse:
    def parse_some(text: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = _list(parse)(text)
        if not found:
            raise ValueError("names none")
        return found

    return parse_some


def _word(words: type[StrEnum]) -> Parse:
    def parse(text: str) -> StrEnum:
        try:
            return words(text.strip().lower())
        except ValueError:
            raise ValueError(f"is not one of {', '.join(words)}") from None

    return parse


def _setting(flag: str, variable: str, text: str, parse: Parse = str) -> dict[str, Any]:
    return {"flag": flag, "variable": PREFIX + variable, "help": text, "parse": parse}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this process works; what it works on comes from objects and arguments."""

    state: Path | None = field(
        default=None,
        metadata=_setting(
            "--state",
            "STATE",
            "SQLite file that keeps tag lists, first-seen times and facts between runs"
            " (default: none; `images` and `run`: in the cache folder).",
            _path,
        ),
    )
    cache: Path | None = field(
        default=None,
        metadata=_setting(
            "--cache", "CACHE", "Folder for bare mirrors and renders (default: the user's cache folder).", _path
        ),
    )
    secrets: Path | None = field(
        default=None,
        metadata=_setting("--secrets", "SECRETS", "Folder of secrets: DIR/<name>/<key>, one file a value.", _path),
    )
    allow_remote_bases: bool = field(
        default=False,
        metadata=_setting(
            "--allow-remote-bases",
            "ALLOW_REMOTE_BASES",
            "Let kustomize fetch remote bases; without it such roots are not built.",
            _flag,
        ),
    )
    kustomize: str | None = field(
        default=None,
        metadata=_setting(
            "--kustomize", "KUSTOMIZE", "The kustomize or kubectl binary (default: kustomize, then kubectl, on PATH)."
        ),
    )
    helm: str | None = field(
        default=None,
        metadata=_setting("--helm", "HELM", "The helm binary for helmCharts (default: helm on PATH)."),
    )
    color: Color = field(
        default=Color.AUTO,
        metadata=_setting("--color", "COLOR", "Colour; auto = on a terminal, unless NO_COLOR is set.", _word(Color)),
    )
    concurrency: int = field(
        default=64,
        metadata=_setting(
            "--concurrency", "CONCURRENCY", "Images that are checked at once.", _number(1, 10_000, whole=True)
        ),
    )
    render_workers: int | None = field(
        default=None,
        metadata=_setting(
            "--render-workers",
            "RENDER_WORKERS",
            "Roots that are built at once (default: one a core).",
            _number(1, 1_000, whole=True),
        ),
    )
    render_timeout: float = field(
        default=60.0,
        metadata=_setting("--render-timeout", "RENDER_TIMEOUT", "Seconds that one build may take.", _number(1, 3_600)),
    )
    registry_rate: float = field(
        default=200.0,
        metadata=_setting(
            "--registry-rate",
            "REGISTRY_RATE",
            "Requests a second that one registry host is sent at most.",
            _number(0.01, 100_000),
        ),
    )
    max_pages: int = field(
        default=1_000,
        metadata=_setting(
            "--max-pages",
            "MAX_PAGES",
            "Pages of one tag list; a longer one is an error, never cut.",
            _number(1, 1_000_000, whole=True),
        ),
    )
    log_format: LogFormat = field(
        default=LogFormat.TEXT,
        metadata=_setting(
            "--log-format", "LOG_FORMAT", "How `run` and `controller` write their log.", _word(LogFormat)
        ),
    )
    log_level: LogLevel = field(
        default=LogLevel.INFO,
        metadata=_setting("--log-level", "LOG_LEVEL", "The least that `run` and `controller` log.", _word(LogLevel)),
    )
    listen: str = field(
        default="127.0.0.1:8080",
        metadata=_setting(
            "--listen", "LISTEN", "Where `run` and `controller` serve /healthz, /readyz and /metrics; empty = nowhere."
        ),
    )
    flagger_token_file: Path | None = field(
        default=None,
        metadata=_setting(
            "--flagger-token-file",
            "FLAGGER_TOKEN_FILE",
            "File of tokens, one a line, that webhooks of Flagger's Canaries show at /flagger/… of --listen"
            " (default: none, such requests are answered 404).",
            _path,
        ),
    )
    stop_timeout: float = field(
        default=30.0,
        metadata=_setting(
            "--stop-timeout",
            "STOP_TIMEOUT",
            "Seconds that `run` and `controller` give work under way when they are asked to stop.",
            _number(0, 3_600),
        ),
    )

    # ------------------------------------------------------------------------------------- the controller's own

    kubeconfig: Path | None = field(
        default=None,
        metadata=_setting(
            "--kubeconfig",
            "KUBECONFIG",
            "The cluster (default: the pod's own, else $KUBECONFIG, else ~/.kube/config).",
            _path,
        ),
    )
    roles: tuple[Role, ...] = field(
        default=tuple(Role),
        metadata=_setting(
            "--roles",
            "ROLES",
            "What this process does: update (policies to commits), sync (commits to the cluster), web.",
            _some(_word(Role)),
        ),
    )
    watch_namespaces: tuple[str, ...] = field(
        default=(),
        metadata=_setting(
            "--watch-namespaces",
            "WATCH_NAMESPACES",
            "Namespaces whose objects are worked on, comma-separated (default: all).",
            _list(_name),
        ),
    )
    selector: str | None = field(
        default=None,
        metadata=_setting(
            "--selector",
            "SELECTOR",
            "Only objects with these labels are worked on, such as shard=a or shard!=a; others may be read.",
        ),
    )
    default_service_account: str = field(
        default="default",
        metadata=_setting(
            "--default-service-account",
            "DEFAULT_SERVICE_ACCOUNT",
            "Who applies a Kustomization that names no service account: this one of its namespace.",
            _name,
        ),
    )
    allow_cross_namespace_refs: bool = field(
        default=False,
        metadata=_setting(
            "--allow-cross-namespace-refs",
            "ALLOW_CROSS_NAMESPACE_REFS",
            "Let sourceRef and dependsOn name objects of other namespaces.",
            _flag,
        ),
    )
    take_over: tuple[str, ...] = field(
        default=(),
        metadata=_setting(
            "--take-over",
            "TAKE_OVER",
            "Field managers whose fields become ours with the first apply, comma-separated, beside kubectl, "
            "kustomize-controller and argocd-controller.",
            _list(str),
        ),
    )
    sync_concurrency: int = field(
        default=16,
        metadata=_setting(
            "--sync-concurrency",
            "SYNC_CONCURRENCY",
            "Kustomizations that are applied at once.",
            _number(1, 1_000, whole=True),
        ),
    )
    leader_election: bool = field(
        default=True,
        metadata=_setting(
            "--leader-election/--no-leader-election",
            "LEADER_ELECTION",
            "Work only while holding the Lease of these roles and this selector.",
            _flag,
        ),
    )
    lease_namespace: str | None = field(
        default=None,
        metadata=_setting(
            "--lease-namespace",
            "LEASE_NAMESPACE",
            "Where the Lease is (default: the pod's own namespace).",
            _name,
        ),
    )

    @classmethod
    def load(cls, environment: Mapping[str, str], **flags: Any) -> Settings:
        """Flags (None = not given), else variables, else defaults. Raises SpecError for a bad or unknown variable."""
        values = {name: value for name, value in flags.items() if value is not None}
        for each in dataclasses.fields(cls):
            text = environment.get(each.metadata["variable"], "")
            if each.name not in values and text:
                values[each.name] = _parse(text, each)
        check_environment(environment)
        return cls(**values)


def _parse(text: str, setting: dataclasses.Field[Any]) -> Any:
    try:
        return setting.metadata["parse"](text)
    except ValueError as exc:
        where = Where(field=setting.metadata["variable"])
        raise SpecError(f"{text!r} {exc}", where=where, remedy=setting.metadata["help"]) from exc


def check_environment(environment: Mapping[str, str]) -> None:
    """Refuse variables with our prefix that mean nothing: a mistyped one would be silently without effect."""
    known = {str(each.metadata["variable"]) for each in dataclasses.fields(Settings)}
    known |= {name for name in OTHER_VARIABLES if name.startswith(PREFIX)}
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in known or _SERVICE_LINK.search(name):
            continue
        close = difflib.get_close_matches(name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known], n=1)
        remedy = f"did you mean {PREFIX}{close[0]}?" if close else f"remove it; known are {', '.join(sorted(known))}"
        raise SpecError("unknown variable", where=Where(field=name), remedy=remedy)


def cache_folder(settings: Settings, environment: Mapping[str, str]) -> Path:
    """`--cache`, else `$XDG_CACHE_HOME/image-updater`, else `~/.cache/image-updater`. Raises SpecError: no home."""
    if settings.cache is not None:
        return settings.cache
    base = environment.get("XDG_CACHE_HOME")
    if base and Path(base).is_absolute():
        return Path(base) / "image-updater"
    try:
        home = Path(environment.get("HOME") or Path.home())
    except RuntimeError:
        # A user without an entry in the system's list, as containers have them.
        raise SpecError(
            "there is no home folder to keep a cache in", where=Where(field="HOME"), remedy="name a folder: --cache DIR"
        ) from None
    return home / ".cache" / "image-updater"
