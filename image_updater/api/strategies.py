"""Which tag wins: the strategies of an ImagePolicy as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Order(StrEnum):
    ASC = "asc"
    DESC = "desc"


class NewestBy(StrEnum):
    CREATED = "created"
    PUSHED = "pushed"
    FIRST_SEEN = "firstSeen"


@dataclass(frozen=True, slots=True, kw_only=True)
class SemverPolicy:
    range: str
    prereleases: bool = False
    loose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericalPolicy:
    order: Order = Order.ASC


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphabeticalPolicy:
    order: Order = Order.ASC


@dataclass(frozen=True, slots=True, kw_only=True)
class CalverPolicy:
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestPolicy:
    by: NewestBy = NewestBy.CREATED


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestPolicy:
    tag: str


Strategy: TypeAlias = SemverPolicy | NumericalPolicy | AlphabeticalPolicy | CalverPolicy | NewestPolicy | DigestPolicy
