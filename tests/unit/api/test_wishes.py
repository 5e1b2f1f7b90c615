"""What people ask of a policy by annotations: read, written, and added to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater import api
from image_updater.api import wishes as w
from image_updater.api.model import Meta, ObjectKey

P = "image-updater.dev/"
NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
DIGEST = f"sha256:{'a' * 64}"


def wishes(**annotations: str) -> w.Wishes:
    meta = Meta(key=ObjectKey("apps", "web"), annotations={P + name: text for name, text in annotations.items()})
    return w.wishes_of(meta)


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, w.Wishes()),
        ({"requestedAt": "now", "hold": "the queue is full"}, w.Wishes(hold=w.HoldWish(reason="the queue is full"))),
        ({"hold": ""}, w.Wishes(hold=w.HoldWish(reason="no reason given"))),
        ({"hold": "the queue\n  is full"}, w.Wishes(hold=w.HoldWish(reason="the queue is full"))),
        ({"hold": "true"}, w.Wishes(hold=w.HoldWish(reason="no reason given"))),
        (
            {"hold": '{"reason":"x", "by":"ada", "at":"2026-03-01T12:30:00Z", "until":"2026-03-01T13:30:00+01:00"}'},
            w.Wishes(hold=w.HoldWish(reason="x", by="ada", at=NOW, until=NOW)),
        ),
        ({"resume": "2026-03-01T12:30:00Z"}, w.Wishes(resumed=NOW)),
        ({"resume": '{"at": "2026-03-01T12:30:00Z", "by": "ada"}'}, w.Wishes(resumed=NOW, resumed_by="ada")),
        (
            {"approvals": f"1.2, 1.3@{DIGEST},"},
            w.Wishes(approvals=(w.ApprovalWish(tag="1.2"), w.ApprovalWish(tag="1.3", digest=DIGEST))),
        ),
        (
            {"approvals": f'[{{"tag":"1.2", "digest":"{DIGEST}", "by":"ada", "at":"2026-03-01T12:30:00Z"}}, "1.3"]'},
            w.Wishes(
                approvals=(
                    w.ApprovalWish(tag="1.2", digest=DIGEST, by="ada", at=NOW),
                    w.ApprovalWish(tag="1.3"),
                )
            ),
        ),
        ({"deny": f"1.2,{DIGEST}"}, w.Wishes(denied=(w.DenyWish(what="1.2"), w.DenyWish(what=DIGEST)))),
        (
            {"deny": '{"what": "1.2", "by": "ada", "reason": "slow"}'},
            w.Wishes(denied=(w.DenyWish(what="1.2", by="ada", reason="slow"),)),
        ),
        ({"rollback": '{"at": "2026-03-01T12:30:00Z", "to": null}'}, w.Wishes(rollback=w.RollbackWish(at=NOW))),
        (
            {"rollback": '{"at": "2026-03-01T12:30:00.000007Z", "to": "1.1", "by": "a", "reason": "b"}'},
            w.Wishes(rollback=w.RollbackWish(at=NOW.replace(microsecond=7), to="1.1", by="a", reason="b")),
        ),
    ],
)
def test_annotations_are_read(annotations: dict[str, str], expected: w.Wishes) -> None:
    assert wishes(**annotations) == expected


@pytest.mark.parametrize(
    ("name", "value", "message", "remedy"),
    [
        ("hold", "false", "would be a hold for that reason", "remove the annotation"),
        ("hold", "{reason: x}", "is not JSON", "write a reason"),
        ("hold", '{"reason": 5}', "'reason' is not a string", None),
        ("hold", '{"until": "soon"}', "is not an RFC 3339 time", None),
        ("hold", '{"for": "1h"}', "has the unknown field 'for'", None),
        ("resume", "", "says no time", "image-updater resume"),
        ("resume", "yes", "is not an RFC 3339 time", None),
        ("resume", "{}", "says no time", None),
        ("approvals", "a b", "is not a tag", "image-updater approve"),
        ("approvals", "1.2@sha256:1", "is not a digest", None),
        ("approvals", "[5]", "where an object is expected", None),
        ("approvals", '[{"what": "1"}]', "has the unknown field 'what'", None),
        ("approvals", "[" + ",".join(['"1"'] * 501) + "]", "more than 500", None),
        ("deny", "1.*", "is neither a tag nor a digest", "image-updater deny"),
        ("rollback", "1.1", "could not be told apart", "image-updater rollback"),
        ("rollback", "{}", "has no 'at'", None),
        ("rollback", '{"at": "2026-03-01T12:30:00Z", "to": "a b"}', "is not a tag", None),
        ("rollback", "{" * 50_000, "is not JSON", None),
    ],
)
def test_an_annotation_that_cannot_be_read_is_an_error_of_its_policy(
    name: str, value: str, message: str, remedy: str | None
) -> None:
    text = api_policy({P + name: value})
    with pytest.raises(api.SpecErrors) as caught:
        api.load_text(text, "p.yaml")
    (error,) = caught.value.errors
    assert error.where.field == f"metadata.annotations[{P}{name}]"
    assert (error.where.file, error.where.line) == ("p.yaml", 5)
    assert message in error.message
    assert error.remedy
    assert remedy is None or remedy in error.remedy
    with pytest.raises(api.SpecErrors):
        wishes(**{name: value})


@pytest.mark.parametrize(("name", "meant"), [("holds", "hold"), ("approval", "approvals"), ("Hold", "hold")])
def test_a_mistyped_annotation_is_named(name: str, meant: str) -> None:
    with pytest.raises(api.SpecErrors) as caught:
        api.load_text(api_policy({P + name: "x"}))
    assert caught.value.errors[0].remedy == f"did you mean {P}{meant}?"


def test_annotations_of_others_are_nobodys_business() -> None:
    annotations = {"example.com/hold": "x", P + "requestedAt": "y", P + "reconcile": "disabled", P + "zzz": "z"}
    (policy,) = api.load_text(api_policy(annotations)).policies
    assert w.wishes_of(policy.meta) == w.Wishes()
    assert w.wish_annotations({**annotations, w.HOLD: "x"}) == {w.HOLD: "x"}


def api_policy(annotations: dict[str, str]) -> str:
    import json

    return (
        "apiVersion: image-updater.dev/v1alpha1\nkind: ImagePolicy\nmetadata:\n  name: web\n  annotations: "
        f"{json.dumps(annotations)}\nspec: {{image: a, policy: {{newest: {{}}}}}}\n"
    )


# ------------------------------------------------------------------------------------------- there and back

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), max_size=20)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DIGESTS = st.integers(0, 9).map(lambda i: f"sha256:{str(i) * 64}")
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001

WISHES = st.one_of(
    st.builds(w.HoldWish, reason=WORDS.filter(bool), by=WORDS, at=st.none() | MOMENTS, until=st.none() | MOMENTS),
    st.builds(w.ResumeWish, at=MOMENTS, by=WORDS),
    st.builds(w.ApprovalWish, tag=TAGS, by=WORDS, at=st.none() | MOMENTS, digest=st.none() | DIGESTS),
    st.builds(w.DenyWish, what=TAGS | DIGESTS, by=WORDS, at=st.none() | MOMENTS, reason=WORDS),
    st.builds(w.UndenyWish, what=TAGS),
    st.builds(w.RollbackWish, at=MOMENTS, to=st.none() | TAGS, by=WORDS, reason=WORDS),
)


@given(st.lists(WISHES, max_size=12))
def test_what_is_written_is_read_back(asked: list[w.Wish]) -> None:
    found = w.Wishes()
    for each in asked:
        found = w.wish(found, each)
    annotations = {name: text for name, text in w.to_annotations(found).items() if text is not None}
    assert w.read_wishes(annotations) == (found, ())


@given(st.dictionaries(st.sampled_from(sorted(w.READERS)), st.text() | st.recursive(st.none(), st.lists).map(str)))
def test_any_annotation_is_read_or_refused(annotations: dict[str, str]) -> None:
    found, errors = w.read_wishes(annotations)
    assert isinstance(found, w.Wishes)
    assert all(error.where.field and error.remedy for error in errors)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([w.HoldWish(reason="a"), w.HoldWish(reason="b")], {"hold": w.HoldWish(reason="b")}),
        ([w.HoldWish(reason="a"), w.ResumeWish(at=NOW, by="x")], {"resumed": NOW, "resumed_by": "x"}),
        (
            [w.ResumeWish(at=NOW), w.HoldWish(reason="a", at=NOW)],
            {"resumed": NOW, "hold": w.HoldWish(reason="a", at=NOW)},
        ),
        (
            [w.ApprovalWish(tag="1", by="a"), w.ApprovalWish(tag="1", by="b"), w.ApprovalWish(tag="1", by="a", at=NOW)],
            {"approvals": (w.ApprovalWish(tag="1", by="b"), w.ApprovalWish(tag="1", by="a", at=NOW))},
        ),
        ([w.DenyWish(what="1"), w.DenyWish(what="2"), w.UndenyWish(what="1")], {"denied": (w.DenyWish(what="2"),)}),
        ([w.UndenyWish(what="1")], {}),
    ],
)
def test_a_wish_takes_the_place_of_what_it_repeats_or_ends(asked: list[w.Wish], expected: dict[str, Any]) -> None:
    found = w.Wishes()
    for each in asked:
        found = w.wish(found, each)
    assert found == w.Wishes(**expected)


def test_the_last_fifty_approvals_stay() -> None:
    found = w.Wishes()
    for i in range(60):
        found = w.wish(found, w.ApprovalWish(tag=f"1.{i}", by="a"))
    assert [found.approvals[0].tag, len(found.approvals)] == ["1.10", 50]
