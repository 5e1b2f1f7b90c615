"""What is kept of a file that was read for images alone is numbered as the whole file is."""

from __future__ import annotations

import pytest

from image_updater.kustomize.facts import read

BEARS = "kind: Deployment\nimage: acme/web:1.0\n"


@pytest.mark.parametrize(
    ("before", "number"),
    [
        ("", 0),
        ("---\n", 0),
        ("# a comment\n\n---\n", 0),
        ("kind: ConfigMap\ndata: {a: b}\n---\n", 1),
        ("# a comment\nkind: ConfigMap\n---\n", 1),
        ("  kind: ConfigMap\n---\n", 1),
        ("\ufeffkind: ConfigMap\n---\n", 1),
        ("{}\n---\n", 1),
        ("kind: ConfigMap\r\ndata: {a: b}\r\n---\r\n", 1),
        ("kind: ConfigMap\n---\n---\nkind: Secret\n---\n", 3),
        ("%YAML 1.1\n---\nkind: ConfigMap\n---\n", 1),
        ("kind: ConfigMap\n...\n---\nkind: Secret\n...\n---\n", 2),
    ],
    ids=[
        "alone",
        "a beginning",
        "a comment before it",
        "no beginning",
        "a comment, no beginning",
        "indented",
        "a byte order mark",
        "hardly a character",
        "CRLF",
        "an empty one",
        "a directive",
        "ends",
    ],
)
def test_documents_that_are_left_out_still_count(before: str, number: int) -> None:
    data = (before + BEARS).encode()
    whole, found = read(data, full=True), read(data, full=False)
    assert (whole.error, found.error) == (None, None)
    assert len(found.documents) == len(whole.documents) == number + 1
    assert found.documents[number] == whole.documents[number]  # with its offsets and lines
