"""Which documents are ours, their metadata, and the other kinds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from image_updater import api
from image_updater.api import model
from image_updater.errors import SpecError

V = "image-updater.dev/v1alpha1"


def errors_of(text: str) -> tuple[SpecError, ...]:
    with pytest.raises(api.SpecErrors) as caught:
        api.load_text(text, "o.yaml")
    return caught.value.errors


def policy(name: str, *, head: str = f"apiVersion: {V}\nkind: ImagePolicy") -> str:
    return f"{head}\nmetadata: {{name: {name}}}\nspec: {{image: nginx, policy: {{newest: {{}}}}}}\n"


@pytest.mark.parametrize(
    "head",
    [
        "apiVersion: apps/v1\nkind: Deployment",
        "apiVersion: v1\nkind: ConfigMap",
        "apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy",
        "apiVersion: image.toolkit.fluxcd.io/v1beta2\nkind: ImageUpdateAutomation",
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository",
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization",
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization",
        "apiVersion: config.openshift.io/v1\nkind: ImagePolicy",
        "apiVersion: notification.toolkit.fluxcd.io/v1\nkind: Receiver",
    ],
)
def test_foreign_kinds_are_nobodys_business(head: str) -> None:
    assert api.load_text(policy("x", head=head) + "nonsense: [1]\n") == model.Objects()


@pytest.mark.parametrize("text", ["", "---\n", "# only a comment\n", "---\n---\n"])
def test_empty_documents_are_nothing(text: str) -> None:
    assert api.load_text(text) == model.Objects()


@pytest.mark.parametrize(
    ("head", "message", "remedy"),
    [
        ("apiVersion: image-updater.dev/v1\nkind: ImagePolicy", "unknown apiVersion", V),
        ("apiVersion: image-updater.io/v1alpha1\nkind: ImagePolicy", "unknown apiVersion", V),
        ("apiVersion: imageupdater.dev/v1alpha1\nkind: ImagePolicy", "unknown apiVersion", V),
        ("apiVersion: image-updatr.dev/v1alpha1\nkind: ImagePolicy", "unknown apiVersion", V),
        ("apiVersion: v1alpha1\nkind: ImagePolicy", "unknown apiVersion", V),
        ("kind: ImagePolicy", "is required", V),
        ("apiversion: image-updater.dev/v1alpha1\nkind: ImagePolicy", "is required", "'apiversion' is misspelt"),
        (f"apiVersion: {V}\nKind: ImagePolicy", "is required", "'Kind' is misspelt"),
        (f"apiVersion: {V}", "is required", "one of ImagePolicy"),
        (f"apiVersion: {V}\nkind: ImagePolcy", "unknown kind 'ImagePolcy'", "did you mean 'ImagePolicy'?"),
        (f"apiVersion: {V}\nkind: ImageRepository", "unknown kind", "spec.image"),
        *((f"apiVersion: {V}\nkind: {kind}", "not built yet", "later version") for kind in ("Receiver", "Alert")),
    ],
)
def test_what_was_meant_to_be_ours_is_not_ignored(head: str, message: str, remedy: str) -> None:
    (error,) = errors_of(policy("web", head=head))
    assert message in error.message
    assert remedy in (error.remedy or "")
    assert error.where.line is not None


@pytest.mark.parametrize("text", ["a: 1\n", "- 1\n", "hello\n", "spec: {}\n"])
def test_a_file_that_holds_no_object_is_an_error(text: str) -> None:
    (error,) = errors_of(text)
    assert "object" in error.message


@pytest.mark.parametrize(
    ("metadata", "field", "message"),
    [
        ("", "metadata", "is required"),
        ("metadata: {}", "metadata.name", "is required"),
        ("metadata: {name: Web}", "metadata.name", "is not a name"),
        ("metadata: {name: a..b}", "metadata.name", "is not a name"),
        (f"metadata: {{name: {'a' * 254}}}", "metadata.name", "is not a name"),
        ("metadata: {name: 1.10}", "metadata.name", "YAML reads the number 1.10"),
        ("metadata: {name: a, namespace: a.b}", "metadata.namespace", "is not a namespace"),
        ("metadata: {name: a, label: {}}", "metadata.label", "unknown field"),
        ("metadata: {name: a, labels: {a: true}}", "metadata.labels.a", "YAML reads the boolean true"),
        ("metadata: {name: a, labels: {a: 'x y'}}", "metadata.labels.a", "is not a label value"),
        ("metadata: {name: a, labels: {'-': x}}", "metadata.labels.-", "is not a label key"),
        ("metadata: {name: a, annotations: {x: 1}}", "metadata.annotations.x", "YAML reads the number 1"),
        ("metadata: [a]", "metadata", "must be a mapping"),
    ],
)
def test_metadata_is_checked(metadata: str, field: str, message: str) -> None:
    text = f"apiVersion: {V}\nkind: ImagePolicy\n{metadata}\nspec: {{image: nginx, policy: {{newest: {{}}}}}}\n"
    (error,) = errors_of(text)
    assert error.where.field == field
    assert message in error.message


@pytest.mark.parametrize("name", ["web", "a.b.c", "0", "a" * 63])
def test_names_may_be_subdomains_and_the_namespace_defaults(name: str) -> None:
    quoted = f"'{name}'"
    assert api.load_text(policy(quoted)).policies[0].key == model.ObjectKey("default", name)


def test_what_the_server_writes_into_an_object_is_accepted() -> None:
    text = policy("web").replace(
        "{name: web}", "{name: web, uid: x, generation: 3, creationTimestamp: null, managedFields: [{a: 1}]}"
    )
    assert len(api.load_text(text + "status: {anything: [1]}\n").policies) == 1


@pytest.mark.parametrize(
    ("extra", "remedy"),
    [("sepc: {}", "did you mean 'spec'?"), ("image: nginx", "it belongs under spec: spec.image")],
)
def test_unknown_fields_beside_spec_are_errors(extra: str, remedy: str) -> None:
    (error,) = errors_of(policy("web") + extra + "\n")
    assert error.remedy == remedy


@pytest.mark.parametrize("spec", ["", "spec:\n", "spec: null\n"])
def test_an_object_without_spec_is_an_error(spec: str) -> None:
    (error,) = errors_of(f"apiVersion: {V}\nkind: ImagePolicy\nmetadata: {{name: a}}\n{spec}")
    assert (error.where.field, error.message) == ("spec", "is required")


def test_two_objects_of_one_name_are_an_error_that_names_both_lines() -> None:
    (error,) = errors_of(
        policy("web") + "---\n" + policy("web").replace("{name: web}", "{name: web, namespace: default}")
    )
    assert str(error).startswith("o.yaml:6: ImagePolicy default/web: metadata.name: is defined twice")
    assert "o.yaml:1" in error.message


def test_lists_are_expanded_nested_ones_too() -> None:
    items = "\n".join("  " + line for line in policy("a").splitlines())
    text = f"apiVersion: v1\nkind: List\nitems:\n- {items.strip()}\n"
    nested = (
        "apiVersion: v1\nkind: List\nitems:\n- " + "\n".join("  " + line for line in text.splitlines()).strip() + "\n"
    )
    typed = text.replace("apiVersion: v1\nkind: List", f"apiVersion: {V}\nkind: ImagePolicyList", 1)
    for each in (text, nested, typed):
        assert [p.key.name for p in api.load_text(each).policies] == ["a"]


def test_lists_that_multiply_by_aliases_are_stopped() -> None:
    lines = ["apiVersion: v1", "kind: List", "items:", "- &a0 {apiVersion: v1, kind: List, items: []}"]
    for i in range(1, 20):
        refs = ", ".join([f"*a{i - 1}"] * 10)
        lines.append(f"- &a{i} {{apiVersion: v1, kind: List, items: [{refs}]}}")
    (error,) = errors_of("\n".join(lines) + "\n")
    assert "more than 100,000 objects" in error.message


def test_merge_keys_that_multiply_are_read_once() -> None:
    lines = ["x: &m0 {a: 1}"]
    lines += [f"x{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}" for i in range(1, 40)]
    text = "\n".join(lines) + f"\napiVersion: {V}\nkind: ImagePolicy\nmetadata: {{name: a}}\nspec: {{<<: *m39}}\n"
    assert any(error.where.field == "spec.a" for error in errors_of(text))


def test_broken_yaml_is_one_error_with_its_line() -> None:
    (error,) = errors_of("a: [1\nb: }\n")
    assert error.where.file == "o.yaml"
    assert error.where.line
    assert "not valid YAML" in error.message


# ------------------------------------------------------------------------------------------- GitRepository


def repository(spec: str) -> str:
    return f"apiVersion: {V}\nkind: GitRepository\nmetadata: {{name: fleet}}\nspec: {spec}\n"


def test_a_repository_with_every_field_is_read() -> None:
    text = repository(
        "{url: 'ssh://git@git.acme.dev/fleet.git', ref: {branch: main}, secretRef: {name: git},"
        " certSecretRef: {name: ca}, proxySecretRef: {name: proxy}, interval: 2m, timeout: 90s,"
        " verify: {mode: TagAndHEAD, secretRef: {name: keys}}, suspend: yes}"
    )
    assert api.load_text(text).repositories[0] == model.GitRepository(
        meta=model.Meta(key=model.ObjectKey("default", "fleet")),
        url="ssh://git@git.acme.dev/fleet.git",
        ref=model.GitRef(branch="main"),
        secret_ref="git",
        cert_secret_ref="ca",
        proxy_secret_ref="proxy",
        interval=timedelta(minutes=2),
        timeout=timedelta(seconds=90),
        verify=model.GitVerification(secret_ref="keys", mode=model.VerifyMode.TAG_AND_HEAD),
        suspend=True,
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://git.acme.dev/a/b",
        "http://127.0.0.1:8080/a.git",
        "git@github.com:acme/fleet.git",
        "file:///srv/fleet.git",
    ],
)
def test_each_form_of_url_is_read(url: str) -> None:
    assert api.load_text(repository(f"{{url: '{url}'}}")).repositories[0].url == url


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ("{}", "spec.url", "is required"),
        ("{url: 'https://me:hunter2@git.acme.dev/a'}", "spec.url", "has a password"),
        ("{url: 'git://git.acme.dev/a'}", "spec.url", "git:// is not supported"),
        ("{url: 'https://git.acme.dev'}", "spec.url", "no host or no repository"),
        ("{url: 'https://git.acme.dev:x/a'}", "spec.url", "is not a URL"),
        ("{url: /srv/fleet}", "spec.url", "is not a Git URL"),
        ("{url: 'file://host/a'}", "spec.url", "absolute path"),
        ("{url: 'https://a/b c'}", "spec.url", "white space"),
        ("{url: 'https://a/b', ref: {branch: a, tag: b}}", "spec.ref", "has branch and tag"),
        ("{url: 'https://a/b', ref: {branch: 'a..b'}}", "spec.ref.branch", "not a legal branch"),
        ("{url: 'https://a/b', ref: {branch: refs/heads/main}}", "spec.ref.branch", "full ref"),
        ("{url: 'https://a/b', ref: {commit: abc}}", "spec.ref.commit", "not a full commit id"),
        ("{url: 'https://a/b', ref: {semver: '1'}}", "spec.ref.semver", "unknown field"),
        ("{url: 'https://a/b', verify: {mode: HEAD}}", "spec.verify.secretRef", "is required"),
        ("{url: 'https://a/b', interval: 0s}", "spec.interval", "below the minimum"),
    ],
)
def test_a_repository_is_checked_and_no_password_repeated(spec: str, field: str, message: str) -> None:
    (error,) = errors_of(repository(spec))
    assert error.where.field == field
    assert message in error.message
    assert "hunter2" not in str(error)


# ----------------------------------------------------------------------------------- ImageUpdateAutomation


def automation(spec: str) -> str:
    return f"apiVersion: {V}\nkind: ImageUpdateAutomation\nmetadata: {{name: all, namespace: apps}}\nspec:\n  {spec}\n"


def test_an_automation_with_every_field_is_read() -> None:
    text = automation("""\
sourceRef: {kind: GitRepository, name: fleet, namespace: flux-system}
  policySelector:
    matchLabels: {team: a}
    matchExpressions: [{key: tier, operator: In, values: [web, api]}, {key: old, operator: DoesNotExist}]
  interval: 3m
  update:
    {paths: [./apps/, apps, infra//x], exclude: ['**/vendor/**'], strategy: Setters, proof: rendered,
    followRefs: false, patches: true}
  git:
    commit:
      author: {name: bot, email: bot@acme.dev}
      messageTemplate: 'chore: {{ changes }}'
      messageTemplateValues: {ticket: OPS-1}
      signingKey: {secretRef: {name: key}}
    push: {branch: updates}
  batch: {quiet: 2s, max: 1m}
  windows: []
  suspend: true""")
    assert api.load_text(text).automations[0] == model.ImageUpdateAutomation(
        meta=model.Meta(key=model.ObjectKey("apps", "all")),
        source_ref=model.ObjectKey("flux-system", "fleet"),
        policy_selector=model.LabelSelector(
            match_labels={"team": "a"},
            match_expressions=(("tier", "In", ("web", "api")), ("old", "DoesNotExist", ())),
        ),
        interval=timedelta(minutes=3),
        update=model.Update(
            paths=("apps", "infra/x"),
            exclude=("**/vendor/**",),
            strategy=model.UpdateStrategy.SETTERS,
            proof=model.ProofLevel.RENDERED,
            follow_refs=False,
            patches=True,
        ),
        commit=model.Commit(
            author=model.Author(name="bot", email="bot@acme.dev"),
            message_template="chore: {{ changes }}",
            message_template_values={"ticket": "OPS-1"},
            signing_key="key",
        ),
        push_branch="updates",
        batch=model.Batch(quiet=timedelta(seconds=2), max=timedelta(minutes=1)),
        suspend=True,
    )


def test_an_empty_automation_has_the_defaults_of_the_model() -> None:
    key = model.ObjectKey("apps", "all")
    plain = model.ImageUpdateAutomation(meta=model.Meta(key=key), source_ref=None)
    for spec in (
        "{}",
        "git: {}",
        "update: {}",
        "update: {paths: [.]}",
        "git: {push: {}, commit: {author: {}}}",
        "batch: {}",
    ):
        assert api.load_text(automation(spec)).automations[0] == plain


def test_a_long_quiet_time_raises_the_longest_wait() -> None:
    batch = api.load_text(automation("batch: {quiet: 30s}")).automations[0].batch
    assert batch == model.Batch(quiet=timedelta(seconds=30), max=timedelta(seconds=30))


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ("windows: [{cron: '* * * * *'}]", "spec.windows[0].duration", "is required"),
        ("git: {provenFile: ../x}", "spec.git.provenFile", "leaves the repository"),
        ("git: {push: {pullRequest: {base: main}}}", "spec.git.push.pullRequest", "not built yet"),
        ("git: {push: {refspec: a}}", "spec.git.push.refspec", "unknown field"),
        ("git: {push: {branch: 'a b'}}", "spec.git.push.branch", "not a legal branch"),
        ("git: {checkout: {}}", "spec.git.checkout", "unknown field"),
        ("git: {commit: {author: {email: nobody}}}", "spec.git.commit.author.email", "not an e-mail"),
        ('git: {commit: {author: {name: "a\\nb"}}}', "spec.git.commit.author.name", "line break"),
        ("git: {commit: {author: {name: 'a <b>'}}}", "spec.git.commit.author.name", "< or >"),
        ("update: {path: apps}", "spec.update.path", "unknown field"),
        ("update: {paths: apps}", "spec.update.paths", "must be a list"),
        ("update: {paths: [../x]}", "spec.update.paths[0]", "leaves the repository"),
        ("update: {paths: [a, /x]}", "spec.update.paths[1]", "is absolute"),
        ("update: {paths: ['apps/*']}", "spec.update.paths[0]", "is a pattern"),
        ("update: {exclude: [../**]}", "spec.update.exclude[0]", "leaves the repository"),
        ("update: {strategy: auto}", "spec.update.strategy", "is not one of Auto, Setters"),
        ("policySelector: {matchLabel: {}}", "spec.policySelector.matchLabel", "unknown field"),
        (
            "policySelector: {matchExpressions: [{key: a, operator: In}]}",
            "spec.policySelector.matchExpressions[0].values",
            "needs values",
        ),
        (
            "policySelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            "spec.policySelector.matchExpressions[0].values",
            "takes no values",
        ),
        (
            "policySelector: {matchExpressions: [{key: a, operator: Is}]}",
            "spec.policySelector.matchExpressions[0].operator",
            "'Is' is not",
        ),
        ("sourceRef: {kind: Bucket, name: x}", "spec.sourceRef.kind", "'Bucket' is not"),
        ("sourceRef: {kind: GitRepository}", "spec.sourceRef.name", "is required"),
        ("batch: {quiet: 10s, max: 5s}", "spec.batch.max", "shorter than quiet"),
        ("batch: {quiet: -1s}", "spec.batch.quiet", "below the minimum"),
    ],
)
def test_an_automation_is_checked(spec: str, field: str, message: str) -> None:
    (error,) = errors_of(automation(spec))
    assert error.where.field == field
    assert message in error.message


@pytest.mark.parametrize(
    "spec", ["git: {push: {pullRequest: {}}}", "windows: null", "git: {push: {pullRequest: null}}"]
)
def test_inert_values_of_what_is_not_built_pass(spec: str) -> None:
    assert len(api.load_text(automation(spec)).automations) == 1


@pytest.mark.parametrize(
    ("labels", "matches"),
    [
        ({"team": "a", "tier": "web"}, True),
        ({"team": "a"}, False),
        ({"team": "a", "tier": "web", "old": ""}, False),
        ({}, False),
    ],
)
def test_selectors_match_as_in_kubernetes(labels: dict[str, str], matches: bool) -> None:
    text = automation(
        "policySelector: {matchLabels: {team: a}, matchExpressions: ["
        "{key: tier, operator: In, values: [web]}, {key: old, operator: DoesNotExist}]}"
    )
    assert api.load_text(text).automations[0].policy_selector.matches(labels) is matches


# ------------------------------------------------------------------------------------ Kustomization, Secret


def test_a_kustomization_with_every_field_is_read() -> None:
    text = f"""\
apiVersion: {V}
kind: Kustomization
metadata: {{name: prod}}
spec:
  path: ./overlays/prod/
  sourceRef: {{kind: GitRepository, name: fleet}}
  interval: 10m
  retryInterval: 1m
  timeout: 5m
  prune: true
  wait: true
  force: false
  targetNamespace: apps
  namePrefix: a-
  nameSuffix: -z
  serviceAccountName: deployer
  dependsOn: [{{name: crds}}, {{name: base, namespace: infra}}]
  healthChecks: [{{apiVersion: apps/v1, kind: Deployment, name: web, namespace: apps}}]
  patches: [{{patch: "a: b", target: {{kind: Deployment}}}}]
  images: [{{name: nginx, newTag: '1.2'}}]
  components: [../x]
  kubeConfig: {{secretRef: {{name: c2, key: value}}}}
  commonMetadata: {{labels: {{team: a}}, annotations: {{note: ''}}}}
  drift: off
  deletionPolicy: Orphan
  rollback: {{onFailure: none}}
"""
    assert api.load_text(text).kustomizations[0] == model.Kustomization(
        meta=model.Meta(key=model.ObjectKey("default", "prod")),
        source_ref=model.ObjectKey("default", "fleet"),
        path="overlays/prod",
        images=({"name": "nginx", "newTag": "1.2"},),
        patches=({"patch": "a: b", "target": {"kind": "Deployment"}},),
        components=("../x",),
        target_namespace="apps",
        name_prefix="a-",
        name_suffix="-z",
        common_labels={"team": "a"},
        common_annotations={"note": ""},
        interval=timedelta(minutes=10),
        retry_interval=timedelta(minutes=1),
        timeout=timedelta(minutes=5),
        prune=True,
        wait=True,
        service_account_name="deployer",
        depends_on=(model.ObjectKey("default", "crds"), model.ObjectKey("infra", "base")),
        health_checks=(model.HealthCheck(api_version="apps/v1", kind="Deployment", name="web", namespace="apps"),),
        kube_config=model.SecretKey(name="c2", key="value"),
        drift=model.Drift.OFF,
        deletion_policy=model.DeletionPolicy.ORPHAN,
        on_failure=model.OnFailure.NONE,
    )


@pytest.mark.parametrize("word", ["off", "Off", "no", "false", "'off'"])
def test_drift_off_is_off_even_after_a_reader_made_a_boolean_of_it(word: str) -> None:
    text = f"apiVersion: {V}\nkind: Kustomization\nmetadata: {{name: a}}\nspec: {{drift: {word}}}\n"
    assert api.load_text(text).kustomizations[0].drift is model.Drift.OFF


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ("{path: ../x}", "spec.path", "leaves the repository"),
        ("{prune: 'yes'}", "spec.prune", "must be true or false"),
        ("{drift: none}", "spec.drift", "is not one of correct, warn, off"),
        ("{rollback: {onFailure: revert}}", "spec.rollback.onFailure", "is not one of hold"),
        ("{images: [{name: a, newTag: 1.10}]}", "spec.images[0].newTag", "YAML reads the number 1.10"),
        ("{patches: [{path: a.yaml}]}", "spec.patches[0].path", "unknown field"),
        ("{drift: on}", "spec.drift", "is not one of correct, warn, off"),
        ("{drift: 'no'}", "spec.drift", "is not one of correct, warn, off"),
        ("{deletionPolicy: WaitForTermination}", "spec.deletionPolicy", "is not one of MirrorPrune"),
        ("{kubeConfig: {}}", "spec.kubeConfig.secretRef", "is required"),
        ("{kubeConfig: {secretRef: {}}}", "spec.kubeConfig.secretRef.name", "is required"),
        ("{kubeConfig: {configMapRef: {name: a}}}", "spec.kubeConfig.configMapRef", "unknown field"),
        ("{commonMetadata: {labels: {a: b c}}}", "spec.commonMetadata.labels.a", "is not a label value"),
        ("{postBuild: {}}", "spec.postBuild", "unknown field"),
        ("{decryption: {provider: sops}}", "spec.decryption", "unknown field"),
        ("{dependsOn: [crds]}", "spec.dependsOn[0]", "must be a mapping"),
    ],
)
def test_a_kustomization_is_checked(spec: str, field: str, message: str) -> None:
    errors = errors_of(f"apiVersion: {V}\nkind: Kustomization\nmetadata: {{name: a}}\nspec: {spec}\n")
    assert any(error.where.field == field and message in error.message for error in errors)


def secret(body: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: git, namespace: apps}}\n{body}\n"


def test_a_secret_is_decoded_and_its_plain_text_wins() -> None:
    text = secret(
        "type: kubernetes.io/basic-auth\n"
        "data:\n  username: Ym90\n  password: |\n    aHVudG\n    VyMg==\nstringData: {username: me}"
    )
    loaded = api.load_text(text).secrets[model.ObjectKey("apps", "git")]
    assert loaded.type == "kubernetes.io/basic-auth"
    assert loaded.data == {"username": b"me", "password": b"hunter2"}
    assert "hunter2" not in repr(loaded)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("data: {password: hunter2!}", "data.password"),
        ("stringData: {password: 12345}", "stringData.password"),
        ("stringData: {password: [hunter2]}", "stringData.password"),
        ("stringdata: {password: hunter2}", "stringdata"),
        ("stringData:\n  password: >hunter2", None),
        ("stringData:\n  password: @hunter2", None),
    ],
)
def test_a_broken_secret_is_an_error_that_does_not_repeat_it(body: str, field: str | None) -> None:
    (error,) = errors_of(secret(body))
    assert error.where.field == field
    assert "hunter2" not in str(error)
    assert "12345" not in str(error)


def test_an_encrypted_secret_is_known_by_name_only() -> None:
    objects = api.load_text(secret("data: {a: 'ENC[AES256_GCM,data:x]'}\nsops: {version: '3'}"))
    assert objects.secrets == {}
    assert objects.encrypted == (model.ObjectKey("apps", "git"),)
