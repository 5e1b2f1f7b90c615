"""Two renders: what was meant, what follows, what is collateral damage, what did not happen."""

from __future__ import annotations

import pytest

from image_updater.errors import DocumentError
from image_updater.kustomize.model import ObjectId, Path, dotted
from image_updater.patch import Comparison, Intended, compare, diff_objects, images_of

WEB = ObjectId(group="apps", kind="Deployment", namespace="shop", name="web")
IMAGE: Path = ("spec", "template", "spec", "containers", 0, "image")


def deployment(image: str = "acme/web:1.0", *, name: str = "web", extra: str = "", labels: str = "") -> str:
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  namespace: shop\n{labels}"
        f"spec:\n  template:\n    spec:\n      containers:\n      - name: web\n        image: {image}\n{extra}"
    )


def config(name: str, value: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: shop\ndata:\n  v: {value!r}\n"


def render(*documents: str) -> bytes:
    return "---\n".join(documents).encode()


def meant(
    old: str = "acme/web:1.0", new: str = "acme/web:1.1", object_: ObjectId = WEB, path: Path = IMAGE
) -> Intended:
    return Intended(object=object_, path=path, old=old, new=new)


def shown(result: Comparison) -> tuple[list[str], list[str], list[str], int]:
    return (
        [dotted(d.path) for d in result.changed],
        [dotted(d.difference.path) for d in result.derived],
        [dotted(d.path) for d in result.unexpected],
        len(result.missing),
    )


FIELD = dotted(IMAGE)


def test_the_intended_image_and_nothing_else_proves() -> None:
    other = deployment(name="other")
    result = compare(render(deployment(), other), render(other, deployment("acme/web:1.1")), [meant(), meant()])
    assert shown(result) == ([FIELD], [], [], 0)
    assert result.proved
    assert str(result.changed[0]) == f"Deployment shop/web: {FIELD}: 'acme/web:1.0' → 'acme/web:1.1'"


@pytest.mark.parametrize(
    ("after", "unexpected"),
    [
        (deployment("acme/web:1.2"), [FIELD]),
        (deployment("acme/web:1.1", extra="        tty: true\n"), ["spec.template.spec.containers[0].tty"]),
        (deployment("acme/web:1.1", labels="  labels: {a: b}\n"), ["metadata.labels"]),
        (deployment("acme/web:1.1") + "---\n" + config("new", "x"), [""]),
        (config("web", "x"), ["", ""]),
    ],
    ids=["another value", "another field", "a label", "a new object", "the object is gone"],
)
def test_anything_else_is_unexpected(after: str, unexpected: list[str]) -> None:
    result = compare(render(deployment()), after.encode(), [meant()])
    assert [dotted(d.path) for d in result.unexpected] == unexpected
    assert not result.proved


def test_an_image_that_did_not_move_is_missing() -> None:
    result = compare(render(deployment()), render(deployment()), [meant()])
    assert shown(result) == ([], [], [], 1)
    result = compare(render(deployment()), render(deployment("acme/web:1.2")), [meant()])
    assert shown(result) == ([], [], [FIELD], 1)
    assert compare(render(deployment()), render(deployment()), [meant(new="acme/web:1.0")]).proved


def test_another_image_with_the_same_tag_is_never_derived() -> None:
    two = "      - name: b\n        image: acme/b:{}\n"
    before, after = deployment(extra=two.format("1.0")), deployment("acme/web:1.1", extra=two.format("1.1"))
    result = compare(render(before), render(after), [meant()])
    assert shown(result) == ([FIELD], [], ["spec.template.spec.containers[1].image"], 0)
    volume = "      volumes:\n      - name: v\n        image:\n          reference: acme/v:{}\n"
    before, after = deployment(extra=volume.format("1.0")), deployment("acme/web:1.1", extra=volume.format("1.1"))
    assert shown(compare(render(before), render(after), [meant()]))[2] == [
        "spec.template.spec.volumes[0].image.reference"
    ]


def test_what_a_replacement_copies_is_derived() -> None:
    labels = "  labels:\n    version: '{0}'\n  annotations:\n    image: acme/web:{0}\n    other: v-{0}-x\n"
    before, after = deployment(labels=labels.format("1.0")), deployment("acme/web:1.1", labels=labels.format("1.1"))
    result = compare(render(before), render(after), [meant()])
    assert shown(result) == (
        [FIELD],
        ["metadata.labels.version", "metadata.annotations.image", "metadata.annotations.other"],
        [],
        0,
    )
    assert "follows 1.0 → 1.1" in str(result.derived[0])
    after = deployment("acme/web:1.1", labels=labels.format("1.2"))
    assert len(compare(render(before), render(after), [meant()]).unexpected) == 3


def test_a_generated_name_and_references_to_it_are_derived() -> None:
    old, new = "conf-25d78gh6mk", "conf-g45bt8hh96"
    ref = "        envFrom: [{configMapRef: {name: %s}}]\n"
    before = render(config(old, "1.0"), deployment(extra=ref % old))
    after = render(config(new, "1.1"), deployment("acme/web:1.1", extra=ref % new))
    result = compare(before, after, [meant()])
    assert shown(result)[1] == [
        "metadata.name",
        "data.v",
        "spec.template.spec.containers[0].envFrom[0].configMapRef.name",
    ]
    assert result.proved
    after = render(config(new, "9"), deployment("acme/web:1.1", extra=ref % new))
    assert shown(compare(before, after, [meant()]))[2] == ["data.v"]
    same = render(config(new, "1.0"), deployment("acme/web:1.1", extra=ref % new))
    assert shown(compare(before, same, [meant()]))[2] == ["metadata.name"]
    plain = render(config("conf-b", "1.0"), deployment())
    assert len(compare(plain, render(config("conf-c", "1.0"), deployment("acme/web:1.1")), [meant()]).unexpected) == 2


RELEASE = ObjectId(group="helm.toolkit.fluxcd.io", kind="HelmRelease", namespace="shop", name="web")


def release(values: str) -> str:
    head = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web, namespace: shop}\nspec:\n"
    return head + f"  values:\n    replicas: 1\n{values}"


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        (
            "    image: {repository: acme/web, tag: '1.0'}\n",
            "    image: {repository: acme/web, tag: '1.1'}\n",
            ("image",),
        ),
        ("    image: {repository: acme/web}\n", "    image: {repository: acme/web, tag: '1.1'}\n", ("image",)),
        ("    image: acme/web:1.0\n", "    image: acme/web:1.1\n", ("image",)),
        ("    image: acme/web\n    tag: '1.0'\n", "    image: acme/web\n    tag: '1.1'\n", ()),
    ],
)
def test_helm_values_are_judged_by_the_image_they_make(before: str, after: str, path: Path) -> None:
    old = "acme/web" if "1.0" not in before else "acme/web:1.0"
    item = meant(old, "acme/web:1.1", RELEASE, ("spec", "values", *path))
    result = compare(render(release(before)), render(release(after)), [item])
    assert (len(result.changed), result.proved) == (1, True)
    worse = after + "    more: 1\n"
    result = compare(render(release(before)), render(release(worse)), [item])
    assert [dotted(d.path) for d in result.unexpected] == ["spec.values.more"]


def test_fields_of_a_charts_objects_follow_its_value() -> None:
    chart = ObjectId(group="", kind="HelmChart", namespace="", name="web")
    item = meant("acme/web:1.0", "acme/web:1.1", chart, ("valuesInline", "image"))
    label = "  labels: {{helm.sh/chart: web-1, checksum: {}}}\n"
    before, after = deployment(labels=label.format("a")), deployment("acme/web:1.1", labels=label.format("b"))
    result = compare(render(before), render(after), [item], helm=True)
    assert (len(result.derived), result.unexpected, result.missing) == (2, (), ())
    assert not compare(render(before), render(after), [item]).proved
    bare = compare(
        render(deployment()), render(deployment("acme/web:1.1", extra="        tty: true\n")), [item], helm=True
    )
    assert shown(bare) == ([], [FIELD], ["spec.template.spec.containers[0].tty"], 0)
    assert compare(render(before), render(before), [item], helm=True).missing == (item,)
    default = meant("acme/web", "acme/web:1.1", chart, ("valuesInline", "image"))
    assert compare(render(deployment("acme/web:0.9")), render(deployment("acme/web:1.1")), [default], helm=True).proved


def test_a_field_that_an_edit_sets_itself_may_change_so() -> None:
    label = "  labels: {{version: '{}'}}\n"
    before, after = render(deployment(labels=label.format("1"))), render(deployment(labels=label.format("2")))
    assert not compare(before, after, []).proved
    assert compare(before, after, [], edited=[("1", "2")]).proved
    assert not compare(before, after, [], edited=[("1", "3")]).proved
    image = render(deployment("acme/web:1.1"))
    assert not compare(render(deployment()), image, [], edited=[("acme/web:1.0", "acme/web:1.1")]).proved


def test_images_are_found_where_kustomize_looks_and_in_helm_values() -> None:
    text = render(
        deployment(
            extra="      initContainers: [{name: i, image: acme/i}]\n"
            "      volumes: [{name: v, image: {reference: acme/v:1}}]\n"
        ),
        "kind: Rollout\napiVersion: x/v1\nmetadata: {name: r}\n"
        "spec: {any: {ephemeralContainers: [{image: e}], containers: [{name: x}]}}\n",
        "kind: CustomResourceDefinition\napiVersion: x/v1\nmetadata: {name: c}\nspec: {containers: [{image: no}]}\n",
        release("    image: {repository: acme/web, tag: '1.0'}\n"),
        "kind: Application\napiVersion: argoproj.io/v1alpha1\nmetadata: {name: a}\n"
        "spec: {sources: [{helm: {valuesObject: {image: acme/a:1}}}]}\n",
        "kind: List\napiVersion: v1\nitems:\n"
        "- kind: Pod\n  apiVersion: v1\n  metadata: {name: p}\n  spec: {containers: [{image: p:1}]}\n",
    )
    assert [(o.kind, dotted(path), value) for o, path, value in images_of(text)] == [
        ("Deployment", FIELD, "acme/web:1.0"),
        ("Deployment", "spec.template.spec.initContainers[0].image", "acme/i"),
        ("Deployment", "spec.template.spec.volumes[0].image.reference", "acme/v:1"),
        ("Rollout", "spec.any.ephemeralContainers[0].image", "e"),
        ("HelmRelease", "spec.values.image", "acme/web:1.0"),
        ("Application", "spec.sources[0].helm.valuesObject.image", "acme/a:1"),
        ("Pod", "spec.containers[0].image", "p:1"),
    ]
    assert images_of(b"") == []


def test_diff_lists_objects_in_the_new_order_and_long_texts_by_line() -> None:
    before = render(config("gone", "x"), config("same", "x"), config("c", "x"), deployment())
    after = render(deployment("acme/web:2"), config("same", "x"), config("c", "y"), config("new", "x"))
    assert [(str(c.kind), str(c.object), len(c.fields)) for c in diff_objects(before, after)] == [
        ("changed", "Deployment shop/web", 1),
        ("changed", "ConfigMap shop/c", 1),
        ("added", "ConfigMap shop/new", 0),
        ("removed", "ConfigMap shop/gone", 0),
    ]
    (change,) = diff_objects(b"kind: A\nv: |\n  a\n  b\n", b"kind: A\nv: |\n  a\n  c\n")
    assert (change.fields[0].old, change.fields[0].new) == ("line 2: b", "line 2: c")
    assert diff_objects(before, before) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("v: 1", "v: '1'", [("v", "1", "1")]),
        ("v: [a, b]", "v: [a]", [("v[1]", "b", None)]),
        ("v: [{name: a}, {name: b}]", "v: [{name: b}]", [("v[0]", '{"name": "a"}', None)]),
        ("v: [{name: a}]", "v: [{name: z}, {name: a, x: y}]", [("v[1].x", None, "y"), ("v[0]", None, '{"name": "z"}')]),
        (
            "v: [{name: a}, {name: b}]",
            "v: [{name: b}, {name: c}, {name: a}]",
            [("v[1]", None, '{"name": "c"}'), ("v", '["a", "b"]', '["b", "a"]')],
        ),
        ("v: {a: null}", "v: {}", [("v.a", "null", None)]),
        ("v: true", "v: 1", [("v", "true", "1")]),
    ],
)
def test_fields_are_named_by_path(before: str, after: str, expected: list[tuple[str, str | None, str | None]]) -> None:
    (change,) = diff_objects(f"kind: A\n{before}\n".encode(), f"kind: A\n{after}\n".encode())
    assert [(dotted(f.path), f.old, f.new) for f in change.fields] == expected


def test_twins_are_matched_in_order_and_long_values_are_cut() -> None:
    before = render(config("c", "1"), config("c", "2"))
    after = render(config("c", "1"), config("c", "3" * 500))
    (change,) = diff_objects(before, after)
    assert change.fields[0].old == "2"
    assert change.fields[0].new is not None
    assert len(change.fields[0].new) == 200


def test_documents_are_cut_without_parsing_and_odd_ones_still_read() -> None:
    block = "kind: A\nv: |\n  x\n  --- y\n"
    assert diff_objects(f"---\n{block}---\nkind: B\n...\n".encode(), f"{block}---\nkind: B\n".encode()) == []
    assert diff_objects(b"%YAML 1.1\n---\nkind: A\n", b"kind: A\n") == []
    with pytest.raises(DocumentError):
        diff_objects(b"a: b: c", b"")
    with pytest.raises(DocumentError):
        images_of(b"image: \xff")
