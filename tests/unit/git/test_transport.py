"""libgit2's errors in our words, and what a server says without its progress bars."""

from __future__ import annotations

import pygit2
import pytest

from image_updater.errors import ImageUpdaterError
from image_updater.git import errors, urls
from image_updater.git.access import GitAccess
from image_updater.git.pushing import _refusal
from image_updater.git.transport import Callbacks, translate


def callbacks(url: str = "https://host/o/r", **more: object) -> Callbacks:
    return Callbacks(urls.parse(url), GitAccess(**more), deadline=1e18)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("unexpected http status code: 401", errors.GitAuthenticationFailed),
        ("unexpected http status code: 403", errors.PermissionDenied),
        ("unexpected http status code: 404", errors.RepositoryNotFound),
        ("unexpected http status code: 500", errors.GitUnavailable),
        ("unexpected http status code: 429", errors.GitUnavailable),
        ("remote authentication required but no callback set", errors.GitAuthenticationFailed),
        ("proxy authentication required", errors.GitAuthenticationFailed),
        ("contains commits that are not present locally", errors.PushRaced),
        ("cannot push non-fastforwardable reference", errors.PushRaced),
        ("repository path '/x' is not owned by current user", errors.PermissionDenied),
        ("cannot redirect from 'a' to 'b'", errors.RepositoryNotFound),
        ("failed to connect to host: Connection refused", errors.GitUnavailable),
        ("SSL error: unexpected EOF", errors.GitUnavailable),
        ("something new", errors.GitUnavailable),
        ("https://user:s3cret@host/x broke", errors.GitUnavailable),
    ],
)
def test_an_error_says_what_happens_next(text: str, error: type[ImageUpdaterError]) -> None:
    found = translate(pygit2.GitError(text), callbacks())
    assert type(found) is error
    assert found.remedy
    assert "s3cret" not in str(found)


def test_damage_is_told_from_a_broken_connection() -> None:
    damaged = pygit2.GitError("object not found - no match for id (1234)")
    damaged.error_class = 9  # type: ignore[attr-defined]
    assert type(translate(damaged, callbacks())) is errors.MirrorDamaged
    assert type(translate(KeyError("1234"), callbacks())) is errors.MirrorDamaged


def test_an_alias_of_the_ssh_configuration_is_explained() -> None:
    found = translate(pygit2.GitError("failed to resolve address for gh: unknown"), callbacks("gh:me/app"))
    assert "~/.ssh/config" in (found.remedy or "")


def test_words_are_the_servers_without_progress() -> None:
    call = callbacks()
    for part in (
        "Resolving deltas:  50%\rResolving deltas: 100%, done.\n",
        "error: no",
        "t today\nsee https://u:p@x/y\n",
        "\n",
    ):
        call.sideband_bytes(part.encode())
    assert call.words == "error: not today\nsee https://x/y"


@pytest.mark.parametrize(
    ("message", "said", "error", "remedy"),
    [
        ("pre-receive hook declined", "frozen\n", errors.PushRefused, "rules decide"),
        (
            "protected branch hook declined",
            "error: GH006: Protected branch update failed\n",
            errors.PushRefused,
            "push.branch",
        ),
        ("pre-receive hook declined", "please fetch first the form\n", errors.PushRefused, "rules decide"),
        ("failed to update ref", "", errors.PushRaced, "again"),
        ("non-fast-forward", "", errors.PushRaced, "again"),
        ("permission denied", "", errors.PermissionDenied, "write access"),
    ],
)
def test_a_refused_reference(message: str, said: str, error: type[Exception], remedy: str) -> None:
    call = callbacks()
    call.sideband_bytes(said.encode())
    found = _refusal(call, message, "main", "1" * 40)
    assert type(found) is error
    assert remedy in str(found)
    if isinstance(found, errors.PushRefused):
        assert found.words == said.strip()


def test_credentials_are_offered_once() -> None:
    from pygit2.enums import CredentialType

    call = callbacks(username="u", password="s3cret")
    assert call.credentials("", None, CredentialType.USERPASS_PLAINTEXT)
    with pytest.raises(errors.GitAuthenticationFailed, match="refuses our credentials") as caught:
        call.credentials("", None, CredentialType.USERPASS_PLAINTEXT)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(errors.GitAuthenticationFailed, match="there are none"):
        callbacks().credentials("", None, CredentialType.USERPASS_PLAINTEXT)
