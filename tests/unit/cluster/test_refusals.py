"""What answers of a real API server (1.37) mean. The messages are its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from image_updater.cluster.errors import (
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    Gone,
    Immutable,
    InvalidObject,
    KindUnknown,
    NamespaceMissing,
    ObjectNotFound,
    Throttled,
)
from image_updater.cluster.model import Resource
from image_updater.cluster.refusals import Subject, kind_is_gone, refusal
from image_updater.errors import AccessDenied, ImageUpdaterError

DEPLOYMENTS = Resource(group="apps", version="v1", kind="Deployment", plural="deployments", namespaced=True)
SECRETS = Resource(group="", version="v1", kind="Secret", plural="secrets", namespaced=True)

WEB = Subject(verb="patch", resource=DEPLOYMENTS, namespace="apps", name="web")
SECRET = Subject(verb="patch", resource=SECRETS, namespace="apps", name="login")


def refused(code: int, message: str, subject: Subject = WEB, *, reason: str = "", **details: Any) -> ImageUpdaterError:
    status = {"kind": "Status", "code": code, "message": message, "reason": reason, "details": details}
    return refusal(code, json.dumps(status).encode(), subject)


RBAC = (
    'deployments.apps "web" is forbidden: User "system:serviceaccount:apps:default" cannot patch resource '
    '"deployments" in API group "apps" in the namespace "apps"'
)
ESCALATION = (
    'roles.rbac.authorization.k8s.io "r" is forbidden: user "dev" (groups=["system:authenticated"]) is attempting to '
    'grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
)
TERMINATING = (
    'deployments.apps "web" is forbidden: unable to create new content in namespace apps because it is being terminated'
)
TYPED = "failed to create typed patch object (apps/web; apps/v1, Kind=Deployment): "


@pytest.mark.parametrize(
    ("code", "message", "kind", "shown"),
    [
        (
            401,
            "Unauthorized",
            AccessDenied,
            "does not accept the credentials: Unauthorized (is the token still valid?)",
        ),
        (403, RBAC, Forbidden, "(allow patch on deployments.apps in namespace apps with a Role or ClusterRole)"),
        (403, ESCALATION, Forbidden, "attempting to grant RBAC permissions"),
        (403, TERMINATING, NamespaceMissing, "namespace apps is being deleted (wait until it is gone)"),
        (403, 'pods "a" is forbidden: exceeded quota: q, requested: pods=1', ClusterError, "see the ResourceQuota"),
        (403, 'pods "a" is forbidden: violates PodSecurity "restricted:latest"', InvalidObject, "violates PodSecurity"),
        (404, 'deployments.apps "web" not found', KindUnknown, "does not serve Deployment of apps/v1 (any more)"),
        (409, "the object has been modified; please apply your changes", Conflict, "has been modified"),
        (410, "too old resource version: 1 (300)", Gone, "too old resource version"),
        (429, "Too many requests, please try again later.", Throttled, "asks us to slow down: Too many requests"),
        (500, "etcdserver: request timed out", ClusterUnavailable, "the API server failed: etcdserver"),
        (503, "apiserver not ready", ClusterUnavailable, "apiserver not ready"),
        (501, "no", ClusterError, "no"),
        (405, "the server does not allow this method", ClusterError, "does not allow"),
        (413, "Request entity too large: limit is 3145728", InvalidObject, "limit is 3145728"),
        (500, TYPED + ".dota: field not declared in schema", InvalidObject, "apps/web: dota: field not declared"),
        (
            500,
            TYPED + ".data.port: expected string, got &value.valueUnstructured{Value:80}",
            InvalidObject,
            "data.port: expected string, got 80",
        ),
        (500, TYPED + "errors:\n  .a: x\n  .b.c: y", InvalidObject, "apps/web: a: x; b.c: y"),
        (400, 'strict decoding error: unknown field "spec.foo"', InvalidObject, "apps/web: spec.foo: strict decoding"),
        (400, "the body is no JSON", InvalidObject, "the body is no JSON"),
        (422, "the server rejected our request due to an error in our request", Conflict, "is not there any more"),
        (422, 'admission webhook "v.example.com" denied the request: immutable', Immutable, "denied the request"),
    ],
)
def test_an_answer_is_an_error_with_the_servers_words(
    code: int, message: str, kind: type[ImageUpdaterError], shown: str
) -> None:
    error = refused(code, message)
    assert type(error) is kind
    assert shown in str(error)


@pytest.mark.parametrize(
    "message",
    [
        'Invalid value: {"matchLabels":{"a":"b: c"}}: field is immutable',
        "Forbidden: updates to statefulset spec for fields other than 'replicas', 'template' are forbidden",
        'Invalid value: []string{"10.0.0.7"}: may not change once set',
        "Forbidden: spec is immutable after creation except resources.requests\n@@ -1 +1 @@",
        "Invalid value: cannot change roleRef",
        "Invalid value: value is immutable",
    ],
)
def test_a_field_that_cannot_be_changed_is_immutable(message: str) -> None:
    error = refused(422, "…", causes=[{"field": "spec.x", "message": message}])
    assert type(error) is Immutable
    assert error.where.field == "spec.x"
    assert error.reason == "ImmutableField"


def test_making_anew_is_no_way_out_where_another_field_is_invalid_as_well() -> None:
    causes = [
        {"field": "spec.selector", "message": "Invalid value: 1: field is immutable"},
        {"field": "spec.replicas", "message": "Invalid value: -1: must be greater than or equal to 0"},
    ]
    error = refused(422, "…", causes=causes)
    assert type(error) is InvalidObject
    assert str(error) == (
        "Deployment.apps apps/web: spec.selector: Invalid value: 1: field is immutable; "
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    )


def test_a_value_that_says_immutable_is_only_a_value() -> None:
    causes = [{"field": "metadata.name", "message": 'Invalid value: "immutable": must be shorter'}]
    assert type(refused(422, "…", causes=causes)) is InvalidObject


def test_an_invalid_object_is_said_by_its_field_and_without_long_values() -> None:
    template = json.dumps({"containers": ["x" * 200]})
    error = refused(422, "…", causes=[{"field": "spec.template", "message": f"Invalid value: {template}: is wrong"}])
    assert str(error) == "Deployment.apps apps/web: spec.template: Invalid value: …: is wrong"


@pytest.mark.parametrize(
    "error",
    [
        refused(500, TYPED + ".stringData.pin: expected string, got &value.valueUnstructured{Value:987654}", SECRET),
        refused(500, TYPED + '.data: expected map, got &value.v{Value:"987654\n987654"}', SECRET),
        refused(422, 'Secret "a" is invalid: x: Invalid value: "987654": no', SECRET),
        refused(422, "…", SECRET, causes=[{"field": "x", "message": 'Invalid value: "98\\"7654 987654": no'}]),
        refused(422, "…", SECRET, causes=[{"field": "x", "message": 'Invalid value: {"a":"987654"}: no: 987654'}]),
        refused(422, "…", SECRET, causes=[{"field": "x", "message": 'Duplicate value: "987654"'}]),
    ],
)
def test_values_of_a_secret_are_never_shown(error: ImageUpdaterError) -> None:
    assert "987654" not in f"{error} {error.message} {error.remedy} {error.where} {error.args}"
    assert "(hidden)" in str(error)


def test_a_conflict_names_the_other_managers_and_their_fields() -> None:
    causes = [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using apps/v1', "field": ".spec.a"},
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using apps/v1', "field": ".spec.b"},
        {"reason": "FieldManagerConflict", "message": 'conflict with "hpa"', "field": ".spec.replicas"},
    ]
    error = refused(409, "Apply failed with 3 conflicts", causes=causes)
    assert str(error).endswith("(hpa owns .spec.replicas; kubectl owns .spec.a, .spec.b)")


@pytest.mark.parametrize(
    ("details", "kind", "shown"),
    [
        ({"name": "web", "kind": "deployments"}, ObjectNotFound, "not found"),
        ({"name": "apps", "kind": "namespaces"}, NamespaceMissing, "namespace apps does not exist"),
    ],
)
def test_a_404_says_what_is_missing(details: dict[str, str], kind: type[ImageUpdaterError], shown: str) -> None:
    error = refused(404, "… not found", WEB, **details)
    assert type(error) is kind
    assert shown in str(error)


def test_a_404_without_a_name_is_about_the_kind() -> None:
    assert kind_is_gone(404, b"404 page not found\n")
    assert kind_is_gone(404, json.dumps({"kind": "Status", "details": {}}).encode())
    assert not kind_is_gone(404, json.dumps({"kind": "Status", "details": {"name": "web"}}).encode())
    assert not kind_is_gone(403, b"")


@pytest.mark.parametrize("text", [b"", b"<html>proxy</html>", b"[]", b"{}", b'{"kind":"Status"}', b"\xff\xfe"])
def test_what_is_no_status_is_an_error_all_the_same(text: bytes) -> None:
    for code in (400, 401, 403, 404, 409, 410, 418, 422, 429, 500, 502):
        error = refusal(code, text, WEB)
        assert error.message
        assert "<html>" not in str(error)


def test_a_right_that_is_missing_for_impersonation_is_named() -> None:
    subject = Subject(verb="get", resource=DEPLOYMENTS, namespace="apps", name="web", user="system:serviceaccount:a:b")
    words = 'serviceaccounts "b" is forbidden: User "x" cannot impersonate resource "serviceaccounts"'
    assert "(allow impersonate on system:serviceaccount:a:b" in str(refused(403, words, subject))


def test_the_servers_words_end_somewhere() -> None:
    assert len(str(refused(500, "x" * 100_000))) < 1_200
