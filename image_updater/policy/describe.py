"""A policy in a few words, for reports and reasons, as the annotation would say it: `semver ^1.2`."""

from __future__ import annotations

from typing import assert_never

from image_updater.api.model import (
    AlphabeticalPolicy,
    CalverPolicy,
    DigestPolicy,
    ImagePolicy,
    NewestPolicy,
    NumericalPolicy,
    Order,
    SemverPolicy,
    Strategy,
)


def describe(policy: ImagePolicy | Strategy) -> str:
    """The strategy, and of a whole policy also the pattern and what is extracted."""
    if not isinstance(policy, ImagePolicy):
        return _strategy(policy)
    text = _strategy(policy.strategy)
    if policy.filter_tags.pattern is not None:
        text += f" of tags like '{policy.filter_tags.pattern}'"
    if policy.filter_tags.extract:
        text += f" by '{policy.filter_tags.extract}'"
    return text


def _strategy(strategy: Strategy) -> str:
    match strategy:
        case SemverPolicy():
            extras = (", pre-releases too" if strategy.prereleases else "") + (", loose" if strategy.loose else "")
            return f"semver {strategy.range.strip()}{extras}"
        case NumericalPolicy() | AlphabeticalPolicy():
            word = "numerical" if isinstance(strategy, NumericalPolicy) else "alphabetical"
            return word if strategy.order is Order.ASC else f"{word} desc"
        case CalverPolicy():
            return f"calver {strategy.format}"
        case NewestPolicy():
            return f"newest by {strategy.by}"
        case DigestPolicy():
            return f"digest {strategy.tag}"
        case _:
            assert_never(strategy)
