"""`--tags FILE`, in all its forms, and every way to get it wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from image_updater.errors import SpecError
from image_updater.images import parse_name
from image_updater.pipeline.answers.tagsfile import TagsFile

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("1.0\n1.1\n", ("1.0", "1.1")),
        ("1.0\r\n\r\n  1.1  \r\n1.0\r\n", ("1.0", "1.1")),
        ("", ()),
        ('["1.0", {"tag": "1.1"}]', ("1.0", "1.1")),
        ('\n  ["1.0"]', ("1.0",)),
        ("[]", ()),
        ('{"docker.io/library/nginx": ["1.0"]}', ("1.0",)),
        ('{"nginx": null}', ()),
        ('{"other": ["1.0"]}', ()),
    ],
    ids=["lines", "crlf-blank-repeated", "empty", "list", "leading-space", "empty-list", "object", "null", "absent"],
)
def test_a_tags_file_is_the_complete_answer(text: str, tags: tuple[str, ...]) -> None:
    assert TagsFile.parse(text, file="tags").answer(parse_name("nginx")).tags == tags


def test_facts_are_read_as_they_stand() -> None:
    entry = {
        "tag": "1",
        "created": "2024-05-01T12:00:00.123456789+02:00",
        "digest": DIGEST,
        "platforms": ["linux/amd64"],
    }
    text = json.dumps([entry, "2"])
    facts = TagsFile.parse(text, file="tags").answer(parse_name("nginx")).facts
    assert facts["1"].created == datetime(2024, 5, 1, 10, 0, 0, 123456, tzinfo=UTC)
    assert (facts["1"].digest, facts["1"].platforms) == (DIGEST, ("linux/amd64",))
    assert facts["2"].created_known
    assert facts["2"].created is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["1.0"', "not JSON"),
        ("[1.0]", "got a number"),
        ("[null]", "got null"),
        ('[{"tag": 1}]', "must be a string"),
        ('[{"name": "x"}]', "unknown key 'name'"),
        ('[{"tag": "1", "created": "yesterday"}]', "RFC 3339"),
        ('[{"tag": "1", "created": "2024-02-30T00:00:00Z"}]', "not a time"),
        ('[{"tag": "1", "digest": "abc"}]', "not a digest"),
        ('[{"tag": "1", "platforms": "linux/amd64"}]', "list of strings"),
        ('["1", {"tag": "1", "created": "2024-05-01T12:00:00Z"}]', "different facts"),
        ('[""]', "empty"),
        ('{"nginx": "1.0"}', "expected a list"),
        ('{"Not A Name": []}', "not an image name"),
        ('{"nginx": [], "docker.io/library/nginx": []}', "the same image"),
        ('{"nginx": [], "nginx": []}', "stands twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_anything_else_is_an_error_that_names_the_file(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        TagsFile.parse(text, file="my-tags.json")
    assert caught.value.where.file == "my-tags.json"


def test_files_that_cannot_be_read_are_errors_too(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe1.0")
    for name in ("binary", "absent", "."):
        with pytest.raises(SpecError) as caught:
            TagsFile.read(tmp_path / name)
        assert caught.value.where.file == str(tmp_path / name)
