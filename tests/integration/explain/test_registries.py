"""`explain` against registries: answers, logins, and every way in which a list fails (no answer, exit 1, a reason)."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from image_updater.embedded import EmbeddedRegistry
from image_updater.embedded.auth import Auth
from image_updater.embedded.faults import PASS, Reply
from tests.integration.explain.running import Answer, check, explain, policy, run, write
from tests.parts import registries

if TYPE_CHECKING:
    from pathlib import Path

ANY = "{semver: {range: '*'}}"
LIST = r"GET /v2/app/tags/list"


@pytest.fixture
def registry() -> Iterator[EmbeddedRegistry]:
    """The embedded registry on a thread of its own: the command runs its own loop in this one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    served = EmbeddedRegistry()
    asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result(20)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for day, tag in enumerate(("1.0.0", "1.1.0", "main")):
        served.push("app", tag, created=start + timedelta(days=day))
    yield served
    asyncio.run_coroutine_threadsafe(served.__aexit__(None, None, None), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


def objects(registry: EmbeddedRegistry, strategy: str = ANY, *fields: str) -> str:
    return policy(strategy, "insecure: true", *fields, image=f"{registry.host}/app")


def ask(folder: Path, registry: EmbeddedRegistry, *arguments: str, fields: tuple[str, ...] = ()) -> Answer:
    return explain(folder, objects(registry, ANY, *fields), None, *arguments)


@pytest.mark.parametrize(
    ("strategy", "field", "chosen", "requests"),
    [
        (ANY, "", "1.1.0", {"GET tags": 1}),
        ("{alphabetical: {}}", "", "main", {"GET tags": 1}),
        ("{newest: {}}", "", "main", {"GET tags": 1, "GET manifests": 3, "GET blobs": 3}),
        (ANY, "digestReflectionPolicy: Always", "1.1.0", {"GET tags": 1, "HEAD manifests": 1}),
        (ANY, "digestReflectionPolicy: IfNotPresent", "1.1.0", {"GET tags": 1, "HEAD manifests": 1}),
        ("{digest: {tag: main}}", "", "main", {"GET tags": 1, "HEAD manifests": 1}),
        ("{digest: {tag: nope}}", "", None, {"GET tags": 1}),
        ("{newest: {by: pushed}}", "", None, {"GET tags": 1}),
        ("{semver: {range: ^9}}", "digestReflectionPolicy: Always", None, {"GET tags": 1}),
    ],
)
def test_only_what_could_still_win_is_asked_for(
    strategy: str, field: str, chosen: str | None, requests: dict[str, int], registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    answer = explain(tmp_path, objects(registry, strategy, *filter(None, [field])))
    assert (answer.code, answer.chosen) == (0, chosen), answer.stderr
    check(answer.report(), ["1.0.0", "1.1.0", "main"])
    assert dict(registry.requests) == requests


def test_policies_of_one_image_share_one_list(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    many = "---\n".join(
        policy(ANY, "insecure: true", image=f"{registry.host}/app", name=f"p{number}") for number in range(5)
    )
    assert explain(tmp_path, many).code == 0
    assert registry.requests == {"GET tags": 1}


@pytest.mark.parametrize("strategy", ["{newest: {}}", ANY])
def test_a_second_run_with_state_fetches_no_facts(strategy: str, registry: EmbeddedRegistry, tmp_path: Path) -> None:
    asked = objects(registry, strategy, "digestReflectionPolicy: IfNotPresent")
    state = ("--state", str(tmp_path / "state.sqlite"))
    first = explain(tmp_path, asked, None, *state)
    registry.requests.clear()
    second = explain(tmp_path, asked, None, *state)
    assert registry.requests == {"GET tags": 1}
    assert first.stdout == second.stdout


FAULTS: dict[str, tuple[Reply, str, str]] = {
    "401": (Reply(status=401), "AuthenticationFailed", "401"),
    "403": (Reply(status=403, body='{"errors":[{"code":"DENIED"}]}'), "PermissionDenied", "denies access"),
    "404": (Reply(status=404, body='{"errors":[{"code":"NAME_UNKNOWN"}]}'), "RepositoryNotFound", "does not exist"),
    "500": (Reply(status=500), "RegistryUnavailable", "500"),
    "503 in HTML": (Reply(status=503, body="<html>", content_type="text/html"), "RegistryUnavailable", "503"),
    "429": (Reply(status=429, headers=[("Retry-After", "3600")]), "RateLimited", "next try"),
    "204": (Reply(status=204), "RegistryUnavailable", "204"),
    "HTML": (Reply(body="<html></html>", content_type="text/html"), "InvalidAnswer", "<html>"),
    "truncated": (Reply(body='{"name":"app","tags":["9.0.0"'), "InvalidAnswer", "not JSON"),
    "cut": (Reply(body='{"name":"app","tags":["9.0.0"', cut=True), "RegistryUnavailable", "cut"),
    "empty": (Reply(body=""), "InvalidAnswer", "not JSON"),
    "null": (Reply(body="null"), "InvalidAnswer", "not a JSON object"),
    "a bare list": (Reply(body='["9.0.0"]'), "InvalidAnswer", "not a JSON object"),
    "no tags": (Reply(body='{"name":"app"}'), "InvalidAnswer", "no `tags`"),
    "tags as text": (Reply(body='{"tags":"9.0.0"}'), "InvalidAnswer", "not a list"),
    "an empty tag": (Reply(body='{"tags":["9.0.0",""]}'), "InvalidAnswer", "no name"),
    "a number": (Reply(body='{"tags":[9]}'), "InvalidAnswer", "no text"),
    "a null tag": (Reply(body='{"tags":[null]}'), "InvalidAnswer", "no text"),
    "a bad byte": (Reply(body=b'{"tags":["\xff"]}'), "InvalidAnswer", "not JSON"),
    "a circle": (Reply(status=302, headers=[("Location", "/v2/app/tags/list")]), "InvalidAnswer", "127.0.0.1"),
}


@pytest.mark.parametrize(("reply", "reason", "words"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("page", [1, 2])
def test_a_list_that_fails_on_any_page_is_no_answer(
    page: int, reply: Reply, reason: str, words: str, registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    registry.faults.page_size = 1
    registry.faults.always(LIST if page == 1 else LIST + ".*last=", reply)
    answer = ask(tmp_path, registry)
    assert answer.code == 1
    report = answer.report()
    assert report["chosen"] is None
    assert report["tags"] == []
    assert report["error"]["reason"] == reason
    assert words in report["reason"]
    assert "9.0.0" not in json.dumps(report["tags"])
    assert answer.stderr.startswith("error: default/web: ")


@pytest.mark.parametrize("fault", ["403", "429", "HTML", "truncated", "404"])
def test_an_answer_from_before_is_kept_told_and_chosen_by_nobody(
    fault: str, registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    state = ("--state", str(tmp_path / "state.sqlite"))
    assert ask(tmp_path, registry, *state).chosen == "1.1.0"
    registry.faults.always(LIST, FAULTS[fault][0])
    answer = ask(tmp_path, registry, *state)
    assert (answer.code, answer.chosen) == (1, None)
    assert answer.verdicts() == {"1.1.0": "held", "1.0.0": "eligible", "main": "rejected"}
    assert "kept from before is 1.1.0" in answer.reason()
    assert FAULTS[fault][2] in answer.reason("1.1.0")


def test_one_failure_is_asked_again(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    registry.faults.script(LIST, Reply(status=503), PASS)
    assert ask(tmp_path, registry).chosen == "1.1.0"


def test_a_registry_that_fails_for_one_policy_leaves_the_others_their_answer(
    registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    registry.push("other", "2.0.0")
    registry.faults.always(LIST, FAULTS["403"][0])
    both = objects(registry) + "---\n" + policy(ANY, "insecure: true", image=f"{registry.host}/other", name="other")
    answer = explain(tmp_path, both)
    assert answer.code == 1
    assert [each["chosen"] and each["chosen"]["tag"] for each in answer.reports] == [None, "2.0.0"]


@pytest.mark.parametrize("tags", ["null", "[]"])
def test_a_repository_without_tags_is_an_answer(tags: str, registry: EmbeddedRegistry, tmp_path: Path) -> None:
    registry.faults.always(LIST, Reply(body=f'{{"name":"app","tags":{tags}}}'))
    answer = ask(tmp_path, registry)
    assert (answer.code, answer.chosen) == (0, None)
    assert "no tags" in answer.reason()


def test_names_that_are_no_legal_tags_lose_alone(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    registry.faults.always(LIST, Reply(body='{"tags":["1.0.0","9.0.0+x","-9.0.0","9.0.0: {a: b}"]}'))
    answer = ask(tmp_path, registry)
    assert (answer.code, answer.chosen) == (0, "1.0.0")
    assert list(answer.verdicts().values()) == ["chosen", "rejected", "rejected", "rejected"]


def test_nobody_listens(tmp_path: Path) -> None:
    from tests.parts.tools import free_port

    answer = explain(tmp_path, policy(ANY, "insecure: true", "timeout: 2s", image=f"127.0.0.1:{free_port()}/app"))
    assert (answer.code, answer.chosen) == (1, None)
    assert answer.report()["error"]["reason"] == "RegistryUnavailable"


def test_a_digest_that_cannot_be_had_is_no_answer(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    registry.faults.always(r"(HEAD|GET) /v2/app/manifests", Reply(status=403))
    answer = ask(tmp_path, registry, fields=("digestReflectionPolicy: Always",))
    assert (answer.code, answer.chosen) == (1, None)
    check(answer.report(), ["1.0.0", "1.1.0", "main"])


def test_a_tag_whose_image_is_gone_is_rejected_and_the_next_wins(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    registry.faults.always(r"/v2/app/manifests/1\.1\.0", Reply(status=404))
    answer = ask(tmp_path, registry, fields=("digestReflectionPolicy: Always",))
    assert (answer.code, answer.chosen) == (0, "1.0.0")
    assert answer.verdicts()["1.1.0"] == "rejected"


# ------------------------------------------------------------------------------------------------ logins


def login(host: str, user: str = "puller", password: str = "secret") -> str:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return json.dumps({"auths": {host: {"auth": token}}})


def secret(name: str, **values: str) -> str:
    lines = "".join(f"  {key}: '{value}'\n" for key, value in values.items())
    return f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n{lines}"


@pytest.fixture(params=["basic", "bearer"])
def closed(request: pytest.FixtureRequest, registry: EmbeddedRegistry) -> EmbeddedRegistry:
    registry.faults.auth = Auth(scheme=request.param, users={"puller": "secret"}, anonymous=False)
    return registry


def test_a_secret_of_the_objects_logs_in(closed: EmbeddedRegistry, tmp_path: Path) -> None:
    asked = objects(closed, ANY, "secretRef: {name: ghcr}")
    assert explain(tmp_path, asked + secret("ghcr", username="puller", password="secret")).chosen == "1.1.0"
    config = secret("ghcr", **{".dockerconfigjson": login(closed.host)})
    assert explain(tmp_path, asked + config).chosen == "1.1.0"
    wrong = explain(tmp_path, asked + secret("ghcr", username="puller", password="wr0ng"))
    assert (wrong.code, wrong.chosen) == (1, None)
    assert "wr0ng" not in wrong.stdout + wrong.stderr


@pytest.mark.parametrize("place", ["ghcr", "default/ghcr"])
def test_a_secret_of_the_folder_logs_in(place: str, closed: EmbeddedRegistry, tmp_path: Path) -> None:
    asked = objects(closed, ANY, "secretRef: {name: ghcr}")
    folder = tmp_path / "secrets"
    (folder / place).mkdir(parents=True)
    (folder / place / ".dockerconfigjson").write_text(login(closed.host))
    assert explain(tmp_path, asked, None, "--secrets", str(folder)).chosen == "1.1.0"


def test_nobody_is_logged_in_by_a_link_that_leaves_the_folder(closed: EmbeddedRegistry, tmp_path: Path) -> None:
    asked = objects(closed, ANY, "secretRef: {name: ghcr}")
    folder = tmp_path / "secrets"
    (folder / "ghcr").mkdir(parents=True)
    (tmp_path / "outside").write_text(login(closed.host))
    (folder / "ghcr" / ".dockerconfigjson").symlink_to(tmp_path / "outside")
    answer = explain(tmp_path, asked, None, "--secrets", str(folder))
    assert answer.code == 2
    assert "outside the secrets folder" in answer.stderr
    assert not closed.requests


def test_the_local_docker_config_logs_in(
    closed: EmbeddedRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert ask(tmp_path, closed).code == 1
    (tmp_path / "config.json").write_text(login(closed.host))
    assert ask(tmp_path, closed).chosen == "1.1.0"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "no registry login"),
        ({".dockerconfigjson": "{"}, "JSON"),
        ({".dockerconfigjson": '{"auths": {"other.example": {"auth": "YTpi"}}}'}, "no login for"),
        ({"username": "puller"}, "no registry login"),
    ],
)
def test_a_secret_that_is_no_login_is_invalid_input(
    values: dict[str, str], words: str, registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    answer = explain(tmp_path, objects(registry, ANY, "secretRef: {name: ghcr}") + secret("ghcr", x="y", **values))
    assert answer.code == 2
    [error] = answer.errors
    assert words in error["message"]
    assert error["field"] == "spec.secretRef"
    assert error["line"]
    assert not registry.requests, "nobody was asked"


def test_a_missing_secrets_folder_is_invalid_input(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(ANY), ["1.0.0"], "--secrets", str(tmp_path / "nowhere"))
    assert answer.code == 2
    assert "nowhere" in answer.stderr


# ------------------------------------------------------------------------------------------------ a real one


@pytest.mark.parametrize("kind", ["debian", "v3"])
def test_a_real_registry(kind: str, tmp_path: Path) -> None:
    with registries.running(kind, tmp_path / kind) as real:
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": "2026-01-02T03:04:05Z",
                "rootfs": {"type": "layers", "diff_ids": []},
            }
        ).encode()
        digest = push(real.url, "acme/web", "1.0.0", config)
        real.tag_many("acme/web", ["1.1.0", "latest", *(f"0.{n}.0" for n in range(300))], digest)
        image = f"{real.host}/acme/web"
        answer = explain(tmp_path, policy(ANY, "insecure: true", "digestReflectionPolicy: Always", image=image))
        assert answer.report()["chosen"] == {"tag": "1.1.0", "digest": digest}
        assert len(answer.report()["tags"]) == 303
        newest = explain(
            tmp_path, policy("{newest: {}}", "insecure: true", "filterTags: {pattern: '^(1|l)'}", image=image)
        )
        assert newest.chosen == "latest", "equal dates of equal bytes: the greatest tag"
        gone = explain(tmp_path, policy(ANY, "insecure: true", image=f"{real.host}/acme/nobody"))
        assert (gone.code, gone.chosen) == (1, None)
        assert gone.report()["error"]["reason"] == "RepositoryNotFound"


def push(url: str, repository: str, tag: str, config: bytes) -> str:
    """An image without layers, by plain requests."""
    import hashlib

    name = "sha256:" + hashlib.sha256(config).hexdigest()
    _, headers, _ = registries.request("POST", f"{url}/v2/{repository}/blobs/uploads/", b"")
    place = headers["location"]
    place = f"{url}{place}" if place.startswith("/") else place
    joint = "&" if "?" in place else "?"
    octets = {"Content-Type": "application/octet-stream"}
    assert registries.request("PUT", f"{place}{joint}digest={name}", config, octets)[0] == 201
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": name, "size": len(config)},
            "layers": [],
        }
    ).encode()
    where = f"{url}/v2/{repository}/manifests/{tag}"
    assert registries.request("PUT", where, manifest, {"Content-Type": kind})[0] == 201
    return "sha256:" + hashlib.sha256(manifest).hexdigest()


def test_text_says_why_there_is_no_answer(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    registry.faults.always(LIST, FAULTS["403"][0])
    arguments = write(tmp_path, objects(registry))
    answer = run(*arguments, "-o", "text")
    assert answer.code == 1
    assert "denies access" in answer.stdout
    assert "error: default/web" in answer.stderr


def test_first_seen_dates_what_comes_after_the_first_list(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    asked, state = objects(registry, "{newest: {by: firstSeen}}"), ("--state", str(tmp_path / "state.sqlite"))
    answer = explain(tmp_path, asked, None, *state)
    assert (answer.code, answer.chosen) == (0, None)
    registry.push("app", "0.0.1")
    answer = explain(tmp_path, asked, None, *state)
    assert (answer.code, answer.chosen) == (0, "0.0.1")
    assert set(answer.verdicts().values()) == {"chosen", "rejected"}


def test_a_list_that_shrank_is_an_answer_that_says_so(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state.sqlite"))
    registry.tag_many("app", [f"0.{n}.0" for n in range(100)])
    assert ask(tmp_path, registry, *state).chosen == "1.1.0"
    registry.faults.always(LIST, Reply(body='{"name":"app","tags":["0.1.0"]}'))
    answer = ask(tmp_path, registry, *state)
    assert (answer.code, answer.chosen) == (0, "0.1.0")
    assert "shrank from 103 tags" in answer.reason()


def test_current_is_held_against_what_the_registry_dates(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    asked = objects(registry, "{newest: {}}", "filterTags: {pattern: '^1'}")
    assert explain(tmp_path, asked, None, "--current", "1.0.0").chosen == "1.1.0"
    answer = explain(tmp_path, asked, None, "--current", "1.9.0")
    assert answer.chosen is None
    assert "date of 1.9.0" in answer.reason()


def test_what_secrets_hold_stands_nowhere(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    registry.faults.auth = Auth(scheme="bearer", users={"puller": "hunter2"}, anonymous=False)
    asked = objects(registry, ANY, "secretRef: {name: ghcr}")
    state = tmp_path / "state.sqlite"
    for word in ("hunter2", "hunter3"):
        answer = explain(
            tmp_path, asked + secret("ghcr", username="puller", password=word), None, "--state", str(state)
        )
        assert word not in answer.stdout + answer.stderr
    assert b"hunter" not in b"".join(each.read_bytes() for each in tmp_path.glob("state.sqlite*"))


@pytest.mark.parametrize(
    ("reference", "values", "words"),
    [
        ("certSecretRef", {"a": "b"}, "neither ca.crt nor tls.crt"),
        ("certSecretRef", {"ca.crt": "x"}, "no PEM certificate"),
        ("certSecretRef", {"tls.key": "x"}, "neither ca.crt nor tls.crt"),
        ("certSecretRef", {"tls.crt": "x"}, "together"),
        ("proxySecretRef", {"address": "socks5://proxy:1080"}, "is not an http:// or https:// address"),
        ("proxySecretRef", {"address": "http://[::1"}, "is not an http:// or https:// address"),
        ("proxySecretRef", {"address": "http://proxy:99999"}, "is not an http:// or https:// address"),
        ("proxySecretRef", {"username": "a"}, "is not an http:// or https:// address"),
    ],
)
def test_a_secret_that_does_not_hold_what_it_should(
    reference: str, values: dict[str, str], words: str, registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    answer = explain(tmp_path, objects(registry, ANY, f"{reference}: {{name: s}}") + secret("s", **values))
    assert answer.code == 2
    [error] = answer.errors
    assert words in error["message"]
    assert (error["field"], error["line"]) == (f"spec.{reference}", 8)
    assert error["remedy"]
    assert not registry.requests


@pytest.mark.parametrize(
    ("values", "words"),
    [({"x": "y"}, "holds no public key"), ({"cosign.pub": "x"}, "cosign.pub of Secret default/keys is not PEM")],
)
def test_a_secret_without_usable_keys_is_invalid_input(
    values: dict[str, str], words: str, registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    signed = objects(registry, ANY, "verify: {secretRef: {name: keys}}")
    answer = explain(tmp_path, signed + secret("keys", **values))
    assert answer.code == 2
    [error] = answer.errors
    assert words in error["message"]
    assert (error["field"], error["line"]) == ("spec.verify.secretRef", 8)
    assert not registry.requests


@pytest.mark.parametrize(
    "config", ["{", "[]", '{"auths": []}', '{"auths": {"a": 1}}', '{"auths": {"a": {"auth": "!"}}}', "\xff"]
)
def test_a_local_docker_config_that_is_none(
    config: str, registry: EmbeddedRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_bytes(config.encode("latin-1"))
    answer = ask(tmp_path, registry)
    assert answer.code == 2
    [error] = answer.errors
    assert error["file"] == str(tmp_path / "config.json")
    assert error["remedy"]


@pytest.mark.parametrize("proxy", ["http://[", "socks5://127.0.0.1:1", "http://127.0.0.1:99999"])
def test_a_proxy_of_the_environment_that_is_none(proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    answer = explain(tmp_path, policy(ANY))
    assert answer.code == 2
    [error] = answer.errors
    assert "HTTPS_PROXY" in error["remedy"]


def test_a_list_of_more_pages_than_may_be_is_an_error_and_never_cut(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    registry.faults.page_size = 1
    assert ask(tmp_path, registry, "--max-pages", "3").chosen == "1.1.0"
    answer = ask(tmp_path, registry, "--max-pages", "2")
    assert (answer.code, answer.chosen) == (1, None)
    assert answer.report()["tags"] == []


def test_a_registry_that_does_not_answer_in_time_is_no_answer(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    registry.faults.page_delay = 30
    answer = ask(tmp_path, registry, fields=("timeout: 1s",))
    assert (answer.code, answer.chosen) == (1, None)
    assert answer.report()["error"]["reason"] == "RegistryUnavailable"
    assert "1" in answer.reason()
