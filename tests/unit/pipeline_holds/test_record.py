"""What the commits of a branch record: images that are bad, people's word to stop, and what cannot be read of it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from image_updater.api.model import Author
from image_updater.git import CommitInfo
from image_updater.images import parse_name
from image_updater.pipeline.people.record import Record

START = datetime(2026, 11, 1, tzinfo=UTC)
DIGEST = f"sha256:{'a' * 64}"
OURS = "Automation: apps/fleet"


def commits(*trailers: str) -> list[CommitInfo]:
    """Newest first, one of each block of trailers, the oldest given first."""
    made = [
        CommitInfo(
            id=f"{number:040x}",
            tree="t",
            parents=(),
            message=f"Something\n\n{text}\n",
            author=Author(name="Ada", email="ada@acme.example"),
            when=START + timedelta(days=number),
        )
        for number, text in enumerate(trailers)
    ]
    return made[::-1]


def read(*trailers: str, files: dict[int, frozenset[str] | None] | None = None) -> Record:
    return Record().on(commits(*trailers), lambda commit: (files or {}).get(int(commit, 16), frozenset()))


def bad(record: Record) -> list[tuple[str, str | None, str | None]]:
    return [(each.image, each.tag, each.digest) for each in record.quarantined]


def test_a_quarantine_has_its_image_its_reason_and_its_commit() -> None:
    record = read(f"Rollback: it crashed\nQuarantine: acme/web:1.2@{DIGEST}\nQuarantine-Reason: 3 pods crash\n{OURS}")
    (found,) = record.quarantined
    assert (found.image, found.tag, found.digest) == ("acme/web", "1.2", DIGEST)
    assert (found.reason, found.source, found.since) == ("3 pods crash", "commit 000000000000", START)
    assert record.problems == ()


def test_a_reason_belongs_to_the_quarantine_above_it() -> None:
    record = read(f"Quarantine: acme/a:1\nQuarantine: acme/b:2\nQuarantine-Reason: b's\n{OURS}")
    assert [each.reason for each in record.quarantined] == ["", "b's"]


@pytest.mark.parametrize(
    ("release", "left"),
    [
        ("acme/web:1.2", 0),
        ("docker.io/acme/web:1.2", 0),
        (f"acme/web@{DIGEST}", 0),
        ("acme/web:1.3", 1),
        ("acme/api:1.2", 1),
        (f"acme/web:1.2@sha256:{'b' * 64}", 1),
    ],
)
def test_a_person_releases_what_they_name(release: str, left: int) -> None:
    record = read(f"Quarantine: acme/web:1.2@{DIGEST}\n{OURS}", f"Release: {release}")
    assert len(bad(record)) == left


def test_a_squashed_pull_request_of_ours_still_says_what_is_bad() -> None:
    body = f"Quarantine: acme/web:1.2@{DIGEST}\nQuarantine-Reason: 3 pods crash\nRelease: acme/api:1\n{OURS}"
    text = "Roll back (#7)\n\n* " + body.replace("\n", "\n  ")
    for end in ("", "\n\nCo-authored-by: Ada <ada@acme.example>"):
        record = read("Quarantine: acme/api:1", text + end)
        assert bad(record) == [("acme/api", "1", None), ("acme/web", "1.2", DIGEST)], "nobody has asked for the Release"
        assert record.quarantined[1].reason == "3 pods crash"
    assert read(text.replace(OURS, "Subject: x")).quarantined == (), "nothing of ours"


def test_a_release_counts_from_people_and_from_commands_of_people() -> None:
    quarantine = f"Quarantine: acme/web:1.2\n{OURS}"
    alone = read(quarantine, f"Release: acme/web:1.2\n{OURS}")
    assert len(alone.quarantined) == 1
    assert "no person made this commit" in alone.problems[0].reason
    assert read(quarantine, f"Release: acme/web:1.2\nAsked-By: ada\n{OURS}").quarantined == ()


def test_what_is_bad_again_after_a_release_is_bad() -> None:
    assert len(read("Quarantine: acme/web:1", "Release: acme/web:1", "Quarantine: acme/web:1").quarantined) == 1
    assert len(read("Quarantine: acme/web:1", "Quarantine: acme/web:1").quarantined) == 1


@pytest.mark.parametrize(
    ("trailer", "words"),
    [
        ("Quarantine: acme/web", "neither tag nor digest"),
        ("Quarantine: acme/web:1.2@sha256:short", "is not a digest"),
        ("Quarantine: acme/WEB:1.2", "is no image:tag"),
        ("Release: acme/web:", "is no image:tag"),
        ("Image-Updater: halt", "neither hold nor resume"),
    ],
)
def test_what_cannot_be_read_is_said(trailer: str, words: str) -> None:
    record = read(trailer)
    assert record.quarantined == ()
    assert record.directives == ()
    (problem,) = record.problems
    assert problem.file == "commit 000000000000"
    assert words in problem.reason


@pytest.mark.parametrize(
    "body",
    [
        "image-updater: hold",
        "IMAGE-UPDATER : Hold ",
        "Image-Updater: hold\r\n\r\nCo-authored-by: Bob <bob@acme.example>",
        "Image-Updater: hold\n\nCo-authored-by: Bob <bob@acme.example>",
        "Image-Updater: hold\nbecause of the fair, as Bob says",
        "* Wait (#7)\n\nImage-Updater: hold\n\n* More\n\nSigned-off-by: Ada <ada@acme.example>",
    ],
)
def test_a_persons_word_counts_in_any_case_and_paragraph(body: str) -> None:
    record = read(body)
    assert record.problems == ()
    assert record.directive(["any.yaml"]) is not None
    word = re.compile("image-updater ?: hold", re.IGNORECASE)
    assert read("Image-Updater: hold", word.sub("image-updater: Resume", body)).directive(["any.yaml"]) is None
    bad_one = f"Quarantine: acme/web:1.2\n{OURS}"
    assert read(bad_one, word.sub("release: acme/web:1.2", body)).quarantined == ()


@pytest.mark.parametrize(
    "body",
    [
        "  Image-Updater: hold\n  Release: acme/web:1.2",
        "> Image-Updater: hold\n> Release: acme/web:1.2",
        "Say `Image-Updater: hold` to wait, or Release: acme/web:1.2",
        "Release: see the notes\n\nRelease: 2.0\n\nthe end",
    ],
)
def test_what_a_text_quotes_or_says_in_passing_is_no_word(body: str) -> None:
    record = read(f"Quarantine: acme/web:1.2\n{OURS}", body)
    assert (len(record.quarantined), record.directives, record.problems) == (1, (), ())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("image-updater: wait\n\nSigned-off-by: Ada", "neither hold nor resume"),
        ("Image_Updater: hold", "write `Image-Updater: hold` below the subject"),
        ("Release: acme/web:1.2, it is fine\n\nthe end", "is no image:tag"),
        ("Quarantine: acme/web:1.2\n\nCo-authored-by: Bob", "in the last paragraph"),
        ("QUARANTINE: acme/web:1.2\n\nthe end", "in the last paragraph"),
    ],
)
def test_what_looks_like_a_word_and_is_none_is_said(body: str, words: str) -> None:
    record = read(body)
    assert (record.quarantined, record.directives) == ((), ())
    (problem,) = record.problems
    assert words in problem.reason


def test_a_persons_quarantine_counts_in_any_case() -> None:
    (found,) = read("quarantine: acme/web:1.0\nQUARANTINE-reason: it crashes").quarantined
    assert (found.tag, found.reason) == ("1.0", "it crashes")


def test_a_word_as_the_subject_is_said() -> None:
    (commit,) = commits("x")
    record = Record().on([replace(commit, message="Image-Updater: hold\n")], lambda _: frozenset())
    assert record.directives == ()
    assert "does not count in the subject" in record.problems[0].reason


def test_a_text_in_a_commit_of_ours_forges_nothing() -> None:
    text = "Image-Updater: resume\nRelease: acme/web:1.2\n\nQuarantine: acme/web:1.3\n\n"
    bad_one = f"Quarantine: acme/web:1.2\n{OURS}"
    record = read("Image-Updater: hold", bad_one, text + OURS)
    assert bad(record) == [("acme/web", "1.2", None)]
    assert record.directive(["any.yaml"]) is not None
    merged = read(bad_one, f"* Update\n\nRelease: acme/web:1.2\n{OURS}\n\nCo-authored-by: Bob")
    assert bad(merged) == [("acme/web", "1.2", None)], "quoted from us: nobody asked for it"
    assert "beside trailers of ours" in merged.problems[0].reason


def test_holds_are_about_the_files_of_their_commit() -> None:
    record = read(
        "Image-Updater: hold",
        "Image-Updater: hold",
        "Image-Updater: resume",
        files={0: frozenset({"a.yaml", "b.yaml"}), 1: frozenset({"c.yaml"}), 2: frozenset({"b.yaml"})},
    )
    held = {file: record.directive([file]) is not None for file in ("a.yaml", "b.yaml", "c.yaml", "d.yaml")}
    assert held == {"a.yaml": True, "b.yaml": False, "c.yaml": True, "d.yaml": False}
    assert record.directive(["d.yaml", "a.yaml"]) is not None, "a site in two files"


def test_an_empty_commit_is_about_the_whole_branch() -> None:
    everything = read("Image-Updater: hold")
    assert everything.directive(["any.yaml"]) is not None
    but_one = read("Image-Updater: hold", "Image-Updater: resume", files={1: frozenset({"a.yaml"})})
    assert but_one.directive(["a.yaml"]) is None
    assert but_one.directive(["b.yaml"]) is not None
    ended = read("Image-Updater: hold", "Image-Updater: resume", files={0: frozenset({"a.yaml"})})
    assert ended.directive(["a.yaml"]) is None


def test_resumes_are_about_the_files_of_their_commit_or_about_all() -> None:
    files: dict[int, frozenset[str] | None] = {
        0: frozenset({"a.yaml"}),
        1: frozenset({"b.yaml"}),
        2: frozenset({"a.yaml"}),
    }
    record = read("Image-Updater: resume", "Image-Updater: hold", "Image-Updater: resume", files=files)
    assert record.resumes("a.yaml") == (f"{2:040x}", f"{0:040x}")
    assert record.resumes("b.yaml") == record.resumes("c.yaml") == ()
    assert read("Image-Updater: resume").resumes("any.yaml") == (f"{0:040x}",)
    assert read(f"Image-Updater: resume\n{OURS}").resumes("any.yaml") == ()


def test_our_own_commits_give_no_word() -> None:
    assert read(f"Image-Updater: hold\n{OURS}").directives == ()


def test_a_word_whose_files_are_not_known_is_said_and_a_hold_then_holds_everything() -> None:
    record = read("Image-Updater: hold", files={0: None})
    (problem,) = record.problems
    assert "its parent was not fetched" in problem.reason
    assert record.directive(["any.yaml"]) is not None
    record = read("Image-Updater: hold", "Image-Updater: resume", files={1: None})
    assert len(record.problems) == 1
    assert record.directive(["any.yaml"]) is not None


def test_a_record_goes_on_where_it_ended() -> None:
    every = commits("Quarantine: acme/a:1", "Image-Updater: hold", "Release: acme/a:1\nQuarantine: acme/b:1", "x: y")
    whole = Record().on(every, lambda _: frozenset())
    for cut in range(len(every) + 1):
        older = Record().on(every[cut:], lambda _: frozenset())
        assert older.on(every[:cut], lambda _: frozenset()) == whole


def test_it_knows_which_commits_of_ours_moved_an_image() -> None:
    ours = f"Image-Policy: apps/web\nImage: acme/web\nNew: 1.2\nImage-Policy: apps/api\nImage: acme/api\n{OURS}"
    quoted = "* Image-Policy: apps/web\n* Image: docker.io/acme/web\n* New: 1.3\n\nMerged by hand"
    record = read(ours, "Image: acme/web", quoted)
    web, api, other = (list(record.moved(parse_name(name))) for name in ("acme/web", "acme/api", "acme/other"))
    assert [int(each, 16) for each in web] == [0, 2]
    assert [int(each, 16) for each in api] == [0]
    assert other == []
    assert record == read("Nothing", "Nothing", "Nothing"), "what holds is the same: nothing is chosen anew for it"
