"""Which images a quarantine bars: by tag, by bytes, under which names, and until when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from image_updater.images import parse_name
from image_updater.policy.gating import bars, downgrade
from image_updater.policy.situation import Need, Origin, Quarantined, Situation
from tests.unit.policy.making import NOW, sha
from tests.unit.policy_gates.gating import HOUR, bad, gated, known, made, nobody_knows, pick, said

WEB = parse_name("ghcr.io/acme/web")


@pytest.mark.parametrize(
    ("entry", "tag", "digest", "barred"),
    [
        (bad("1.6.0"), "1.6.0", None, True),
        (bad("1.6.0"), "1.6.0", sha("a"), True),
        (bad("1.6.0"), "1.6.1", sha("a"), False),
        (bad("1.6.0", "a"), "1.6.0", sha("a"), True),
        (bad("1.6.0", "a"), "1.6.1", sha("a"), True),
        (bad("1.6.0", "a"), "1.6.0", sha("b"), False),
        (bad("1.6.0", "a"), "1.6.0", None, True),
        (bad("1.6.0", "a"), "1.6.1", None, False),
        (bad(None, "a"), "1.6.0", sha("a"), True),
        (bad(None, "a"), None, sha("a"), True),
        (bad(None, "a"), "1.6.0", None, False),
        (bad(None), "1.6.0", sha("a"), False),
        (bad("1.6.0", expires=NOW), "1.6.0", None, False),
        (bad("1.6.0", expires=NOW + HOUR), "1.6.0", None, True),
        (bad("1.6.0", image="ghcr.io/acme/other"), "1.6.0", None, False),
        (bad("1.6.0", image="GHCR.io/acme/web"), "1.6.0", None, True),
        (bad("1.6.0", image="no image at all"), "1.6.0", None, False),
    ],
)
def test_what_is_barred(entry: Quarantined, tag: str | None, digest: str | None, barred: bool) -> None:
    assert bars((entry,), WEB, tag, digest, NOW) == (entry if barred else None)


@pytest.mark.parametrize("name", ["nginx", "docker.io/nginx", "index.docker.io/library/nginx"])
def test_images_are_compared_as_images_are(name: str) -> None:
    entry = bad("1.6.0", image="docker.io/library/nginx")
    assert bars((entry,), parse_name(name), "1.6.0", None, NOW) == entry


def test_the_entry_that_lasts_longest_counts() -> None:
    short, long, ever = bad(expires=NOW + HOUR), bad(expires=NOW + 2 * HOUR), bad(reason="for good")
    assert bars((short, long), WEB, "1.6.0", None, NOW) == long
    assert bars((ever, long), WEB, "1.6.0", None, NOW) == ever
    answer = gated(made(), quarantined=(long, short))
    assert (pick(answer), answer.until) == ("1.5.0", NOW + 2 * HOUR)


def test_the_same_bytes_stay_bad_under_another_tag_and_new_bytes_are_new() -> None:
    facts = {"1.6.0": known("b"), "1.5.0": known("a"), "1.4.0": known("c")}
    answer = gated(made(), facts, quarantined=(bad("1.6.0", "a"),))
    assert pick(answer) == "1.6.0"
    above = gated(made(), facts | {"1.7.0": known("a")}, ("1.7.0", "1.6.0", "1.5.0"), quarantined=(bad("1.6.0", "a"),))
    assert pick(above) == "1.6.0"


def test_a_tag_that_is_barred_by_itself_needs_no_digest() -> None:
    answer = gated(made(), {"1.5.0": known("b")}, quarantined=(bad("1.6.0"), bad("1.3.0", "a")))
    assert (pick(answer), dict(answer.needs)) == ("1.5.0", {})


def test_where_nobody_knows_the_digest_the_tag_counts() -> None:
    facts = dict.fromkeys(("1.6.0", "1.5.0"), nobody_knows(Need.DIGEST))
    assert pick(gated(made(), facts, quarantined=(bad("1.6.0", "a"),))) == "1.5.0"


def test_asking_for_a_digest_ends_with_the_last_entry_that_has_one() -> None:
    entries = (bad("1.3.0", "a", expires=NOW + HOUR), bad("1.3.1", "b", expires=NOW + 2 * HOUR), bad("1.3.2"))
    answer = gated(made(), quarantined=entries)
    assert (pick(answer), answer.until, dict(answer.needs)) == (None, NOW + 2 * HOUR, {"1.6.0": {Need.DIGEST}})
    assert pick(gated(made(), quarantined=entries, now=NOW + 2 * HOUR)) == "1.6.0"


def test_an_entry_of_another_image_asks_for_nothing() -> None:
    answer = gated(made(), quarantined=(bad("1.6.0", "a", image="ghcr.io/acme/api"),))
    assert (pick(answer), dict(answer.needs)) == ("1.6.0", {})


@pytest.mark.parametrize(
    ("fields", "down"),
    [
        ({"origin": Origin.PERSON}, True),
        ({"origin": Origin.COMMIT}, False),
        ({"origin": Origin.ROLLOUT}, False),
        ({"origin": Origin.PERSON, "expires": NOW - timedelta(seconds=1)}, False),
        ({"origin": Origin.PERSON, "image": "ghcr.io/acme/api"}, False),
    ],
)
def test_only_a_person_makes_a_site_go_down(fields: dict[str, Any], down: bool) -> None:
    entry = bad("1.6.0", "a", **fields)
    situation = Situation(quarantined=(bad("1.6.0", origin=Origin.COMMIT), entry))
    assert downgrade(made(), situation, "1.6.0", sha("a"), NOW) == (entry if down else None)
    assert downgrade(made(), situation, "1.5.0", sha("b"), NOW) is None


def test_rejections_say_what_ends_them() -> None:
    entry = bad("1.6.0", reason="leaks memory", source="Quarantine apps/web-1", expires=NOW + HOUR)
    assert said(gated(made(), quarantined=(entry,)), "1.6.0")[1] == (
        "quarantined by Quarantine apps/web-1 until 13:00: leaks memory"
    )
