"""Spellings of one repository are one key; nothing secret is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from image_updater.errors import SpecError
from image_updater.git import urls

SAME = [
    "ssh://git@github.com:22/org/repo.git",
    "ssh://git@github.com/org/repo",
    "git@github.com:org/repo",
    "git@github.com:/org/repo.git",
    "github.com:org/repo.git",
    "https://github.com/org/repo",
    "https://user@GitHub.com/org/repo.git/",
    "https://user:t0ken@github.com:443/org/repo.git",
    "http://github.com:80/org//repo",
    "ssh://git@ssh.github.com:443/org/repo.git",
    "git+ssh://git@github.com/org/repo.git",
    "https://github.com./org/repo",
    "https://github.com/org/re%70o",
]


@pytest.mark.parametrize("url", SAME)
def test_spellings_are_one_key(url: str) -> None:
    assert urls.normalise(url) == "github.com/org/repo"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://host/org/repo", "https://host:8443/org/repo"),
        ("https://host/org/repo", "https://host/Org/repo"),
        ("https://host/org/repo", "https://host/org/repo2"),
        ("ssh://git@host:2222/org/repo", "ssh://git@host/org/repo"),
        ("https://host/org/repo", "https://other/org/repo"),
    ],
    ids=["port", "case of the path", "name", "ssh port", "host"],
)
def test_different_repositories_stay_apart(one: str, other: str) -> None:
    assert urls.normalise(one) != urls.normalise(other)


def test_paths_and_file_urls_are_one_key(tmp_path: Path) -> None:
    (tmp_path / "r.git").mkdir()
    (tmp_path / "l").symlink_to("r.git")
    key = urls.normalise(str(tmp_path / "r.git"))
    assert key == urls.normalise(f"file://{tmp_path}/r.git") == urls.normalise(str(tmp_path / "l"))


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://me:s3cret@Host/o/r.git", "https://host/o/r.git"),
        ("git@host:o/r", "ssh://git@host/o/r"),
        ("git@host:~me/r", "ssh://git@host/~me/r"),
        ("ssh://git@[::1]:2222/o/r", "ssh://git@[::1]:2222/o/r"),
        ("ssh://git@host:22/o/r", "ssh://git@host/o/r"),
    ],
)
def test_what_is_connected_to_has_no_password(url: str, bare: str) -> None:
    address = urls.parse(url)
    assert address.bare.replace("/~", "/~") == bare or address.bare == bare.replace("host/~", "host~")
    assert "s3cret" not in repr(address)


@pytest.mark.parametrize(
    "url", ["", "ftp://host/x", "https://host", "https://host:99999/x/y", "https://", "https://h/x\n", "half\ud800"]
)
def test_what_is_no_repository_is_refused_with_a_remedy(url: str) -> None:
    if url.endswith("\n"):
        url = "https://h/x\ny"
    with pytest.raises(SpecError) as caught:
        urls.parse(url)
    assert caught.value.remedy


def test_redact_removes_every_login() -> None:
    text = "fatal: https://u:p@a.b/c and ssh://git@h/x failed"
    assert urls.redact(text) == "fatal: https://a.b/c and ssh://h/x failed"


@pytest.mark.parametrize(
    "url",
    ["https://user:s3cr/et@host/x", "https://user:s3cr?et@host/x", "ftp://u:s3cr#et@h/x", "https://u:s3cret@h:99999/x"],
)
def test_a_password_that_breaks_the_url_is_not_repeated(url: str) -> None:
    with pytest.raises(SpecError) as caught:
        urls.parse(url)
    assert "s3cr" not in str(caught.value)
    assert "percent-encoded" in str(caught.value)
