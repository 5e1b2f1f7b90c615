"""Which Kustomization holds an object, or may."""

from __future__ import annotations

import pytest

from image_updater.api.model import ObjectKey
from image_updater.cluster.model import Ref
from image_updater.controller.sync.elsewhere import Index, mentions
from image_updater.sync.model import Elsewhere

A, B, C = (ObjectKey("apps", name) for name in "abc")
WEB = Ref("apps", "Deployment", "prod", "web")
API = Ref("apps", "Deployment", "prod", "api")
NOBODY = Elsewhere()


def test_an_object_of_another_ones_build_is_rendered_there() -> None:
    index = Index()
    index.built(A, "local", [WEB])
    index.built(B, "local", [WEB, API])
    assert index.ask(A, "local")(WEB) == Elsewhere(renders=B)
    assert index.ask(A, "local")(API) == Elsewhere(renders=B)
    assert index.ask(B, "local")(API) == NOBODY
    index.built(B, "local", [API])
    assert index.ask(A, "local")(WEB) == NOBODY


def test_other_clusters_have_other_objects() -> None:
    index = Index()
    index.built(B, "remote", [WEB])
    index.unsettle(C, "remote")
    assert index.ask(A, "local")(WEB) == NOBODY


def test_between_a_commit_and_its_build_anything_may_be_there() -> None:
    index = Index()
    index.built(B, "local", [API])
    index.unsettle(B, "local")
    assert index.ask(A, "local")(WEB) == Elsewhere(unsettled=B)
    assert index.ask(A, "local")(API) == Elsewhere(unsettled=B)
    index.settle(B)
    assert index.ask(A, "local")(WEB) == NOBODY
    assert index.ask(A, "local")(API) == Elsewhere(renders=B)


def test_one_that_does_not_build_is_asked_what_it_mentions() -> None:
    index = Index()
    index.built(B, "local", [API])
    index.unsettle(B, "local", mentions([b"kind: Deployment\nmetadata:\n  name: other\n"]))
    assert index.ask(A, "local")(WEB) == NOBODY
    assert index.ask(A, "local")(API) == Elsewhere(unsettled=B)
    index.unsettle(B, "local", mentions([b"kind: Deployment\nname: web\n"], target="prod"))
    assert index.ask(A, "local")(WEB) == Elsewhere(unsettled=B)


def test_what_is_known_of_an_inventory_stands_until_there_is_a_build() -> None:
    index = Index()
    index.unsettle(B, "local")
    index.known(B, "local", [WEB])
    assert index.ask(A, "local")(API) == Elsewhere(unsettled=B)
    index.settle(B)
    assert index.has_refs(B)
    assert index.ask(A, "local")(WEB) == Elsewhere(renders=B)


def test_what_is_gone_holds_nothing() -> None:
    index = Index()
    index.built(B, "local", [WEB])
    index.unsettle(B, "local")
    index.forget(B)
    assert index.ask(A, "local")(WEB) == NOBODY
    assert not index.has_refs(B)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web", True),
        ("p-web-s", True),
        ("web-8f7d6c5b4a", True),
        ("in-web", True),
        ("p-in-web-8f7d6c5b4a-s", True),
        ("api", False),
        ("p-api-s", False),
        ("we", False),
        ("webs", False),
    ],
)
def test_names_are_looked_for_without_what_is_put_around_them(name: str, found: bool) -> None:
    files = [b"namePrefix: in-\nconfigMapGenerator:", b"name: web"]
    means = mentions(files, prefix="p-", suffix="-s", namespace="prod")
    assert means(Ref("", "ConfigMap", "prod", name)) is found


@pytest.mark.parametrize(
    ("ref", "target", "found"),
    [
        (Ref("", "Pod", "prod", "web"), None, True),
        (Ref("", "Pod", "named", "web"), None, True),
        (Ref("", "Pod", "elsewhere", "web"), None, False),
        (Ref("", "Pod", "prod", "web"), "there", False),
        (Ref("", "Pod", "there", "web"), "there", True),
        (Ref("", "Namespace", "", "web"), "there", True),
        (Ref("", "Service", "prod", "web"), None, False),
        (Ref("", "Secret", "prod", "web"), None, False),
        (Ref("", "ConfigMap", "prod", "web"), None, True),
    ],
)
def test_kinds_and_namespaces_of_others_are_not_meant(ref: Ref, target: str | None, found: bool) -> None:
    files = [b"kind: Pod\nname: web\nnamespace: named\n", b"kind: Namespace", b"kind: ConfigMapList"]
    assert mentions(files, namespace="prod", target=target)(ref) is found


def test_what_a_template_makes_may_be_anything_of_its_namespace() -> None:
    means = mentions([b"helmCharts: [{name: x}]"], namespace="prod")
    assert means(Ref("apps", "Deployment", "prod", "any"))
    assert not means(Ref("apps", "Deployment", "other", "any"))


def test_who_may_not_apply_an_object_keeps_nobody_from_it() -> None:
    index = Index()
    index.built(B, "local", [WEB, API])
    index.refuse(B, frozenset({WEB}))
    assert index.ask(A, "local")(WEB) == NOBODY
    assert index.ask(A, "local")(API) == Elsewhere(renders=B)
    index.unsettle(B, "local")  # a newer commit: the right is still not there
    assert index.ask(A, "local")(WEB) == NOBODY
    index.built(B, "local", [WEB])
    assert index.ask(A, "local")(WEB) == NOBODY
    index.refuse(B, frozenset())
    assert index.ask(A, "local")(WEB) == Elsewhere(renders=B)
    index.refuse(B, frozenset({WEB}))
    index.forget(B)
    assert index.refused(B) == frozenset()
