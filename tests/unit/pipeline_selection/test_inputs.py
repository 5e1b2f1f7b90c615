"""Moments, secrets and hints: small inputs with sharp edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from image_updater.api.model import Meta, ObjectKey, Objects, Secret
from image_updater.api.moments import exact_rfc3339, format_rfc3339, moment_of, parse_rfc3339
from image_updater.errors import SpecError
from image_updater.pipeline.answers.secrets import CurrentSecrets, secrets_of
from image_updater.pipeline.daemon.hints import MAX_IMAGES, Hints, Taken

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-01T12:00:00Z", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01t12:00:00z", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01 12:00:00.5+02:00", datetime(2024, 5, 1, 10, 0, 0, 500000, tzinfo=UTC)),
        ("2024-05-01T12:00:00.123456789-00:30", datetime(2024, 5, 1, 12, 30, 0, 123456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_rfc_3339_is_read(text: str, moment: datetime) -> None:
    assert parse_rfc3339(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-05-01",
        "2024-05-01T12:00:00",
        "20240501T120000Z",
        "2024-05-01T12:00Z",
        "2024-13-01T12:00:00Z",
        "2024-05-01T25:00:00Z",
        "2024-05-01T12:00:00+24:00",
        "0001-01-01T00:00:00+01:00",
        "２024-05-01T12:00:00Z",
        "2024-05-01T12:00:00Z\n",
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|out of range"):
        parse_rfc3339(text)
    assert moment_of(text) is None


def test_moments_are_written_in_utc_and_exactly_where_it_is_asked() -> None:
    there = timezone(timedelta(hours=2))
    moment = datetime(2024, 5, 1, 14, 0, 0, 7, tzinfo=there)
    assert format_rfc3339(moment) == "2024-05-01T12:00:00Z"
    assert exact_rfc3339(moment) == "2024-05-01T12:00:00.000007Z"
    assert exact_rfc3339(moment.replace(microsecond=0)) == "2024-05-01T12:00:00Z"
    assert moment_of(exact_rfc3339(moment)) == moment
    assert moment_of(None) is None
    with pytest.raises(ValueError, match="zone"):
        exact_rfc3339(datetime(2024, 5, 1))  # noqa: DTZ001  what must not be written


def test_secrets_come_from_the_objects_then_from_the_folder_of_the_namespace_then_of_the_name(tmp_path: Path) -> None:
    key = ObjectKey("apps", "git")
    assert secrets_of(Objects(), None)(key) is None
    (tmp_path / "git").mkdir()
    (tmp_path / "git" / "password").write_bytes(b"shared\n")
    (tmp_path / "git" / "..data").mkdir()
    store = secrets_of(Objects(), tmp_path)
    found = store(key)
    assert found is not None
    assert found.data == {"password": b"shared\n"}
    (tmp_path / "apps" / "git").mkdir(parents=True)
    (tmp_path / "apps" / "git" / "password").write_bytes(b"own")
    found = store(key)
    assert found is not None
    assert found.data == {"password": b"own"}
    secret = Secret(meta=Meta(key=key), data={"password": b"object"})
    assert secrets_of(Objects(secrets={key: secret}), tmp_path)(key) is secret


def test_the_daemon_s_secrets_follow_its_objects_and_never_leave_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    (folder / "git").mkdir(parents=True)
    (tmp_path / "passwd").write_bytes(b"root")
    (folder / "git" / "password").symlink_to(tmp_path / "passwd")
    key = ObjectKey("default", "git")
    secrets = CurrentSecrets(folder)
    with pytest.raises(SpecError, match="outside the secrets folder"):
        secrets(key)
    secret = Secret(meta=Meta(key=key), data={"password": b"object"})
    assert secrets.of({key: secret})(key) is secret
    secrets.objects = {key: secret}
    assert secrets(key) is secret


def test_hints_of_one_image_are_taken_together_and_many_become_one_list() -> None:
    hints = Hints()
    assert hints.put("a", "1") is Taken.STARTED
    assert hints.put("a", "1") is Taken.JOINED
    assert hints.take("a") == ("1",)
    for n in range(100):
        assert hints.put("a", str(n)) is Taken.JOINED
    assert hints.take("a") == (None,)
    assert hints.put("a", None) is Taken.JOINED
    assert hints.take("a") == (None,)
    assert hints.take("a") == ()
    assert hints.put("a", "2") is Taken.STARTED


def test_hints_for_too_many_images_are_dropped() -> None:
    hints = Hints()
    for n in range(MAX_IMAGES):
        assert hints.put(str(n), "1") is Taken.STARTED
    assert hints.put("one more", "1") is Taken.DROPPED
    hints.end("0")
    assert hints.put("one more", "1") is Taken.STARTED
