"""Refused and missing logins: could other Secrets help, and what is known of those that were not used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.errors import AccessDenied, ImageUpdaterError, SecretNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.api.model import ImagePolicy
    from image_updater.pipeline.answers.listing import Source


def is_login(error: ImageUpdaterError | None) -> bool:
    """Could other Secrets help?"""
    return isinstance(error, AccessDenied | SecretNotFound)


def noted(policy: ImagePolicy, error: ImageUpdaterError, source: Callable[[ImagePolicy], Source]) -> ImageUpdaterError:
    """A refusal, with what is known of logins that were not used."""
    if not isinstance(error, AccessDenied):
        return error
    try:
        notes = source(policy).access.notes
    except ImageUpdaterError:
        return error
    if not notes:
        return error
    remedy = "; ".join(part for part in (error.remedy, *notes) if part)
    return type(error)(error.message, where=error.where, remedy=remedy)
