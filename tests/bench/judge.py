"""Judge 100,000 tags and gate what was judged: the first time, and after one new tag (design section 12).

CPU time, the best of five runs. Lists are built anew for each run, as an answer of a registry is: no string is shared,
no hash is known.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from image_updater import policy
from image_updater.api.model import (
    AlphabeticalPolicy,
    CalverPolicy,
    FilterTags,
    ImagePolicy,
    Meta,
    NewestPolicy,
    NumericalPolicy,
    ObjectKey,
    SemverPolicy,
    Strategy,
)
from image_updater.images import Digest
from image_updater.policy.situation import Situation
from tests.bench.rows import Row, number

COUNT = 100_000
_PLAIN = Situation()
NOW = datetime(2026, 11, 25, tzinfo=UTC)
_MILLISECONDS = 1000.0


def _mixed() -> list[str]:
    """60 % releases with and without `v`, 20 % pre-releases, 10 % with a suffix, 10 % no versions."""
    tags = []
    for n in range(COUNT):
        version = f"{n // 5000}.{n // 50 % 100}.{n % 50}"
        match n % 10:
            case 0 | 1 | 2:
                tags.append(version)
            case 3 | 4 | 5:
                tags.append(f"v{version}")
            case 6 | 7:
                tags.append(f"{version}-rc.{n % 7}")
            case 8:
                tags.append(f"{version}-alpine")
            case _:
                tags.append(f"sha-{n * 7919:07x}")
    return sorted(tags)


def _one_minor() -> list[str]:
    return sorted(f"1.0.{n}" for n in range(COUNT))


def _branches() -> list[str]:
    return sorted(f"main-{1_700_000_000 + n * 13}-{n * 7919:07x}" for n in range(COUNT))


def _commits() -> list[str]:
    return sorted(f"{n * 7919 * 104_729:040x}" for n in range(COUNT))


def _numbers() -> list[str]:
    return sorted(str(n) for n in range(COUNT))


def _dates() -> list[str]:
    return sorted(f"{2000 + n % 25}.{n // 25 % 12 + 1:02}.{n // 300}" for n in range(COUNT))


_TIMESTAMP = FilterTags(pattern=r"^main-(?P<ts>\d+)-[0-9a-f]+$", extract="$ts")
_CASES: list[tuple[str, Strategy, FilterTags, Callable[[], list[str]], str, int]] = [
    ("semver ^12.3", SemverPolicy(range="^12.3"), FilterTags(), _mixed, "12.99.99", 60),
    ("semver *", SemverPolicy(range="*"), FilterTags(), _mixed, "20.0.0", 60),
    ("semver >=1.0.0-0", SemverPolicy(range=">=1.0.0-0"), FilterTags(), _mixed, "20.0.0", 60),
    ("semver loose", SemverPolicy(range=">=1", loose=True), FilterTags(), _mixed, "20.0", 60),
    ("semver, one minor", SemverPolicy(range="1.x"), FilterTags(), _one_minor, "1.0.100000", 60),
    (
        "semver, RE2 filter",
        SemverPolicy(range="*"),
        FilterTags(pattern=r"^v?\d", exclude=("-rc",)),
        _mixed,
        "20.0.0",
        600,
    ),
    ("numerical, RE2 extract", NumericalPolicy(), _TIMESTAMP, _branches, "main-1800000000-abcdef0", 600),
    ("numerical", NumericalPolicy(), FilterTags(), _numbers, "100000", 600),
    ("alphabetical", AlphabeticalPolicy(), FilterTags(), _commits, "f" * 40, 600),
    ("calver", CalverPolicy(format="YYYY.0M.MICRO"), FilterTags(), _dates, "2026.01.1", 600),
]


def _fresh(tags: list[str]) -> tuple[str, ...]:
    """As parsed from an answer: new strings."""
    return tuple(json.loads(json.dumps(tags)))


def _row(work: str, runs: list[float], budget: float | None, flux: str = "–") -> Row:
    note = f"CPU time, best of {len(runs)}, worst {number(max(runs), 's')}"
    return Row(work=work, value=min(runs), unit="s", budget=budget, flux=flux, note=note)


def bench(repeats: int = 5) -> list[Row]:
    """CPU time, the best of some runs."""
    rows = []
    for name, strategy, filters, make, new, budget in _CASES:
        compiled = policy.compile(
            ImagePolicy(meta=Meta(key=ObjectKey("bench", "web")), image="web", strategy=strategy, filter_tags=filters)
        )
        tags = make()
        more = sorted([*tags, new])
        first, again = [], []
        for _ in range(repeats):
            before, after = _fresh(tags), _fresh(more)
            gc.collect()
            start = time.process_time()
            judged = policy.judge(compiled, before, {}, now=NOW)
            policy.gate(judged, compiled, {}, _PLAIN, now=NOW)
            middle = time.process_time()
            gc.collect()
            resumed = time.process_time()
            moved = policy.judge(compiled, after, {}, now=NOW, previous=judged)
            policy.gate(moved, compiled, {}, _PLAIN, now=NOW)
            end = time.process_time()
            if judged.chosen is None or moved.chosen is None or moved.chosen.tag != new:
                raise AssertionError(f"{name}: {judged.reason} / {moved.reason}")
            first.append(middle - start)
            again.append(end - resumed)
        work = f"judge {COUNT:,} tags, {name}"
        flux = "~210 ms" if name.startswith("semver") else "–"
        rows.append(_row(f"{work}: first", first, budget / _MILLISECONDS, flux))
        rows.append(_row(f"{work}: one new", again, 0.010))
    rows += (_newest(repeats), *_gated(repeats))
    return rows


def _gated(repeats: int) -> list[Row]:
    """The three best tags, and the new one, are too young: the fourth is chosen."""
    compiled = policy.compile(
        ImagePolicy(
            meta=Meta(key=ObjectKey("bench", "web")),
            image="web",
            strategy=SemverPolicy(range="*"),
            min_age=timedelta(hours=72),
        )
    )
    tags, new = _mixed(), "20.0.0"
    best = [verdict.tag for verdict in policy.judge(compiled, tags, {}, now=NOW).best(4)]
    digest = Digest("sha256:" + "a" * 64)
    facts = {tag: policy.TagFacts(digest=digest, bytes_seen=NOW) for tag in (new, *best)}
    facts[best[3]] = policy.TagFacts(digest=digest, bytes_seen=NOW - timedelta(days=4))
    first, again = [], []
    for _ in range(repeats):
        before, after = _fresh(tags), _fresh(sorted([*tags, new]))
        gc.collect()
        start = time.process_time()
        judged = policy.judge(compiled, before, facts, now=NOW)
        policy.gate(judged, compiled, facts, _PLAIN, now=NOW)
        middle = time.process_time()
        gc.collect()
        resumed = time.process_time()
        moved = policy.judge(compiled, after, facts, now=NOW, previous=judged)
        gated = policy.gate(moved, compiled, facts, _PLAIN, now=NOW)
        end = time.process_time()
        if gated.chosen is None or gated.chosen.tag != best[3]:
            raise AssertionError(gated.reason)
        first.append(middle - start)
        again.append(end - resumed)
    work = f"judge {COUNT:,} tags, semver *, the best are too young"
    return [_row(f"{work}: first", first, None), _row(f"{work}: one new", again, 0.010)]


def _newest(repeats: int) -> Row:
    compiled = policy.compile(
        ImagePolicy(meta=Meta(key=ObjectKey("bench", "web")), image="web", strategy=NewestPolicy())
    )
    tags = _commits()
    facts = {
        tag: policy.TagFacts(created=datetime.fromtimestamp(1_700_000_000 + n, tz=UTC)) for n, tag in enumerate(tags)
    }
    runs = []
    for _ in range(repeats):
        listed = _fresh(tags)
        start = time.process_time()
        judged = policy.judge(compiled, listed, facts, now=NOW)
        runs.append(time.process_time() - start)
        if judged.chosen is None:
            raise AssertionError(judged.reason)
    return _row(f"judge {COUNT:,} tags, newest, all dates known: first", runs, None)
