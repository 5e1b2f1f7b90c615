"""What may stand where something has failed, while some bytes are quarantined."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import ImagePolicy, Meta, ObjectKey, SemverPolicy
from image_updater.controller.loop.values import Values
from image_updater.pipeline.rollback.placements import Value
from image_updater.policy.situation import Origin, Quarantined, Situation

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME: Final = "shop/web"
GOOD, BAD = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SPEC: Final = ImagePolicy(
    meta=Meta(key=ObjectKey("shop", "web")), image="ghcr.io/acme/web", strategy=SemverPolicy(range="*")
)


@dataclass
class Registry:
    """As far as a Selector shows it. `says`: what it answers."""

    quarantined: tuple[Quarantined, ...] = ()
    says: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    proving: Any = field(default_factory=lambda: SimpleNamespace(digest_of=lambda *_: None))

    def __post_init__(self) -> None:
        self.answers = {NAME: SimpleNamespace(spec=SPEC)}
        self.situations = SimpleNamespace(of=lambda _: Situation(quarantined=self.quarantined))
        self.store = SimpleNamespace(tag_digests=lambda *_: self.seen)

    def source(self, _: ImagePolicy) -> Any:
        return SimpleNamespace(repository="acme/web", identity="")

    async def hint(self, _: object, tag: str, __: Iterable[ImagePolicy]) -> None:
        self.asked.append(tag)
        if tag in self.says:
            self.seen[tag] = self.says[tag]


def values(at: Any) -> Values:
    return Values(selector=at, proving=at.proving, clock=lambda: datetime(2026, 11, 26, tzinfo=UTC))


def by_bytes(digest: str | None = BAD) -> tuple[Quarantined, ...]:
    return (Quarantined(image="ghcr.io/acme/web", tag="1.1.0", digest=digest, origin=Origin.PERSON),)


async def test_bytes_are_asked_for_once_and_only_where_some_are_quarantined() -> None:
    at = Registry(says={"1.0.0": GOOD, "0.9.0": BAD})
    found = values(at)
    await found.ask(NAME, [Value("1.0.0")])
    assert at.asked == []
    assert found.fits(NAME, Value("1.0.0"))
    at.quarantined = by_bytes(None)
    await found.ask(NAME, [Value("1.0.0")])
    assert at.asked == [], "a tag is known by its name"
    at.quarantined = by_bytes()
    for _ in range(2):
        await found.ask(NAME, [Value("1.0.0"), Value("0.9.0"), Value("1.0.0"), Value("0.8.0", GOOD), Value(None, GOOD)])
    assert at.asked == ["0.9.0", "1.0.0"]
    assert found.fits(NAME, Value("1.0.0"))
    assert not found.fits(NAME, Value("0.9.0")), "the bad bytes under another tag"
    assert not found.is_free(NAME, Value("0.9.0"))


async def test_what_nobody_says_the_bytes_of_is_free_and_does_not_fit() -> None:
    at = Registry(quarantined=by_bytes())
    found = values(at)
    await found.ask(NAME, [Value("1.0.0")])
    assert at.asked == ["1.0.0"]
    assert not found.fits(NAME, Value("1.0.0"))
    assert found.is_free(NAME, Value("1.0.0"))
    at.quarantined = ()
    assert found.fits(NAME, Value("1.0.0"))
