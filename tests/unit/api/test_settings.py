from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from image_updater.errors import SpecError
from image_updater.settings import Color, LogFormat, Role, Settings, cache_folder


def test_flags_win_over_variables_and_variables_over_defaults() -> None:
    environment = {
        "IMAGE_UPDATER_STATE": "/a",
        "IMAGE_UPDATER_CACHE": "~/c",
        "IMAGE_UPDATER_CONCURRENCY": "8",
        "IMAGE_UPDATER_ALLOW_REMOTE_BASES": "Yes",
        "IMAGE_UPDATER_LOG_FORMAT": "JSON",
        "IMAGE_UPDATER_REGISTRY_RATE": "0.5",
        "IMAGE_UPDATER_HELM": "",
        "PATH": "/bin",
    }
    settings = Settings.load(environment, state=Path("/b"), color=Color.NEVER, kustomize=None)
    assert settings == Settings(
        state=Path("/b"),
        cache=Path("~/c").expanduser(),
        concurrency=8,
        allow_remote_bases=True,
        log_format=LogFormat.JSON,
        registry_rate=0.5,
        color=Color.NEVER,
    )
    assert Settings.load({}) == Settings()


def test_the_controllers_lists_are_comma_separated() -> None:
    environment = {
        "IMAGE_UPDATER_ROLES": "sync, Update,sync",
        "IMAGE_UPDATER_WATCH_NAMESPACES": "apps, ops,",
        "IMAGE_UPDATER_TAKE_OVER": "helm",
        "IMAGE_UPDATER_LEADER_ELECTION": "off",
    }
    assert Settings.load(environment) == Settings(
        roles=(Role.SYNC, Role.UPDATE), watch_namespaces=("apps", "ops"), take_over=("helm",), leader_election=False
    )


def test_a_flag_hides_a_broken_variable() -> None:
    assert Settings.load({"IMAGE_UPDATER_CONCURRENCY": "many"}, concurrency=2).concurrency == 2


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CONCURRENCY", "many", "'many' is not a whole number"),
        ("CONCURRENCY", "0", "'0' is not between 1 and 10000"),
        ("REGISTRY_RATE", "fast", "'fast' is not a number"),
        ("REGISTRY_RATE", "nan", "'nan' is not between"),
        ("ALLOW_REMOTE_BASES", "maybe", "'maybe' is neither true nor false"),
        ("ROLES", "update,all", "'update,all' is not one of update, sync, web"),
        ("ROLES", ",", "',' names none"),
        ("WATCH_NAMESPACES", "apps,A", "is not a name"),
        ("DEFAULT_SERVICE_ACCOUNT", " ", "is not a name"),
        ("COLOR", "blue", "'blue' is not one of auto, always, never"),
        ("LOG_LEVEL", "loud", "'loud' is not one of debug, info, warning, error"),
    ],
)
def test_a_bad_variable_is_named_with_its_meaning(name: str, value: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        Settings.load({f"IMAGE_UPDATER_{name}": value})
    assert message in caught.value.message
    assert caught.value.where.field == f"IMAGE_UPDATER_{name}"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("IMAGE_UPDATER_STAT", "did you mean IMAGE_UPDATER_STATE?"),
        ("IMAGE_UPDATER_MAXPAGES", "did you mean IMAGE_UPDATER_MAX_PAGES?"),
        ("IMAGE_UPDATER_X", "known are IMAGE_UPDATER_ALLOW_CROSS_NAMESPACE_REFS"),
    ],
)
def test_an_unknown_variable_is_reported(name: str, remedy: str) -> None:
    with pytest.raises(SpecError, match="unknown variable") as caught:
        Settings.load({name: "1"})
    assert remedy in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "name",
    [
        "IMAGE_UPDATER_DEBUG",
        "IMAGE_UPDATER_SERVICE_HOST",
        "IMAGE_UPDATER_SERVICE_PORT",
        "IMAGE_UPDATER_SERVICE_PORT_HTTP",
        "IMAGE_UPDATER_PORT",
        "IMAGE_UPDATER_PORT_8080_TCP",
        "IMAGE_UPDATER_PORT_8080_TCP_ADDR",
        "IMAGE_UPDATER_WEBHOOK_SERVICE_HOST",
        "_IMAGE_UPDATER_COMPLETE",
        "OTHER",
    ],
)
def test_what_a_cluster_or_a_shell_sets_is_no_mistake(name: str) -> None:
    assert Settings.load({name: "x"}) == Settings()


def test_every_setting_says_what_it_means() -> None:
    for each in dataclasses.fields(Settings):
        assert each.metadata["flag"].startswith("--")
        assert each.metadata["variable"].startswith("IMAGE_UPDATER_")
        assert each.metadata["help"].endswith(".")


@pytest.mark.parametrize(
    ("settings", "environment", "folder"),
    [
        (Settings(cache=Path("/c")), {"XDG_CACHE_HOME": "/x"}, "/c"),
        (Settings(), {"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/image-updater"),
        (Settings(), {"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/image-updater"),
    ],
)
def test_the_cache_folder_follows_xdg(settings: Settings, environment: dict[str, str], folder: str) -> None:
    assert cache_folder(settings, environment) == Path(folder)


def test_a_user_without_a_home_is_asked_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a number that the system's list of users does not know."""
    monkeypatch.delenv("HOME")
    nobody: dict[int, object] = {}
    monkeypatch.setattr("pwd.getpwuid", nobody.__getitem__)
    with pytest.raises(SpecError, match="--cache DIR"):
        cache_folder(Settings(), {})
    assert cache_folder(Settings(cache=Path("/c")), {}) == Path("/c")
    with pytest.raises(SpecError, match="not known here"):
        Settings.load({"IMAGE_UPDATER_STATE": "~/state"})
