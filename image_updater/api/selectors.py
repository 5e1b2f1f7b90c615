"""Label selectors as text (`--selector 'shard=a,tier in (web, api)'`), as kubectl takes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from image_updater.api.fields import check_label_key, check_label_value
from image_updater.api.model import LabelSelector
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from image_updater.api.fields import Check

_REMEDY: Final = "write conditions such as shard=a, shard!=a, tier in (web, api), tier notin (db), team, !team"
_SPLIT = re.compile(r",(?![^()]*\))")
_SET = re.compile(r"(?P<key>\S+)\s+(?P<word>in|notin)\s*\((?P<values>[^()]*)\)\Z")
_EQUAL = re.compile(r"(?P<key>[^=!\s]+)\s*(?P<word>==?|!=)\s*(?P<value>[^=!\s]*)\Z")


def parse_selector(text: str, *, field: str = "--selector") -> LabelSelector:
    """Comma-separated conditions, all of which must hold; empty matches everything. Raises SpecError."""
    where = Where(field=field)
    expressions = []
    for part in _SPLIT.split(text) if text.strip() else ():
        expression = _expression(part.strip(), where)
        expressions.append(expression)
    return LabelSelector(match_expressions=tuple(expressions))


def _expression(text: str, where: Where) -> tuple[str, str, tuple[str, ...]]:
    if match := _SET.match(text):
        values = tuple(each.strip() for each in match["values"].split(","))
        operator = "In" if match["word"] == "in" else "NotIn"
        return _key(match["key"], where), operator, tuple(_checked(check_label_value, each, where) for each in values)
    if match := _EQUAL.match(text):
        value = _checked(check_label_value, match["value"], where)
        return _key(match["key"], where), "NotIn" if match["word"] == "!=" else "In", (value,)
    if text.startswith("!"):
        return _key(text[1:].strip(), where), "DoesNotExist", ()
    return _key(text, where), "Exists", ()


def _key(text: str, where: Where) -> str:
    return _checked(check_label_key, text, where)


def _checked(check: Check, text: str, where: Where) -> str:
    problem = check(text)
    if problem is not None:
        raise SpecError(problem, where=where, remedy=_REMEDY)
    return text
