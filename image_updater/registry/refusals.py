"""What the status of an answer means, as an error with the server's own words (cut) and the remedy."""

from __future__ import annotations

import json

from image_updater.images import ImageName
from image_updater.registry.errors import PermissionDenied, RegistryUnavailable, RepositoryNotFound, TagNotFound
from image_updater.registry.http import Answer
from image_updater.registry.tokens import words


def refused(answer: Answer, image: ImageName, reference: str | None) -> Exception:
    """The error that a status means; the server's own words are in it, cut."""
    said = words(answer.body)
    tail = f": {said}" if said else ""
    if answer.status == 403:
        return PermissionDenied(
            f"{image}: the registry denies access{tail}", remedy="the login lacks the right to pull this repository"
        )
    if answer.status == 404:
        if reference is None or _code(answer) == "NAME_UNKNOWN":
            return RepositoryNotFound(
                f"{image}: the repository does not exist, or may not be seen{tail}",
                remedy="check spec.image; private repositories need spec.secretRef",
            )
        return TagNotFound(f"{named(image, reference)} is not in the registry{tail}")
    remedy = "no decision is made without its answer; try again later"
    if answer.status == 400 and b"HTTPS" in answer.body[:4096] and answer.url.startswith("http:"):
        # What Go's and nginx's servers say on a TLS port.
        remedy = "the registry speaks TLS: take spec.insecure away"
    return RegistryUnavailable(f"{answer.url}: unexpected answer {answer.status}{tail}", remedy=remedy)


def _code(answer: Answer) -> str | None:
    try:
        errors = json.loads(answer.body[:65536])["errors"]
        code = errors[0]["code"]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return code if isinstance(code, str) else None


def named(image: ImageName, reference: str) -> str:
    return f"{image}@{reference}" if ":" in reference else f"{image}:{reference}"
