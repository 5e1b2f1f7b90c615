"""What an error answer of an API server means. Pure: status and body in, an error out.

The server's own words stay; what is added is what to do. Kubernetes API conventions, "Response Status Kind".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from image_updater.cluster.errors import (
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    Gone,
    Immutable,
    InvalidObject,
    KindUnknown,
    NamespaceMissing,
    ObjectNotFound,
    Throttled,
)
from image_updater.errors import AccessDenied, ImageUpdaterError, Where

if TYPE_CHECKING:
    from datetime import datetime

    from image_updater.cluster.model import Body, Resource

MAX_WORDS = 1_000
"""Characters of the server's message that are kept."""
MAX_VALUE = 60
"""Longer values in a message are left out: some are whole objects."""

_IMMUTABLE = re.compile(
    r"\bimmutable\b|may not (be )?chang|may not change once set|can(no|')t (be )?chang|"
    r"updates to .{1,60} (are|is) forbidden|updates to \w+ spec for fields other than|may not be updated",
    re.IGNORECASE | re.DOTALL,
)
_RIGHTS = re.compile(r"\b[Uu]ser \"[^\"]*\" (cannot|\(groups=)|attempting to grant RBAC permissions")
_SECRET = re.compile(
    r"((?:Invalid|Unsupported|Duplicate) value: )(\"(?:[^\"\\]|\\.)*\"|.*)|(\bgot |Value:).*", re.DOTALL
)
_VALUE = re.compile(r"((?:Invalid|Unsupported|Duplicate) value: )(.*): ([^:\n]+)$", re.DOTALL)
_TYPED = re.compile(r"^failed to create typed (?:patch|live) object \([^)]*\): (?:errors:)?\s*(.*)$", re.DOTALL)
_GO_VALUE = re.compile(r"&value\.\w+\{Value:([^}\n]*)\}")
"""How a server prints a number or a boolean that should be a string."""
_LINE = re.compile(r"^\.?(\S+?): (.*)$")
_STRICT = re.compile(r"(?:unknown|duplicate) field \"([^\"]+)\"")
_WRITTEN_WRONG = (
    "failed to create typed patch object",
    "unable to convert unstructured object",
    "error decoding from json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a request was about."""

    verb: str
    """As RBAC says it: get, list, watch, create, update, patch, delete; apply is `patch`."""
    resource: Resource | None = None
    path: str = ""
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None
    user: str | None = None
    """Whom we impersonate."""

    def __str__(self) -> str:
        """`Deployment.apps apps/web`, `deployments.apps in apps`, `/apis`."""
        if self.resource is None:
            return self.path
        if self.name is None:
            return self.plural + (f" in {self.namespace}" if self.namespace else "")
        kind = f"{self.resource.kind}.{self.resource.group}" if self.resource.group else self.resource.kind
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"

    @property
    def plural(self) -> str:
        if self.resource is None:
            return self.path
        name = self.resource.plural + (f"/{self.subresource}" if self.subresource else "")
        return f"{name}.{self.resource.group}" if self.resource.group else name

    @property
    def where(self) -> Where:
        return Where(object=str(self))


def parse_status(text: bytes) -> Body:
    """The Status object of an answer; {} where it is none (a proxy's page, plain text)."""
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) and body.get("kind") == "Status" else {}


def refusal(code: int, text: bytes, subject: Subject, *, until: datetime | None = None) -> ImageUpdaterError:
    """The error that an answer with a status from 300 on is (no API server redirects)."""
    status = parse_status(text)
    words = _words(code, status, text, subject)
    where = subject.where
    details = _details(status)
    if code == 401:
        return AccessDenied(
            f"the API server does not accept the credentials: {words}", where=where, remedy="is the token still valid?"
        )
    if code == 403:
        return _forbidden(status, words, subject)
    if code == 404:
        return _not_found(status, details, words, subject)
    if code == 409:
        return Conflict(words, where=where, remedy=_conflict_remedy(status))
    if code == 410:
        return Gone(words, where=where)
    if code == 429:
        return Throttled(f"the API server asks us to slow down: {words}", until=until, where=where)
    if code == 422 and subject.verb == "patch" and words.startswith("the server rejected our request"):
        # All that a server says of a `test` in a JSON patch.
        return Conflict("what the patch was made for is not there any more", where=where)
    if code in (400, 413, 422) or is_written_wrong(words):
        return _invalid(code, status, words, subject)
    if code >= 500 and code != 501:
        return ClusterUnavailable(f"the API server failed: {words}", until=until, where=where)
    return ClusterError(words, where=where)


def kind_is_gone(code: int, text: bytes) -> bool:
    """Whether a 404 is about the resource's path (no server serves the kind), not about one object."""
    if code != 404:
        return False
    status = parse_status(text)
    return not status or not _details(status).get("name")


def _words(code: int, status: Body, text: bytes, subject: Subject) -> str:
    words = str(status.get("message") or "").strip()
    if not words:
        plain = text.decode("utf-8", "replace").strip()
        words = plain if plain and len(plain) < 200 and "<" not in plain else ""
    words = _hidden(words, subject) if words else f"it answers {code}"
    words = _GO_VALUE.sub(r"\1", words)
    words = "".join(each if each.isprintable() or each == "\n" else " " for each in words)
    return words if len(words) <= MAX_WORDS else words[:MAX_WORDS] + "…"


def _details(status: Body) -> dict[str, Any]:
    details = status.get("details")
    return details if isinstance(details, dict) else {}


def _causes(status: Body) -> list[dict[str, Any]]:
    causes = _details(status).get("causes")
    return [each for each in causes if isinstance(each, dict)] if isinstance(causes, list) else []


def is_written_wrong(words: str) -> bool:
    """Whether an answer 500 is about the object: the server says so of what it cannot decode."""
    return any(each in words for each in _WRITTEN_WRONG)


def _invalid(code: int, status: Body, words: str, subject: Subject) -> InvalidObject:
    """With the field, where it is one. The causes say more than the message, and without repeating the whole object."""
    told = [(str(each.get("field") or ""), str(each.get("message") or "")) for each in _causes(status)]
    # All of them: making the object anew mends nothing where something else is wrong as well.
    reasons = [_VALUE.sub(r"\3", message) for _, message in told] or [words]
    immutable = code == 422 and all(map(_IMMUTABLE.search, reasons))
    found = [(name, _VALUE.sub(_shorter, _hidden(message, subject))) for name, message in told]
    if typed := _TYPED.match(words):
        lines = [_LINE.match(line.strip()) for line in typed[1].splitlines()]
        found = [(line[1], line[2]) for line in lines if line is not None]
    found = [(name, message[:MAX_WORDS]) for name, message in found if name and message][:10]
    if len(found) == 1:
        name, words = found[0]
    else:
        fields = set(_STRICT.findall(words))
        name = fields.pop() if len(fields) == 1 else ""
        words = "; ".join(f"{name}: {message}" for name, message in found) or words
    where = Where(object=str(subject), field=name) if name else subject.where
    return (Immutable if immutable else InvalidObject)(words, where=where)


def _hidden(words: str, subject: Subject) -> str:
    """Without the values of a Secret."""
    if subject.resource is None or (subject.resource.group, subject.resource.kind) != ("", "Secret"):
        return words
    return _SECRET.sub(lambda match: f"{match[1] or match[3]}(hidden)", words)


def _shorter(match: re.Match[str]) -> str:
    value = match[2] if len(match[2]) <= MAX_VALUE else "…"
    return f"{match[1]}{value}: {match[3]}"


def _forbidden(status: Body, words: str, subject: Subject) -> ImageUpdaterError:
    """RBAC answers 403, and so do quotas, admission, and namespaces that are being deleted."""
    reasons = {str(each.get("reason")) for each in _causes(status)}
    if "NamespaceTerminating" in reasons or "because it is being terminated" in words:
        return NamespaceMissing(
            f"namespace {subject.namespace} is being deleted", where=subject.where, remedy="wait until it is gone"
        )
    writes = subject.verb not in ("get", "list", "watch", "delete")
    if not writes or _RIGHTS.search(words) or not status:
        place = f" in namespace {subject.namespace}" if subject.namespace else ""
        allow = f"allow {subject.verb} on {subject.plural}{place}"
        if "impersonate" in words:
            allow = f"allow impersonate on {subject.user}"
        return Forbidden(words, where=subject.where, remedy=f"{allow} with a Role or ClusterRole")
    if "exceeded quota" in words or "insufficient quota" in words:
        return ClusterError(words, where=subject.where, remedy="see the ResourceQuota of the namespace")
    return InvalidObject(words, where=subject.where)


def _not_found(status: Body, details: dict[str, Any], words: str, subject: Subject) -> ImageUpdaterError:
    if not status or not details.get("name"):
        kind = subject.resource
        what = f"{kind.kind} of {kind.api_version}" if kind is not None else subject.path
        return KindUnknown(f"the server does not serve {what} (any more)", where=subject.where)
    if details.get("kind") == "namespaces" and (subject.resource is None or subject.resource.plural != "namespaces"):
        return NamespaceMissing(
            f"namespace {details['name']} does not exist", where=subject.where, remedy="create it, or apply it as well"
        )
    return ObjectNotFound(words, where=subject.where)


def _conflict_remedy(status: Body) -> str | None:
    managers: dict[str, list[str]] = {}
    for cause in _causes(status):
        match = re.match(r"conflict with \"([^\"]*)\"", str(cause.get("message", "")))
        if cause.get("reason") == "FieldManagerConflict" and match:
            managers.setdefault(match[1], []).append(str(cause.get("field", "")))
    if not managers:
        return None
    return "; ".join(f"{manager} owns {', '.join(fields[:5])}" for manager, fields in sorted(managers.items()))
