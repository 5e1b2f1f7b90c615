"""A registry that fails while an update runs: never a decision on partial data, never in the way of the others."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from image_updater.embedded.auth import Auth
from image_updater.embedded.faults import Reply
from tests.integration.faults.harness import PASSWORD, Log, automation, fleet, policy, repository, running, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.faults.harness import Fleet, Registry

HTML = "<html><body>maintenance</body></html>"
ERROR = '{"errors": [{"code": "%s", "message": "the registry says %s"}]}'

FAULTS = {
    "s401": (Reply(status=401, body=ERROR % ("UNAUTHORIZED", "who are you")), "401|credentials|log in|login"),
    "s403": (Reply(status=403, body=ERROR % ("DENIED", "not for you")), "not for you"),
    "s404": (
        Reply(status=404, body=ERROR % ("NAME_UNKNOWN", "no such thing")),
        "no such thing|not exist|not there|no repository",
    ),
    "s500": (Reply(status=500, body=HTML), "500"),
    "s503": (Reply(status=503, body=HTML), "503"),
    "s429": (
        Reply(status=429, body=ERROR % ("TOOMANYREQUESTS", "slow down"), headers=[("Retry-After", "3600")]),
        "429|limit",
    ),
    "cut": (Reply(body='{"name": "acme/web", "tags": ["1.0.0", "9.', cut=True), "."),
    "half": (Reply(body='{"name": "acme/web", "tags": ["1.0.0", "9.'), "JSON"),
    "html": (Reply(body=HTML, content_type="text/html"), "JSON"),
    "no-tags": (Reply(body='{"name": "acme/web"}'), "tags"),
    "numbers": (Reply(body='{"name": "acme/web", "tags": [1, 2]}'), "tags"),
    "deep": (Reply(body="[" * 100_000), "JSON"),
    "not-utf8": (Reply(body=b'{"name": "acme/web", "tags": ["\xff\xfe"]}'), "."),
    "redirect-away": (Reply(status=307, headers=[("Location", "http://registry.invalid/v2/")]), "."),
}


def break_lists(stage: Fleet, page: int) -> None:
    """Break a page of every list that is named after a fault; the pages before it hold better tags than Git does."""
    faults = stage.registry.server.faults
    faults.page_size = 2
    for name in stage.names:
        stage.registry.push(f"acme/{name}", "1.2.0", "1.3.0", "1.4.0", "1.5.0")
        if name in FAULTS:
            query = r"(?!.*last=)" if page == 1 else r".*last=1\.1\.0"
            faults.always(rf"GET /v2/acme/{name}/tags/list{query}", FAULTS[name][0])


OF_ONE_LIST = tuple(name for name in FAULTS if name != "s429")


@pytest.mark.parametrize(
    ("page", "known"), [(1, "no-state"), (2, "state"), (2, "known-before")], ids=["first-page", "later-page", "known"]
)
def test_a_failing_list_holds_its_policy_and_no_other(
    registry: Registry, tmp_path: Path, page: int, known: str
) -> None:
    stage = fleet(registry, tmp_path, names=(*OF_ONE_LIST, "good"))
    state = [] if known == "no-state" else ["--state", str(tmp_path / "state.sqlite")]
    first = "1.0.0"
    if known == "known-before":
        assert stage.update("--push", *state).code == 0
        first = "1.1.0"
    commits = len(stage.log)
    break_lists(stage, page)
    result = stage.update("--push", *state)
    assert result.code == 1, result.err
    assert stage.tags == {**dict.fromkeys(OF_ONE_LIST, first), "good": "1.5.0"}
    assert len(stage.log) == commits + 1
    for name in OF_ONE_LIST:
        file = f"{name}/deployment.yaml"
        assert result.states[file] == "held"
        assert re.search(FAULTS[name][1], result.reason(file)), (name, result.reason(file))
        assert f"default/{name}: " in result.err
        # Git holds what the kept answer says, so nothing needs to be said of it; but it is there to be read.
        assert (known != "known-before") or "the answer kept from before is 1.1.0" in result.reason(file)
    assert result.states["good/deployment.yaml"] == "updated"

    # The registry recovers: what was held goes on, once.
    registry.server.faults.scripts.clear()
    result = stage.update("--push", *state)
    assert result.code == 0, result.err
    assert set(stage.tags.values()) == {"1.5.0"}
    assert len(stage.log) == commits + 1 + len(OF_ONE_LIST)
    stage.sound()


def test_a_host_that_says_429_is_left_alone_and_everything_on_it_waits(stage: Fleet, tmp_path: Path) -> None:
    stage.registry.server.faults.always(r"/v2/acme/web/tags/list", FAULTS["s429"][0])
    result = stage.update("--push")
    assert result.code == 1
    assert stage.tag("web") == "1.0.0"
    assert result.states["web/deployment.yaml"] == "held"
    # The other image was asked at the same moment: either it had its answer already, or it waits too.
    assert result.states["api/deployment.yaml"] == ("updated" if stage.tag("api") == "1.1.0" else "held")
    assert stage.registry.server.requests["GET tags"] <= 3


def test_a_token_that_expires_in_mid_list_is_renewed_and_the_list_is_whole(stage: Fleet, tmp_path: Path) -> None:
    faults = stage.registry.server.faults
    faults.page_size = 1
    stage.registry.push("acme/web", "1.2.0", "1.3.0", "1.4.0", "1.5.0")
    auth = faults.auth = Auth(users={"puller": PASSWORD}, anonymous=False, uses=2)
    login = json.dumps({"auths": {stage.registry.host: {"username": "puller", "password": PASSWORD}}})
    (tmp_path / "secrets" / "pull").mkdir(parents=True)
    (tmp_path / "secrets" / "pull" / ".dockerconfigjson").write_text(login)
    more = "\n  secretRef: {name: pull}"
    stage.write(
        "".join(policy(name, stage.image(name), more=more) for name in stage.names)
        + repository(stage.url)
        + automation()
    )
    secrets = ["--secrets", str(tmp_path / "secrets")]
    result = stage.update("--push", *secrets)
    assert result.code == 0, result.err
    assert stage.tags == {"web": "1.5.0", "api": "1.1.0"}
    assert len(auth.grants) > 2

    # The account is locked between two pages: nothing is known of the rest, so nothing is chosen from the start of it.
    stage.registry.push("acme/web", "1.6.0", "1.7.0")
    auth.users = {}
    tip = stage.tip
    result = stage.update("--push", *secrets)
    assert result.code == 1
    assert stage.tip == tip
    assert set(result.states.values()) == {"held"}
    stage.sound()


def test_a_list_that_shrank_or_is_empty_changes_nothing_and_says_so(stage: Fleet, tmp_path: Path) -> None:
    registry = stage.registry
    registry.push("acme/web", *(f"1.2.{n}" for n in range(40)))
    state = ["--state", str(tmp_path / "state.sqlite")]
    assert stage.update("--push", *state).code == 0
    assert stage.tags == {"web": "1.2.39", "api": "1.1.0"}
    tip = stage.tip

    # Most of it is gone: a registry's garbage collection, or half an answer that looks whole. Never down.
    registry.server.faults.page_size = None
    registry.server.faults.always(r"acme/web/tags/list", Reply(body='{"name": "acme/web", "tags": ["1.0.0", "1.2.7"]}'))
    registry.server.faults.always(r"acme/api/tags/list", Reply(body='{"name": "acme/api", "tags": null}'))
    result = stage.update("--push", *state)
    assert (result.code, stage.tip) == (0, tip)
    assert result.states["web/deployment.yaml"] in ("held", "refused")
    assert "1.2.39" in result.reason("web/deployment.yaml")
    assert result.states["api/deployment.yaml"] == "held"
    assert result.reason("api/deployment.yaml")

    registry.server.faults.always(r"acme/web/tags/list", Reply(body='{"name": "acme/web", "tags": []}'))
    result = stage.update("--push")
    assert (result.code, stage.tip) == (0, tip)


def test_a_slow_registry_runs_into_the_time_limit_of_its_policy_alone(stage: Fleet) -> None:
    stage.registry.server.faults.always(r"acme/web/tags/list", Reply(body="{}", delay=30))
    stage.write(
        policy("web", stage.image("web"), timeout="1s")
        + policy("api", stage.image("api"))
        + repository(stage.url)
        + automation()
    )
    started = time.monotonic()
    result = stage.update("--push")
    assert time.monotonic() - started < 20
    assert result.code == 1
    assert stage.tags == {"web": "1.0.0", "api": "1.1.0"}
    assert re.search("1 s|time", result.reason("web/deployment.yaml")), result.reason("web/deployment.yaml")


@pytest.mark.parametrize(
    ("strategy", "request_"),
    [
        ("digestReflectionPolicy: Always\n  policy: {semver: {range: '>=1'}}", r"(HEAD|GET) /v2/acme/web/manifests"),
        ("policy: {newest: {by: created}}", r"GET /v2/acme/web/blobs"),
        ("policy: {newest: {by: created}}", r"(HEAD|GET) /v2/acme/web/manifests/(1\.0\.0|sha256)"),
        ("policy: {digest: {tag: '1.1.0'}}", r"(HEAD|GET) /v2/acme/web/manifests"),
    ],
    ids=["digest", "config", "manifest", "followed-tag"],
)
@pytest.mark.parametrize(
    "fault",
    [Reply(status=403), Reply(body="{", cut=True)],
    ids=["403", "cut"],
)
def test_facts_that_cannot_be_had_hold_their_policy(stage: Fleet, strategy: str, request_: str, fault: Reply) -> None:
    stage.registry.server.faults.always(request_, fault)
    text = policy("web", stage.image("web")).replace("policy: {semver: {range: '>=1.0'}}", strategy)
    stage.write(text + policy("api", stage.image("api")) + repository(stage.url) + automation())
    result = stage.update("--push")
    assert stage.tags == {"web": "1.0.0", "api": "1.1.0"}, result.report["sites"]
    assert result.states["web/deployment.yaml"] == "held"
    assert result.reason("web/deployment.yaml")
    stage.sound()


def test_the_daemon_keeps_its_answers_says_why_and_commits_nothing_until_the_registry_is_back(
    registry: Registry, tmp_path: Path
) -> None:
    stage = fleet(registry, tmp_path, names=(*OF_ONE_LIST, "good"))
    stage.write(
        "".join(policy(name, stage.image(name), interval="1s", timeout="2s") for name in stage.names)
        + repository(stage.url)
        + automation(interval="2s")
    )
    started = stage.home.start(
        "run", "-f", str(stage.objects), "--listen", "127.0.0.1:0", "--log-format", "json",
        "--state", str(tmp_path / "run.sqlite"),
    )  # fmt: skip
    with running(started) as process:
        log = Log(process)
        address = log.until(r'listening on (\S+?)"')[1]

        def metrics() -> str:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                return str(answer.read().decode())

        until(lambda: set(stage.tags.values()) == {"1.1.0"})
        break_lists(stage, 2)
        until(lambda: f'image_updater_policies{{state="failed"}} {len(OF_ONE_LIST)}.0' in metrics())
        until(lambda: stage.tag("good") == "1.5.0")
        assert stage.tags == {**dict.fromkeys(OF_ONE_LIST, "1.1.0"), "good": "1.5.0"}
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=10) as answer:
            assert answer.status == 200, "a registry's fault is no reason to be restarted"
        commits = len(stage.log)

        registry.server.faults.scripts.clear()
        until(lambda: set(stage.tags.values()) == {"1.5.0"})
        process.send_signal(signal.SIGTERM)
        text = log.rest()
        assert process.wait(20) == 0
    said = [json.loads(line) for line in text.splitlines()]
    for name in OF_ONE_LIST:
        warnings = [
            line["message"] for line in said if line["level"] == "warning" and line.get("policy") == f"default/{name}"
        ]
        assert warnings, name
        assert re.search(FAULTS[name][1], warnings[0])
        assert "the answer kept from before is 1.1.0" in warnings[0]
    assert "Traceback" not in text
    assert len(stage.log) > commits
    stage.sound()
