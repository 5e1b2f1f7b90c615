"""Which differences are told, in which words, and what is never shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.sync.drift import LIMIT, MASK, difference


def spec(value: Any) -> dict[str, Any]:
    return {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "x"}, "spec": value}


def containers(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "other", "image": "o:1"}, {"name": "web", **fields}]}


@pytest.mark.parametrize(
    ("live", "wanted", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, ["spec.a: 1 → true"]),
        ({"replicas": 5}, {"replicas": 3}, ["spec.replicas: 5 → 3"]),
        ({"a": "x"}, {}, ["spec.a: x → (absent)"]),
        ({}, {"a": None}, ["spec.a: (absent) → null"]),
        ({"a": ""}, {"a": "x"}, ['spec.a: "" → x']),
        ({"a": " x"}, {"a": "x\ny"}, ['spec.a: " x" → "x\\ny"']),
        ({"a": "\x1b[2J"}, {"a": "x"}, ['spec.a: "\\u001b[2J" → x']),
        ({"a": {"b": 1, "c": 2}}, {"a": 1}, ["spec.a: {2 fields} → 1"]),
        ({"a": [1]}, {"a": {"b": 1}}, ["spec.a: [1 item] → {1 field}"]),
        ({"a": "x" * 100}, {"a": "y"}, [f"spec.a: {'x' * 59}… → y"]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, ["spec.a[1]: 2 → 3", "spec.a[2]: (absent) → 4"]),
        ({"a/b": 1}, {"a/b": 2}, ['spec["a/b"]: 1 → 2']),
        (containers(image="a:1"), containers(image="a:2"), ["spec.containers[name=web].image: a:1 → a:2"]),
        (
            {"l": [{"name": "a"}, {"name": "b"}]},
            {"l": [{"name": "b"}, {"name": "c", "v": 1}]},
            ["spec.l[name=a]: {1 field} → (absent)", "spec.l[name=c]: (absent) → {2 fields}"],
        ),
        (
            {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
            {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 54, "protocol": "TCP"}]},
            ["spec.ports[1].port: 53 → 54"],
        ),
        (
            {"volumeMounts": [{"name": "d", "mountPath": "/a"}, {"name": "d", "mountPath": "/b"}]},
            {"volumeMounts": [{"name": "d", "mountPath": "/b", "readOnly": True}, {"name": "d", "mountPath": "/a"}]},
            ["spec.volumeMounts[mountPath=/b].readOnly: (absent) → true"],
        ),
    ],
)  # fmt: skip
def test_differences_are_told_by_path(live: Any, wanted: Any, lines: list[str]) -> None:
    assert list(difference(spec(live), spec(wanted))) == lines


def test_what_is_the_servers_is_left_out() -> None:
    live = {**spec({}), "status": {"a": 1}}
    live["metadata"] = {"name": "x", "uid": "1", "resourceVersion": "5", "generation": 2, "managedFields": [1]}
    assert difference(live, {**spec({}), "status": {"a": 2}}) == ()


def test_what_a_controller_wrote_between_the_two_reads_is_left_out() -> None:
    live, wanted = spec({"image": "a", "revision": 1, "mine": 1}), spec({"image": "b", "revision": 2, "new": 3})
    assert difference(live, wanted, spec({"image": "b", "new": 3})) == (
        "spec.image: a → b",
        "spec.mine: 1 → (absent)",
        "spec.new: (absent) → 3",
    )
    live, wanted = (spec({"l": [{"name": "a", "x": n, "y": n}]}) for n in (1, 2))
    assert difference(live, wanted, spec({"l": [{"name": "a", "x": 2}]})) == ("spec.l[name=a].x: 1 → 2",)


def test_no_more_than_the_limit_is_told() -> None:
    found = difference(spec({f"a{n:02}": 1 for n in range(LIMIT + 5)}), spec({}))
    assert len(found) == LIMIT + 1
    assert found[-1] == "and 5 more"
    assert len(difference(spec({f"a{n:02}": 1 for n in range(LIMIT)}), spec({}))) == LIMIT


HIDDEN = "hunter2hunter2"
SECRET_FIELDS = ("password", "clientSecret", "accessKey", "bearerToken", "tls.key")
SECRET_VARIABLES = """
PASSWORD DB_PASSWORD dbPasswd API_TOKEN CLIENT_SECRET AWS_SECRET_ACCESS_KEY SIGNING_KEY ENCRYPTION_KEY apiKey SENTRY_DSN
BASIC_AUTH AUTHORIZATION DB_PWD REDIS_PASS PASSPHRASE CREDENTIALS CONNECTION_STRING
""".split()  # noqa: SIM905


def env(name: str, value: Any) -> dict[str, Any]:
    return {"env": [{"name": "FIRST", "value": "1"}, {"name": name, "value": value}]}


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        *[(env(name, HIDDEN), env(name, "x")) for name in SECRET_VARIABLES],
        *[({name: HIDDEN}, {name: "x"}) for name in SECRET_FIELDS],
        ({"args": ["--password", HIDDEN]}, {"args": ["--password", "x"]}),
        ({"args": ["run", f"--db-password={HIDDEN}"]}, {"args": ["run"]}),
        ({"args": ["--token", HIDDEN]}, {"args": ["--token"]}),
        ({"url": f"postgres://u:{HIDDEN}@db/x"}, {"url": "x"}),
        ({"text": f"password = {HIDDEN}\n"}, {"text": "x"}),
        ({"text": f'{{"client_secret": "{HIDDEN}"}}'}, {"text": "x"}),
        ({"header": f"Bearer {HIDDEN}"}, {"header": "x"}),
        ({"text": f"-----BEGIN KEY-----\n{HIDDEN}"}, {"text": "x"}),
        ({"text": f"eyJ{HIDDEN}"}, {"text": "x"}),
        ({"auth": {"password": HIDDEN}}, {"auth": "x"}),
        ({"list": [{"name": "a", "password": HIDDEN}]}, {"list": []}),
    ],
    ids=str,
)  # fmt: skip
def test_what_looks_secret_is_not_shown_on_either_side(live: Any, wanted: Any) -> None:
    for one, other in ((live, wanted), (wanted, live)):
        lines = difference(spec(one), spec(other))
        assert lines
        assert HIDDEN not in "".join(lines)


@pytest.mark.parametrize(
    ("live", "wanted", "line"),
    [
        (env("LOG_LEVEL", "debug"), env("LOG_LEVEL", "info"), "spec.env[name=LOG_LEVEL].value: debug → info"),
        ({"secretName": "a"}, {"secretName": "b"}, "spec.secretName: a → b"),
        ({"tokenExpirationSeconds": 1}, {"tokenExpirationSeconds": 2}, "spec.tokenExpirationSeconds: 1 → 2"),
        ({"key": "a"}, {"key": "b"}, "spec.key: a → b"),
        ({"image": "secrets/web:1"}, {"image": "secrets/web:2"}, "spec.image: secrets/web:1 → secrets/web:2"),
        ({"url": "https://a.example.org/x"}, {"url": "https://b"}, "spec.url: https://a.example.org/x → https://b"),
    ],
)
def test_what_only_names_a_secret_is_shown(live: Any, wanted: Any, line: str) -> None:
    assert difference(spec(live), spec(wanted)) == (line,)


def test_nothing_of_a_secret_is_shown_but_its_metadata() -> None:
    live = {"kind": "Secret", "metadata": {"labels": {"a": "1"}}, "data": {"a": HIDDEN, "b": "x"}, "type": HIDDEN}
    wanted = {"kind": "Secret", "metadata": {"labels": {"a": "2"}}, "data": {"a": "x"}, "type": "Opaque"}
    assert difference(live, wanted) == (
        "metadata.labels.a: 1 → 2",
        f"data.a: {MASK} → {MASK}",
        f"data.b: {MASK} → (absent)",
        f"type: {MASK} → {MASK}",
    )


def test_kubectls_annotation_is_not_shown() -> None:
    annotation = {"kubectl.kubernetes.io/last-applied-configuration": f'{{"data":{{"a":"{HIDDEN}"}}}}'}
    live = {"kind": "Secret", "metadata": {"annotations": annotation}}
    assert HIDDEN not in "".join(difference(live, {"kind": "Secret", "metadata": {"annotations": {}}}))
    assert HIDDEN not in "".join(difference(live, {"kind": "Secret", "metadata": {}}))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(["name", "a", "b"]), children),
    max_leaves=10,
)


@given(_VALUES, _VALUES)
def test_there_is_a_line_exactly_where_there_is_a_difference(left: Any, right: Any) -> None:
    assert difference(spec(left), spec(left)) == ()
    lines = difference(spec(left), spec(right))
    assert all(line.isprintable() for line in lines)
    if not lines:
        assert left == right or _reordered(left, right)


def _reordered(left: Any, right: Any) -> bool:
    """Lists whose items have names may stand in another order; they are told apart by them."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            left[key] == right[key] or _reordered(left[key], right[key]) for key in left
        )
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return all(any(item == other or _reordered(item, other) for other in right) for item in left)
    return left == right
