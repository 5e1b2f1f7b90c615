"""What of a render is applied, where, and with which labels; what is refused, and in which words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.api.model import ObjectKey
from image_updater.cluster.model import Ref
from image_updater.errors import DocumentError, SpecError
from image_updater.sync.manifests import digest, label_value, owner_labels, prepare
from tests.unit.sync.things import kustomization, prepared, served

HEAD = "apiVersion: v1\nkind: ConfigMap\n"
CONFIG = HEAD + "metadata:\n  name: a\n"
DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: things.example.org}}
spec: {{group: example.org, scope: {scope}, names: {{kind: Thing, plural: things}}}}
---
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {pw: 12345}\n"
THING = "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: a}\n"


def only(text: str, **fields: Any) -> dict[str, Any]:
    (manifest,) = prepared(text, **fields)
    return manifest.body


def refused(text: str, **fields: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        prepared(text, **fields)
    return caught.value


def test_objects_come_in_the_order_of_the_render() -> None:
    text = "\n---\n".join(CONFIG.replace("name: a", f"name: {name}") for name in ("c", "a", "b"))
    assert [manifest.ref.name for manifest in prepared(text)] == ["c", "a", "b"]


def test_owner_labels_and_common_metadata_are_on_metadata_only() -> None:
    text = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web, team: old}}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}}
"""
    body = only(text, common_labels={"team": "shop"}, common_annotations={"note": "x"})
    assert body["metadata"]["labels"] == {
        "app": "web",
        "team": "shop",
        "kustomize.image-updater.dev/name": "web",
        "kustomize.image-updater.dev/namespace": "apps",
    }
    assert body["metadata"]["annotations"] == {"note": "x"}
    assert body["spec"]["selector"] == {"matchLabels": {"app": "web"}}
    assert body["spec"]["template"] == {"metadata": {"labels": {"app": "web"}}}


def test_owner_labels_win_over_what_git_says() -> None:
    body = only(CONFIG + "  labels: {kustomize.image-updater.dev/name: other}\n")
    assert body["metadata"]["labels"]["kustomize.image-updater.dev/name"] == "web"


@pytest.mark.parametrize(
    ("text", "fields", "namespace"),
    [
        (CONFIG, {}, "apps"),
        (CONFIG, {"target_namespace": "prod"}, "prod"),
        (CONFIG + "  namespace: own\n", {}, "own"),
        (CONFIG + '  namespace: ""\n', {}, "apps"),
        (CONFIG + "  namespace: null\n", {}, "apps"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n", {"target_namespace": "prod"}, ""),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: x}\n", {}, ""),
        (THING, {}, ""),
        (THING.replace("{name: a}", "{name: a, namespace: own}"), {}, "own"),
    ],
    ids=[
        "own",
        "target",
        "in Git",
        "empty",
        "null",
        "of the cluster",
        "wrong",
        "unknown kind",
        "unknown kind with one",
    ],
)
def test_a_namespace_is_defaulted(text: str, fields: dict[str, Any], namespace: str) -> None:
    (manifest,) = prepared(text, **fields)
    assert manifest.ref.namespace == namespace
    assert manifest.body["metadata"].get("namespace", "") == namespace


@pytest.mark.parametrize(("scope", "namespace"), [("Namespaced", "apps"), ("Cluster", "")])
def test_a_definition_of_the_same_set_says_the_scope_of_its_kind(scope: str, namespace: str) -> None:
    assert prepared(DEFINITION.format(scope=scope) + THING)[1].ref == Ref("example.org", "Thing", namespace, "a")


def test_the_server_knows_better_than_a_definition() -> None:
    found = prepared(DEFINITION.format(scope="Namespaced") + THING, namespaced=lambda _group, _kind: False)
    assert found[1].ref.namespace == ""


def test_what_only_a_server_writes_is_taken_off() -> None:
    body = only("""\
apiVersion: v1
kind: Service
metadata:
  name: a
  uid: 1f
  resourceVersion: "5"
  generation: 3
  creationTimestamp: null
  selfLink: /x
  managedFields: []
  deletionTimestamp: null
  finalizers: [example.org/keep]
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: "{}"
status: {loadBalancer: {}}
spec: {ports: [{port: 80}]}
""")
    assert set(body) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(body["metadata"]) == {"name", "namespace", "labels", "finalizers"}


def test_string_data_of_a_secret_becomes_data() -> None:
    body = only("""\
apiVersion: v1
kind: Secret
metadata: {name: a}
data: {kept: eA==, both: eA==}
stringData: {both: "ü", empty: null}
""")
    assert body["data"] == {"kept": "eA==", "both": base64.b64encode("ü".encode()).decode(), "empty": ""}
    assert "stringData" not in body


TWO = """\
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}
"""


@pytest.mark.parametrize(
    "text",
    [
        f"apiVersion: v1\nkind: List\nitems:\n{TWO}",
        f"apiVersion: v1\nkind: ConfigMapList\nitems:\n{TWO.replace('apiVersion: v1, kind: ConfigMap, ', '', 1)}",
        TWO,
        f"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n{TWO.replace('- ', '  - ')}",
    ],
    ids=["List", "list of a kind", "sequence", "nested"],
)
def test_lists_are_expanded(text: str) -> None:
    assert [(m.ref.kind, m.ref.name) for m in prepared(text)] == [("ConfigMap", "a"), ("ConfigMap", "b")]


def test_what_is_only_for_tools_is_no_object_of_the_cluster() -> None:
    assert prepared(CONFIG + '  annotations: {config.kubernetes.io/local-config: "true"}\n') == ()
    assert prepared("") == ()
    assert prepared("# nothing\n---\n") == ()


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("a: 1\n", 6, "apiVersion", "apiVersion is missing"),
        ("apiVersion: v1\nmetadata: {name: a}\n", 6, "kind", "kind is missing"),
        ("apiVersion: 1\nkind: A\nmetadata: {name: a}\n", 6, "apiVersion", "1 is not a string"),
        ("apiVersion: a/b/c\nkind: A\nmetadata: {name: a}\n", 6, "apiVersion", "no API version"),
        (HEAD, 6, "metadata", "metadata.name is missing"),
        (HEAD + "metadata: {}\n", 8, "metadata.name", "metadata.name is missing"),
        (HEAD + "metadata: {name: 12}\n", 8, "metadata.name", "12 is not a string"),
        (HEAD + "metadata: {name: ../b}\n", 8, "metadata.name", "cannot be a name"),
        (HEAD + "metadata: {name: ..}\n", 8, "metadata.name", "cannot be a name"),
        (HEAD + "metadata: {name: a, namespace: x/y}\n", 8, "metadata.namespace", "cannot be"),
        (HEAD + "metadata: {name: a, namespace: 1}\n", 8, "metadata.namespace", "not a string"),
        ("apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: a-}\n", 8, "metadata.generateName", "a new one"),
        (CONFIG + "  labels: {a: 1}\n", 10, "metadata.labels.a", "1 is not a string"),
        (CONFIG + "  annotations: {a/b: yes}\n", 10, "metadata.annotations.a/b", "true is not a string"),
        (CONFIG + "  annotations: [a]\n", 10, "metadata.annotations", "a mapping is wanted"),
        (SECRET, 9, "stringData.pw", "the value is not a string"),
        (SECRET.replace("stringData", "data"), 9, "data.pw", "the value is not a string"),
        (CONFIG + "data:\n  port: 80\n", 11, "data.port", "the value is not a string"),
        (CONFIG + "data: [a]\n", 10, "data", "a mapping is wanted"),
        (CONFIG + "binaryData: {a: yes}\n", 10, "binaryData.a", "the value is not a string"),
        ("just text\n", 6, None, "not an object of Kubernetes"),
    ],
)  # fmt: skip
def test_what_is_no_object_is_refused(text: str, line: int, field: str | None, words: str) -> None:
    error = refused(f"{CONFIG}---\n{text}".replace("name: a\n---", "name: first\n---"))
    assert words in error.message
    assert error.where.field == field
    assert error.where.line == line
    assert error.where.file == "deploy/prod (rendered)"


def test_the_value_of_a_secret_is_not_in_its_error() -> None:
    error = refused(SECRET)
    assert "12345" not in str(error)


def test_an_error_names_the_line_of_its_field() -> None:
    text = f"{CONFIG}---\n{CONFIG}".replace("name: a", "name: b", 1) + "  labels:\n    x: y1\n    version: 1.10\n"
    error = refused(text)
    assert (error.where.field, error.where.line) == ("metadata.labels.version", 12)
    items = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Role, metadata: {name: a, labels: {b: 1}}}\n"
    assert refused(items).where.line == 1


def test_an_error_names_the_object_and_what_to_do() -> None:
    error = refused(CONFIG + "  namespace: shop\n  labels: {version: 1.10}\n")
    assert error.where.object == "ConfigMap shop/a"
    assert error.remedy == "put it in quotes"


def test_all_errors_of_a_render_come_at_once() -> None:
    text = "---\n".join(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a{n}, labels: {{n: {n}}}}}\n" for n in (1, 2)
    )
    assert str(refused(text)).count("is not a string") == 2


def test_one_object_twice_is_refused_whatever_its_version_and_spelling() -> None:
    text = "apiVersion: autoscaling/v{}\nkind: HorizontalPodAutoscaler\nmetadata: {{name: a{}}}\n"
    error = refused(text.format(1, ", namespace: apps") + "---\n" + text.format(2, ""))
    assert "HorizontalPodAutoscaler.autoscaling apps/a is there twice" in error.message
    assert error.where.line == 5


def test_plain_files_are_named_in_errors() -> None:
    files = [("deploy/a.yaml", CONFIG.encode()), ("deploy/b.yaml", b"# b\n" + CONFIG.encode())]
    with pytest.raises(SpecError) as caught:
        prepare(files, kustomization(), namespaced=served)
    assert str(caught.value).startswith("deploy/b.yaml:2: ConfigMap a: ")
    assert "the other one is deploy/a.yaml:1: ConfigMap a" in str(caught.value)


def test_a_file_that_is_no_yaml_is_named() -> None:
    with pytest.raises(DocumentError, match=r"^deploy/b\.yaml:2: not valid YAML"):
        prepare([("deploy/b.yaml", b"a: 1\n b: 2\n")], kustomization(), namespaced=served)


def test_a_manifest_knows_its_file() -> None:
    (plain,) = prepare([("deploy/a.yaml", CONFIG.encode())], kustomization(), namespaced=served)
    assert str(plain.where) == "deploy/a.yaml:1: ConfigMap a"
    (built,) = prepared(CONFIG + '  annotations: {config.kubernetes.io/origin: "path: base/a.yaml\\n"}\n')
    assert str(built.where) == "base/a.yaml: ConfigMap a"
    (remote,) = prepared(
        CONFIG + '  annotations: {config.kubernetes.io/origin: "path: a.yaml\\nrepo: https://example.org/x\\n"}\n'
    )
    assert str(remote.where) == "ConfigMap a"


# ------------------------------------------------------------------------------------------- digests and labels

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=4),
    max_leaves=10,
)


def shuffled(value: Any, draw: Any) -> Any:
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        return {name: shuffled(value[name], draw) for name in names}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


@given(st.data(), st.dictionaries(st.text(max_size=3), _JSON))
def test_a_digest_knows_no_order_of_keys(data: Any, body: dict[str, Any]) -> None:
    assert digest(shuffled(body, data.draw)) == digest(body)


@given(st.dictionaries(st.text(max_size=2), _JSON), st.dictionaries(st.text(max_size=2), _JSON))
def test_digests_are_equal_for_equal_objects_only(left: dict[str, Any], right: dict[str, Any]) -> None:
    # As JSON: in Python True == 1.
    same = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assert (digest(left) == digest(right)) == same


@given(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?", fullmatch=True))
def test_every_name_is_a_legal_label(name: str) -> None:
    value = label_value(name)
    assert len(value) <= 63
    assert value[0].isalnum()
    assert value[-1].isalnum()
    assert value == name or len(name) > 63


def test_long_names_that_begin_alike_have_labels_of_their_own() -> None:
    one, other = (label_value("a" * 100 + end) for end in "xy")
    assert one != other
    assert label_value("a" * 63) == "a" * 63
    assert label_value("a" * 51 + "." * 20 + "b") == "a" * 51 + "-" + label_value("a" * 51 + "." * 20 + "b")[-10:]


def test_owner_labels_name_the_kustomization() -> None:
    assert owner_labels(ObjectKey("apps", "web")) == {
        "kustomize.image-updater.dev/name": "web",
        "kustomize.image-updater.dev/namespace": "apps",
    }
