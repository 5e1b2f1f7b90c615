"""The definitions on a real API server: never stricter than our parser, and of one mind with it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings

from image_updater import api
from image_updater.api.kinds import KINDS
from image_updater.api.model import API_VERSION, GROUP
from image_updater.api.schema import crds
from image_updater.api.shapes import Count, Counts, Many, Moment, Record, Shape, Words
from image_updater.api.status import STATUS, status_fields
from image_updater.controller.cache import read
from tests.integration.cluster import specs as drawn
from tests.parts.controlplane import ApiError

if TYPE_CHECKING:
    from tests.parts.controlplane import ControlPlane

ROOT = Path(__file__).parents[3]
PLURALS = {each["spec"]["names"]["kind"]: each["spec"]["names"]["plural"] for each in crds()}


@pytest.fixture(scope="module")
def served(plane: ControlPlane) -> ControlPlane:
    """A plane that serves our kinds, applied as a person would."""
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(crds(), sort_keys=False))
    names = [each["metadata"]["name"] for each in crds()]
    plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{name}" for name in names))
    return plane


def dry_run(plane: ControlPlane, body: dict[str, Any]) -> dict[str, Any]:
    """What the server would store, without the time of it."""
    namespace = body["metadata"].get("namespace", "default")
    place = "" if KINDS[body["kind"]].cluster else f"namespaces/{namespace}/"
    path = f"/apis/{API_VERSION}/{place}{PLURALS[body['kind']]}?dryRun=All&fieldValidation=Strict"
    answer: dict[str, Any] = plane.request("POST", path, body)
    del answer["metadata"]["creationTimestamp"]
    return answer


def as_kubectl_reads(plane: ControlPlane, text: str) -> list[dict[str, Any]]:
    """YAML as kubectl makes JSON of it."""
    said = json.loads(plane.kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", stdin=text))
    return list(said["items"]) if said["kind"] == "List" else [said]


# ------------------------------------------------------------------------------------------- the definitions


def test_the_server_finds_nothing_wrong_with_the_definitions(served: ControlPlane) -> None:
    for each in crds():
        conditions = served.get("CustomResourceDefinition", each["metadata"]["name"])["status"]["conditions"]
        assert {found["type"]: found["status"] for found in conditions} == {
            "NamesAccepted": "True",
            "Established": "True",
        }


def test_definitions_can_be_applied_again_and_by_the_server(served: ControlPlane) -> None:
    text = yaml.safe_dump_all(crds(), sort_keys=False)
    assert set(re.findall(r" (\w+)\n", served.kubectl("apply", "-f", "-", stdin=text))) == {"unchanged"}
    served.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)


def test_columns_say_what_and_why(served: ControlPlane, namespace: str) -> None:
    served.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "ImagePolicy",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"image": "ghcr.io/acme/web", "policy": {"semver": {"range": "^1"}}},
        }
    )
    status = status_fields(
        "ImagePolicy",
        {
            "latest": {"image": "ghcr.io/acme/web", "tag": "1.2.3", "since": datetime.now(UTC)},
            "conditions": [condition("Ready", "True", "Succeeded", "1.2.3 is the highest in ^1")],
        },
    )
    served.patch("ImagePolicy", "web", namespace, {"status": status}, subresource="status")
    head, row = served.kubectl("get", "iupol", "-n", namespace).splitlines()
    assert head.split() == ["NAME", "IMAGE", "TAG", "SINCE", "AGE", "READY", "WHY"]
    assert re.fullmatch(r"web +ghcr.io/acme/web +1\.2\.3 +\d+s +\d+s +True +1\.2\.3 is the highest in \^1", row.strip())
    held = status_fields("ImagePolicy", {"hold": {"reason": "rolled back to 1.2.2"}})
    served.patch("ImagePolicy", "web", namespace, {"status": held}, subresource="status")
    head, row = served.kubectl("get", "iupol", "-n", namespace, "-o", "wide").splitlines()
    assert head.split()[-2:] == ["REASON", "HOLD"]
    assert row.endswith("Succeeded   rolled back to 1.2.2")
    assert "web" in served.kubectl("get", "image-updater", "-n", namespace)
    for kind in STATUS:
        assert "READY" in (head if kind == "ImagePolicy" else header(served, PLURALS[kind]))


def header(plane: ControlPlane, plural: str) -> str:
    table = plane.request("GET", f"/apis/{API_VERSION}/{plural}", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    return " ".join(column["name"].upper() for column in table["columnDefinitions"])


def condition(type_: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": datetime(2026, 1, 2, tzinfo=UTC),
        "observedGeneration": 1,
    }


# ------------------------------------------------------------------------------------------- spec

EXAMPLES = sorted((ROOT / "tests/golden").glob("*/objects.yaml"))


def documents(text: str) -> list[str]:
    """The documents of a text that are ours."""
    parts = re.split(r"^---.*\n", text, flags=re.MULTILINE)
    return [part for part in parts if f"apiVersion: {GROUP}/" in part]


def refused(text: str) -> bool:
    try:
        api.load_text(text)
    except api.SpecErrors:
        return True
    return False


def shown() -> list[Any]:
    """Objects that the documentation shows, but for those whose point is that they are refused."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        blocks = re.findall(r"^```ya?ml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        texts = [text for block in blocks for text in documents(block) if not refused(text)]
        found += [pytest.param(text, id=f"{page.stem}-{i}") for i, text in enumerate(texts)]
    return found


def kind_of(value: Any) -> str:
    return f"{'Cluster' if not value.key.namespace else ''}{type(value).__name__}"


def agree(plane: ControlPlane, text: str) -> None:
    """The server takes the object, and what it stores is, for the parser, the object of the text."""
    text = re.sub(r"\bnamespace: [\w-]+", "namespace: default", text)
    for body in as_kubectl_reads(plane, text):
        stored = read(body["kind"], dry_run(plane, body))
        assert stored.error is None
        loaded = api.load_text(text)
        objects = (*loaded.policies, *loaded.repositories, *loaded.automations, *loaded.kustomizations)
        objects += (*loaded.freezes, *loaded.quarantines)
        wanted = [each for each in objects if (kind_of(each), each.key) == (stored.kind, stored.key)]
        assert [stored.value] == wanted


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_golden_objects_are_the_same_from_the_server(served: ControlPlane, path: Path) -> None:
    for text in documents(path.read_text()):
        agree(served, text)


@pytest.mark.parametrize("text", shown())
def test_shown_objects_are_the_same_from_the_server(served: ControlPlane, text: str) -> None:
    agree(served, text)


NAME = ".".join(["a" * 63] * 3) + "." + "z" * 61

EDGES = {
    "ImagePolicy": f"""
{{image: 'localhost:5000/a', policy: {{semver: {{range: '>=1.0 <2 || 3.x', prereleases: yes, loose: on}}}}}}
{{image: '[2001:db8::1]:5000/a__b/c-d.e', policy: {{numerical: {{}}}}, interval: 1s, timeout: 1h}}
{{image: a, policy: {{numerical: {{order: desc}}, semver: null, digest: }}, suspend: null, filterTags: null}}
{{image: a, policy: {{alphabetical: {{order: asc}}}}, filterTags: {{pattern: ü, extract: $1, exclude: [a, b]}}}}
{{image: a, policy: {{calver: {{format: YYYY.0M}}}}, secretRef: {{}}, certSecretRef: {{}}, proxySecretRef: {{}}}}
{{image: a, policy: {{newest: {{by: firstSeen}}}}, deny: [v1, 'sha256:{"0" * 64}']}}
{{image: a, policy: {{newest: {{}}}}, deny: ['sha512:{"0" * 128}'], digestReflectionPolicy: IfNotPresent}}
{{image: a, policy: {{digest: {{tag: _a}}}}, digestReflectionPolicy: Always, provider: gcp, insecure: true}}
{{image: a, policy: {{digest: {{tag: a}}}}, secretRef: {{name: {NAME}}}, interval: 1000000h}}
{{image: a, policy: {{newest: {{}}}}, minAge: 0, platforms: [], verify: {{}}, windows: [], approvals: 0}}
{{image: a, policy: {{newest: {{}}, start: proven}}, minAge: 72h, platforms: [fromNodes, linux/arm/v7], approvals: 20}}
{{image: a, policy: {{newest: {{}}}}, verify: {{secretRef: {{name: a}}, attestations: ['a:b']}}}}
{{image: a, policy: {{newest: {{}}}}, verify: {{secretRef: {{}}, keyless: {{issuer: a, subject: b}}}}}}
{{image: a, policy: {{newest: {{}}}}, windows: [{{cron: '*/5 9 * * mon', duration: 744h, timeZone: Asia/Kolkata}}]}}
{{image: a, policy: {{newest: {{}}}}, after: {{name: {NAME}, provenFile: ./a//b.yaml, soak: 1h}}, group: a.b}}
{{image: a, policy: {{newest: {{}}}}, minAge: 0s, group: '', after: null, filterTags: {{}}, deny: []}}
{{image: a, policy: {{newest: {{}}}}, interval: 999.9995ms, timeout: 3600.0000005s, serviceAccountName: robot}}
""",
    "GitRepository": f"""
{{url: 'git@example.com:a/b.git', ref: {{}}}}
{{url: 'file:///srv/fleet.git', ref: {{branch: release-1.2, tag: null}}, interval: +1h, timeout: .5h}}
{{url: 'ssh://git@h:22/ü', ref: {{commit: '{"0" * 64}'}}, verify: {{}}}}
{{url: 'https://h/p', ref: {{tag: v1/ü}}, verify: {{mode: TagAndHEAD, secretRef: {{name: a}}}}, timeout: 1s}}
""",
    "ImageUpdateAutomation": """
{}
{sourceRef: {}, policySelector: {}, update: {}, git: {}, batch: {}, windows: []}
{windows: [{cron: '0 0 29 2 *', duration: 1m}], git: {provenFile: state/proven.yaml}}
{sourceRef: {kind: GitRepository, name: a, namespace: default, apiVersion: x}, interval: 1s}
{policySelector: {matchLabels: {a: '', b/c: D_e}, matchExpressions: [{key: a, operator: In, values: [b, '']}]}}
{policySelector: {matchExpressions: [{key: a, operator: Exists}, {key: b, operator: DoesNotExist, values: []}]}}
{update: {paths: [./, a//b/, ü], exclude: ['**/vendor/**', '*.yml'], strategy: Setters, proof: rendered}}
{update: {followRefs: false, patches: true}, git: {push: {branch: a/b}}}
{git: {commit: {author: {name: Ünï, email: a@b}, messageTemplate: '{{ x }}', messageTemplateValues: {a: '', b: c}}}}
{git: {commit: {signingKey: {secretRef: {name: a}}}, push: {pullRequest: {}}}}
{git: {commit: {signingKey: {}}}}
{batch: {quiet: 0, max: 24h}}
{batch: {quiet: 1ns, max: 0s}}
{batch: {max: 1.5h}, suspend: yes}
""",
    "Kustomization": """
{}
{path: ./, drift: off, wait: on, prune: no}
{path: a//b/, drift: 'off', deletionPolicy: Orphan, rollback: {onFailure: none}}
{rollback: {onFailure: rollback}}
{drift: no, rollback: {}, commonMetadata: {labels: {a: ''}, annotations: {b/c: ''}}}
{dependsOn: [{name: a}, {name: a, namespace: default}], healthChecks: [{kind: Deployment, name: a}]}
{healthChecks: [{apiVersion: apps/v1, kind: Job, name: b, namespace: default}]}
{kubeConfig: {secretRef: {name: a, key: b.c}}, serviceAccountName: robot, targetNamespace: apps}
{images: [{name: a, newName: b:5000/c, newTag: '1.10', digest: d}], namePrefix: a-, nameSuffix: -b}
{patches: [{patch: 'a: b', target: {kind: X}}, {patch: c}], components: [../a]}
{interval: 1s, retryInterval: 1h1h, timeout: 1500ms}
""",
    "Freeze": """
{reason: x}
{reason: ü, starts: 2026-01-01T00:00:00Z, expires: '2026-01-01T00:00:00.5Z', allowRollback: yes, policies: {}}
{reason: x, starts: '2026-01-01t04:00:00z', expires: '2026-01-01T05:00:00Z', exceptions: {matchLabels: {a: ''}}}
{reason: x, starts: '2026-01-01T05:00:00+02:00', expires: '2026-01-01T04:00:00Z'}
""",
    "ClusterFreeze": """
{reason: x, namespaces: [a, b]}
{reason: x, policies: {matchExpressions: [{key: a, operator: Exists}]}, namespaces: []}
""",
    "Quarantine": f"""
{{image: a, tag: v1}}
{{image: 'localhost:5000/a', digest: 'sha256:{"0" * 64}', reason: '', source: c, expires: 2026-01-01T00:00:00Z}}
""",
    "ClusterQuarantine": f"""
{{image: a, tag: v1, digest: 'sha512:{"0" * 128}'}}
""",
}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        pytest.param(kind, spec, id=f"{kind}-{i}")
        for kind in EDGES
        for i, spec in enumerate(EDGES[kind].strip().splitlines())
    ],
)
def test_what_the_parser_takes_the_server_takes(served: ControlPlane, kind: str, spec: str) -> None:
    place = "" if KINDS[kind].cluster else ", namespace: default"
    agree(
        served,
        f"apiVersion: {API_VERSION}\nkind: {kind}\nmetadata: {{name: {NAME}{place}}}\nspec: {spec}\n",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_parser_takes_the_server_takes(served: ControlPlane, kind: str) -> None:
    """Drawn from the field tables; what the parser refuses is drawn again."""

    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(drawn.spec(KINDS[kind].spec))
    def law(spec: dict[str, Any]) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": "a", **({} if KINDS[kind].cluster else {"namespace": "default"})},
            "spec": spec,
        }
        wanted = read(kind, body)
        assume(wanted.value is not None)
        stored = read(kind, dry_run(served, body))
        assert (stored.value, stored.error) == (wanted.value, None)

    law()


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("ImagePolicy", "{image: a, policy: {}}", "set exactly one of semver, numerical"),
        ("ImagePolicy", "{image: a, policy: {newest: {}, numerical: {}}}", "set exactly one of semver, numerical"),
        ("ImagePolicy", "{image: a, policy: {newest: {}}, filterTags: {extract: $1}}", "extract needs a pattern"),
        ("ImagePolicy", "{image: a, policy: {digest: {tag: a}}, digestReflectionPolicy: Never}", "implies"),
        ("ImagePolicy", "{image: a, policy: {newest: {}}, interval: 0.5s}", "must be 1s or more"),
        ("ImagePolicy", "{image: a, policy: {newest: {}}, interval: 5}", "must be of type string"),
        ("ImagePolicy", "{image: a, policy: {newest: {}}, timeout: 2h}", "must be 1h or less"),
        ("ImagePolicy", "{image: 'https://a/b', policy: {newest: {}}}", "should match"),
        ("ImagePolicy", "{image: 'a:1', policy: {newest: {}}}", "should match"),
        ("ImagePolicy", "{policy: {newest: {}}}", "spec.image: Required value"),
        ("GitRepository", "{url: 'https://a/b', ref: {branch: a, tag: b}}", "keep one of branch, tag, commit"),
        ("GitRepository", "{url: 'https://a/b', ref: {commit: abc}}", "should match"),
        ("ImageUpdateAutomation", "{policySelector: {matchExpressions: [{key: a, operator: In}]}}", "need values"),
        ("ImageUpdateAutomation", "{update: {paths: [/a]}}", "should match"),
        ("ImagePolicy", "{image: a, policy: {newest: {}}, after: {name: a}}", "after.name is the policy itself"),
        ("ImagePolicy", "{image: a, policy: {newest: {}}, approvals: 21}", "less than or equal to 20"),
        ("ImagePolicy", "{image: a, policy: {newest: {}}, platforms: [amd64]}", "should match"),
        ("ImagePolicy", "{image: a, policy: {newest: {}}, verify: {provider: cosign}}", "one of secretRef and keyless"),
        (
            "ImagePolicy",
            "{image: a, policy: {newest: {}}, verify: {keyless: {issuer: a}}}",
            "write one of subject and subjectRegExp",
        ),
        (
            "ImagePolicy",
            "{image: a, policy: {newest: {}}, verify: {secretRef: {name: a}, trustRootSecretRef: {name: b}}}",
            "trustRootSecretRef needs keyless",
        ),
        ("Freeze", "{}", "spec.reason: Required value"),
        (
            "Freeze",
            "{reason: x, starts: 2026-01-02T00:00:00Z, expires: 2026-01-01T00:00:00Z}",
            "expires is not after starts",
        ),
        ("Quarantine", "{image: a}", "write tag, digest or both"),
        ("Kustomization", "{drift: none}", "Unsupported value"),
        ("Kustomization", "{drift: on}", "Unsupported value"),
        ("Kustomization", "{kubeConfig: {}}", "spec.kubeConfig.secretRef: Required value"),
        ("Kustomization", "{deletionPolicy: WaitForTermination}", "Unsupported value"),
    ],
)
def test_what_can_be_refused_at_the_door_is(served: ControlPlane, kind: str, spec: str, message: str) -> None:
    text = f"apiVersion: {API_VERSION}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"
    (body,) = as_kubectl_reads(served, text)
    with pytest.raises(ApiError) as caught:
        dry_run(served, body)
    assert caught.value.code == 422
    assert message in caught.value.message
    with pytest.raises(api.SpecErrors):
        api.load_text(text)


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("ImagePolicy", "{image: a, policy: {newest: {}}, minAgee: 3d}", "spec.minAgee"),
        (
            "ImagePolicy",
            "{image: a, policy: {newest: {}}, windows: [{cron: '* * * *', duration: 1h}]}",
            "spec.windows[0].cron",
        ),
        ("ImagePolicy", "{image: a, policy: {semver: {range: x, lose: true}}}", "spec.policy.semver.lose"),
        ("ImagePolicy", "{image: a, policy: {newest: {}, regex: {}}}", "spec.policy.regex"),
        ("ImageUpdateAutomation", "{git: {push: {pullRequest: {base: a}}}}", "spec.git.push.pullRequest"),
        ("ImageUpdateAutomation", "{policySelector: {matchExpressions: [{key: a, operator: Exists, x: 1}]}}", "x"),
        ("Kustomization", "{postBuild: {substitute: {a: b}}}", "spec.postBuild"),
        ("Freeze", "{reason: x, until: 2026-01-01T00:00:00Z}", "spec.until"),
        ("Kustomization", "{rollback: {onFailur: rollback}}", "spec.rollback.onFailur"),
        ("Kustomization", "{dependsOn: [{name: a, readyExpr: 'true'}]}", "spec.dependsOn[0].readyExpr"),
    ],
)
def test_what_the_server_does_not_know_reaches_the_parser_and_is_named(
    served: ControlPlane, kind: str, spec: str, field: str
) -> None:
    (body,) = as_kubectl_reads(
        served, f"apiVersion: {API_VERSION}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"
    )
    entry = read(kind, dry_run(served, body))
    assert entry.value is None
    assert field in str(entry.error)


# ------------------------------------------------------------------------------------------- status


def sample(shape: Shape) -> Any:
    """A value with every field, every list full."""
    match shape:
        case Words():
            return shape.known[-1] if shape.known else "ü"
        case Count():
            return 2**53
        case Counts():
            return {"a.b/c d": 1}
        case Moment():
            return datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
        case Many():
            return [sample(shape.item)] * (shape.most or 30)
        case Record():
            return {each.name: sample(each.shape) for each in shape.fields}
        case _:
            raise AssertionError(shape)


@pytest.mark.parametrize("kind", STATUS)
def test_a_full_status_is_kept_whole(served: ControlPlane, namespace: str, kind: str) -> None:
    spec = {
        "ImagePolicy": {"image": "a", "policy": {"newest": {}}},
        "GitRepository": {"url": "https://git.example.com/a"},
    }.get(kind, {})
    body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "a", "namespace": namespace}, "spec": spec}
    served.apply(body)
    status = status_fields(kind, sample(STATUS[kind]))
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURALS[kind]}/a/status"
    applied = {**{name: body[name] for name in ("apiVersion", "kind")}, "metadata": {"name": "a"}, "status": status}
    query = "?fieldManager=image-updater&force=true&fieldValidation=Strict"
    served.request("PATCH", path + query, applied, "application/apply-patch+yaml")
    assert served.get(kind, "a", namespace)["status"] == status
