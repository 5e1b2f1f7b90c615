"""What may stand in an objects file, and what every mistake says: file, line, field and remedy, and exit code 2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.explain.running import HEAD, digest, explain, policy, run, thing

if TYPE_CHECKING:
    from pathlib import Path

ANY = "{semver: {range: '*'}}"
URL = "url: https://git.example/fleet.git"
SOURCE = "sourceRef: {name: fleet}"
BARE = f"{HEAD}kind: ImagePolicy\nmetadata: {{name: web}}\n"

GOOD = {
    "inert gates": policy(
        ANY,
        "minAge: 0s",
        "platforms: []",
        "windows: []",
        "approvals: 0",
        "verify: {}",
        "after: null",
        "group: ''",
    ),
    "a bare zero": policy(ANY, "minAge: 0"),
    "preflight true": policy(ANY, "preflight: true"),
    "preflight false": policy(ANY, "preflight: false"),
    "every field": policy(
        ANY,
        "interval: 1m30s",
        "timeout: 10s",
        "serviceAccountName: default",
        "provider: aws",
        "insecure: true",
        "filterTags: {pattern: '(.*)', extract: '$1', exclude: ['-rc']}",
        "digestReflectionPolicy: Never",
        "allowDowngrade: true",
        f"deny: ['9.9.9', '{digest('a')}']",
        "certSecretRef: {}",
        "suspend: true",
    ),
    "nulls are absent": policy(ANY, "filterTags:", "deny: ~", "interval: null"),
    "a byte order mark": "\ufeff" + policy(ANY),
    "CRLF": policy(ANY).replace("\n", "\r\n"),
    "several documents": "---\n" + policy(ANY) + "---\n---\n# nothing\n---\n" + policy(ANY, name="other"),
    "JSON": json.dumps(
        {
            "apiVersion": "image-updater.dev/v1alpha1",
            "kind": "ImagePolicy",
            "metadata": {"name": "web"},
            "spec": {"image": "acme/web", "policy": {"semver": {"range": "*"}}},
        }
    ),
    "a list": "apiVersion: v1\nkind: List\nitems:\n- " + policy(ANY).replace("\n", "\n  "),
    "a list of lists": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n  - "
    + policy(ANY).replace("\n", "\n    "),
    "our own list": "apiVersion: image-updater.dev/v1alpha1\nkind: ImagePolicyList\nitems:\n- "
    + policy(ANY).replace("\n", "\n  "),
    "foreign kinds beside it": policy(ANY)
    + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n"
    + "---\napiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata: {name: a}\nspec: {what: ever}\n",
    "anchors": policy(ANY, "deny: &denied ['9.9.9']", "filterTags: {exclude: *denied}"),
    "merge keys": policy(ANY, "filterTags: &f {exclude: ['x']}").replace("spec:\n", "spec:\n  <<: {interval: 5m}\n"),
    "status and the server's metadata": policy(ANY, labels=", uid: abc, resourceVersion: '1', generation: 2")
    + "status: {latest: {tag: x}}\n",
    "a port": policy(ANY, image="localhost:5000/web"),
    "an IPv6 registry": policy(ANY, image="'[::1]:5000/web'"),
    "a Docker Hub name": policy(ANY, image="nginx"),
    "deep paths": policy(ANY, image="r.example/a/b/c/d/e"),
    "fractions": policy(ANY, "interval: 1.5h"),
}


@pytest.mark.parametrize("objects", GOOD.values(), ids=GOOD)
def test_what_is_valid_is_judged(objects: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, objects, ["1.0.0"], "--policy", "web")
    assert answer.code == 0, answer.stderr
    assert answer.chosen == "1.0.0"


GATES = {
    "minAge": "3 days",
    "platforms": "[linux/x86_64]",
    "verify": "{provider: cosign}",
    "windows": "[{cron: '0 9 * *', duration: 8h}]",
    "after": "{name: web}",
    "group": "a b",
    "approvals": "-1",
}


@pytest.mark.parametrize(("gate", "value"), GATES.items())
def test_a_gate_that_cannot_be_meant_is_refused_by_name(gate: str, value: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(ANY, f"{gate}: {value}"), ["1.0.0"])
    assert answer.code == 2
    [error] = answer.errors
    assert error["field"].startswith(f"spec.{gate}")
    assert error["line"] == 7


# objects, field, line, a part of the message or the remedy
BAD: dict[str, tuple[str, str | None, int | None, str]] = {
    # Fields of an ImagePolicy.
    "unknown field": (policy(ANY, "minage: 1h"), "spec.minage", 7, "did you mean 'minAge'?"),
    "unknown field in a filter": (policy(ANY, "filterTags: {patern: a}"), "spec.filterTags.patern", 7, "'pattern'"),
    "unknown strategy": (policy("{semvr: {range: '*'}}"), "spec.policy.semvr", 6, "did you mean 'semver'?"),
    "unknown field of a strategy": (policy("{newest: {on: created}}"), "spec.policy.newest.on", 6, "unknown field"),
    "unknown top field": (policy(ANY) + "specs: {}\n", "specs", 7, "did you mean 'spec'?"),
    "a spec field at the top": (policy(ANY) + "interval: 5m\n", "interval", 7, "spec.interval"),
    "unknown metadata": (policy(ANY, labels=", lables: {}"), "metadata.lables", 3, "did you mean 'labels'?"),
    "two strategies": (policy("{semver: {range: '*'}, numerical: {}}"), "spec.policy", 6, "keep exactly one"),
    "three strategies": (
        policy("{semver: {range: '*'}, numerical: {}, alphabetical: {}}"),
        "spec.policy",
        6,
        "semver (line 6) and numerical (line 6) and alphabetical",
    ),
    "no strategy": (policy("{}"), "spec.policy", 6, "exactly one of semver"),
    "a strategy of nothing": (policy("{numerical: }"), "spec.policy", 6, "numerical: {}"),
    "a strategy that is a word": (policy("semver"), "spec.policy", 6, "not a string"),
    "no policy": (f"{BARE}spec: {{image: acme/web}}\n", "spec.policy", 4, "is required"),
    "no image": (f"{BARE}spec: {{policy: {ANY}}}\n", "spec.image", 4, "is required"),
    "no spec": (BARE, "spec", 1, "is required"),
    "no metadata": (f"{HEAD}kind: ImagePolicy\nspec: {{image: a, policy: {ANY}}}\n", "metadata", 1, "name"),
    "no name": (policy(ANY).replace("name: web", "namespace: web"), "metadata.name", 3, "is required"),
    "set twice": (policy(ANY, "image: other"), "spec.image", 7, "in lines 5 and 7"),
    "a bad name": (policy(ANY, name="Web_1"), "metadata.name", 3, "is not a name"),
    "a bad namespace": (policy(ANY, labels=", namespace: a.b"), "metadata.namespace", 3, "is not a namespace"),
    "a bad label": (policy(ANY, labels=", labels: {a: 'b c'}"), "metadata.labels.a", 3, "is not a label value"),
    # Ranges, formats, tags.
    "range": (policy("{semver: {range: '1.x.q'}}"), "spec.policy.semver.range", 6, "is not a version range"),
    "an empty range": (policy("{semver: {range: ''}}"), "spec.policy.semver.range", 6, "is empty"),
    "no range": (policy("{semver: {}}"), "spec.policy.semver.range", 6, "is required"),
    "a number as range": (policy("{semver: {range: 1.2}}"), "spec.policy.semver.range", 6, "quote it: '1.2'"),
    "half a range": (policy("{semver: {range: '>=1.0 <'}}"), "spec.policy.semver.range", 6, "is not a version"),
    "four parts": (policy("{semver: {range: 1.2.3.4}}"), "spec.policy.semver.range", 6, "is not a version"),
    "an endless range": (policy(f"{{semver: {{range: '{'>=1 ' * 500}'}}}}"), "spec.policy.semver.range", 6, "longer"),
    "endless alternatives": (
        policy(f"{{semver: {{range: '{'||'.join(['1'] * 40)}'}}}}"),
        "spec.policy.semver.range",
        6,
        "more than 32",
    ),
    "an unquoted >": (policy("{semver: {range: >=1}}"), None, 6, "not valid YAML"),
    "prereleases": (policy("{semver: {range: '*', prereleases: 1}}"), "spec.policy.semver.prereleases", 6, "true or"),
    "order": (policy("{numerical: {order: up}}"), "spec.policy.numerical.order", 6, "asc, desc"),
    "order in capitals": (policy("{alphabetical: {order: ASC}}"), "spec.policy.alphabetical.order", 6, "'asc'"),
    "by": (policy("{newest: {by: built}}"), "spec.policy.newest.by", 6, "created, pushed, firstSeen"),
    "a calver token": (policy("{calver: {format: YYYY.QQ}}"), "spec.policy.calver.format", 6, "'Q'"),
    "a calver without year": (policy("{calver: {format: MAJOR.MINOR}}"), "spec.policy.calver.format", 6, "no year"),
    "a calver of week and month": (policy("{calver: {format: YYYY.0W.0M}}"), "spec.policy.calver.format", 6, "week"),
    "a calver twice": (policy("{calver: {format: YYYY.0Y}}"), "spec.policy.calver.format", 6, "twice"),
    "no calver": (policy("{calver: {}}"), "spec.policy.calver.format", 6, "is required"),
    "a followed range": (policy("{digest: {tag: 'a b'}}"), "spec.policy.digest.tag", 6, "is not a tag"),
    "nothing followed": (policy("{digest: {}}"), "spec.policy.digest.tag", 6, "is required"),
    "a followed digest": (policy("{digest: {tag: 'sha256:abc'}}"), "spec.policy.digest.tag", 6, "is not a tag"),
    "followed and never": (
        policy("{digest: {tag: latest}}", "digestReflectionPolicy: Never"),
        "spec.digestReflectionPolicy",
        None,
        "Always",
    ),
    # Filters.
    "pattern": (policy(ANY, "filterTags: {pattern: '(['}"), "spec.filterTags.pattern", 7, "regular expression"),
    "a look-ahead": (policy(ANY, "filterTags: {pattern: '(?!a)'}"), "spec.filterTags.pattern", 7, "no look-around"),
    "a back-reference": (policy(ANY, "filterTags: {pattern: '(a)\\1'}"), "spec.filterTags.pattern", 7, "RE2"),
    "a repeat bomb": (
        policy(ANY, "filterTags: {pattern: '((a{1,100}){1,100}){1,100}'}"),
        "spec.filterTags.pattern",
        7,
        "regular expression",
    ),
    "a huge pattern": (
        policy(ANY, f"filterTags: {{pattern: '{'a|' * 9000}'}}"),
        "spec.filterTags.pattern",
        7,
        "longer",
    ),
    "two hundred groups": (
        policy(ANY, f"filterTags: {{pattern: '{'(a?)' * 200}'}}"),
        "spec.filterTags.pattern",
        7,
        "groups",
    ),
    "an exclude pattern": (policy(ANY, "filterTags: {exclude: [a, '(']}"), "spec.filterTags.exclude[1]", 7, "regular"),
    "an exclude that is no list": (policy(ANY, "filterTags: {exclude: a}"), "spec.filterTags.exclude", 7, "[a]"),
    "no such group": (
        policy(ANY, "filterTags: {pattern: '(?P<ts>a)', extract: '$tss'}"),
        "spec.filterTags.extract",
        7,
        "no group 'tss'",
    ),
    "a group too many": (
        policy(ANY, "filterTags: {pattern: '(a)', extract: '$2'}"),
        "spec.filterTags.extract",
        7,
        "'2'",
    ),
    "a lone dollar": (policy(ANY, "filterTags: {pattern: '(a)', extract: '$'}"), "spec.filterTags.extract", 7, "$$"),
    "nothing to extract from": (policy(ANY, "filterTags: {extract: '$1'}"), "spec.filterTags.extract", 7, "pattern"),
    "a denied number": (policy(ANY, "deny: [1.10]"), "spec.deny[0]", 7, "quote it: '1.10'"),
    "a denied pattern": (policy(ANY, "deny: ['1.*']"), "spec.deny[0]", 7, "neither a tag nor a digest"),
    "a short digest": (policy(ANY, "deny: ['sha256:abc']"), "spec.deny[0]", 7, "neither a tag nor a digest"),
    "deny is a word": (policy(ANY, "deny: 1.4.2"), "spec.deny", 7, "[1.4.2]"),
    # Images.
    "a scheme": (policy(ANY, image="https://r.example/web"), "spec.image", 5, "scheme"),
    "a tag": (policy(ANY, image="r.example/web:1.0"), "spec.image", 5, "has a tag"),
    "a digest": (policy(ANY, image=f"r.example/web@{digest('a')}"), "spec.image", 5, "has a digest"),
    "capitals": (policy(ANY, image="r.example/Web"), "spec.image", 5, "lower case"),
    "a bad port": (policy(ANY, image="r.example:99999/web"), "spec.image", 5, "99999 is not a port"),
    "an image id": (policy(ANY, image="a" * 64), "spec.image", 5, "image id"),
    "a long name": (policy(ANY, image=f"r.example/{'a' * 300}"), "spec.image", 5, "longer than 255"),
    "a trailing slash": (policy(ANY, image="r.example/web/"), "spec.image", 5, "is not an image name"),
    "spaces": (policy(ANY, image="'r.example/we b'"), "spec.image", 5, "is not an image name"),
    "a number as image": (policy(ANY, image="5000"), "spec.image", 5, "quote it"),
    "a list as image": (policy(ANY, image="[a]"), "spec.image", 5, "not a list"),
    # Durations and flags.
    "no unit": (policy(ANY, "interval: 5"), "spec.interval", 7, "5s, 5m or 5h"),
    "days": (policy(ANY, "interval: 1d"), "spec.interval", 7, "unit 'd'"),
    "negative": (policy(ANY, "interval: -5m"), "spec.interval", 7, "below the minimum"),
    "zero": (policy(ANY, "interval: 0s"), "spec.interval", 7, "below the minimum"),
    "a word": (policy(ANY, "timeout: forever"), "spec.timeout", 7, "is not a duration"),
    "too long": (policy(ANY, "timeout: 9999h"), "spec.timeout", 7, "above the maximum"),
    "a quoted boolean": (policy(ANY, "insecure: 'true'"), "spec.insecure", 7, "remove the quotes"),
    "a number as boolean": (policy(ANY, "preflight: 1"), "spec.preflight", 7, "true or false"),
    "reflection": (policy(ANY, "digestReflectionPolicy: always"), "spec.digestReflectionPolicy", 7, "'Always'"),
    "provider": (policy(ANY, "provider: amazon"), "spec.provider", 7, "generic, aws, azure, gcp"),
    "a bare secretRef": (policy(ANY, "secretRef: ghcr"), "spec.secretRef", 7, "{name: …}"),
    "a nameless secretRef": (policy(ANY, "secretRef: {nme: a}"), "spec.secretRef.nme", 7, "'name'"),
    "Flux's reference": (policy(ANY, "imageRepositoryRef: {name: a}"), "spec.imageRepositoryRef", 7, "spec.image"),
    # References.
    "no such Secret": (policy(ANY, "secretRef: {name: ghcr}"), "spec.secretRef.name", 7, "--secrets DIR"),
    "no such CA": (policy(ANY, "certSecretRef: {name: ca}"), "spec.certSecretRef.name", 7, "no Secret default/ca"),
    "no such proxy": (policy(ANY, "proxySecretRef: {name: p}"), "spec.proxySecretRef.name", 7, "no Secret default/p"),
    "a Secret of another namespace": (
        policy(ANY, "secretRef: {name: ghcr}")
        + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: ghcr, namespace: other}\n",
        "spec.secretRef.name",
        7,
        "no Secret default/ghcr",
    ),
    "a mistyped Secret": (
        policy(ANY, "secretRef: {name: ghcr}") + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: ghrc}\n",
        "spec.secretRef.name",
        7,
        "did you mean 'ghrc'?",
    ),
    # Kinds.
    "another version": (policy(ANY).replace("v1alpha1", "v1"), "apiVersion", 1, "v1alpha1"),
    "another group": (policy(ANY).replace("image-updater.dev", "image-updater.io"), "apiVersion", 1, "did you mean"),
    "no apiVersion": ("kind: ImagePolicy\nmetadata: {name: a}\n", "apiVersion", 1, "is required"),
    "no kind": (f"{HEAD}metadata: {{name: a}}\n", "kind", 1, "is required"),
    "a mistyped kind": (policy(ANY).replace("ImagePolicy", "ImagePolcy"), "kind", 1, "did you mean 'ImagePolicy'?"),
    "an unknown kind": (thing("Banana", "a: b"), "kind", 1, "known kinds"),
    "a later kind": (thing("Receiver", "a: b"), "kind", 1, "not built yet"),
    "a freeze": (thing("ClusterFreeze", "reason: a", "a: b"), "spec.a", 6, "unknown field"),
    "Flux's ImageRepository": (thing("ImageRepository", "image: a"), "kind", 1, "spec.image"),
    "twice": (policy(ANY) + "---\n" + policy("{numerical: {}}"), "metadata.name", 8, "defined twice"),
    # GitRepository.
    "no url": (thing("GitRepository", "interval: 1m"), "spec.url", 5, "is required"),
    "a scheme of Git's own": (thing("GitRepository", "url: git://h/x"), "spec.url", 5, "git://"),
    "a local path": (thing("GitRepository", "url: ../fleet"), "spec.url", 5, "is not a Git URL"),
    "no repository": (thing("GitRepository", "url: https://git.example"), "spec.url", 5, "no repository"),
    "two refs": (thing("GitRepository", URL, "ref: {branch: a, tag: b}"), "spec.ref", 6, "exactly one"),
    "a short commit": (thing("GitRepository", URL, "ref: {commit: abc}"), "spec.ref.commit", 6, "full commit id"),
    "a full ref": (thing("GitRepository", URL, "ref: {branch: refs/heads/x}"), "spec.ref.branch", 6, "full ref"),
    "a branch with a space": (thing("GitRepository", URL, "ref: {branch: 'a b'}"), "spec.ref.branch", 6, "legal"),
    "a semver ref": (thing("GitRepository", URL, "ref: {semver: '*'}"), "spec.ref.semver", 6, "unknown field"),
    "a mode": (
        thing("GitRepository", URL, "verify: {mode: head, secretRef: {name: a}}"),
        "spec.verify.mode",
        6,
        "HEAD",
    ),
    "no keys": (thing("GitRepository", URL, "verify: {mode: HEAD}"), "spec.verify.secretRef", 6, "is required"),
    "a word as ref": (thing("GitRepository", URL, "ref: main"), "spec.ref", 6, "branch, tag, commit"),
    # ImageUpdateAutomation.
    "a source of another kind": (
        thing("ImageUpdateAutomation", "sourceRef: {kind: Bucket, name: a}"),
        "spec.sourceRef.kind",
        5,
        "GitRepository",
    ),
    "a path that leaves": (
        thing("ImageUpdateAutomation", SOURCE, "update: {paths: [a, ../b]}"),
        "spec.update.paths[1]",
        6,
        "leaves the repository",
    ),
    "an absolute path": (
        thing("ImageUpdateAutomation", SOURCE, "update: {paths: [/etc]}"),
        "spec.update.paths[0]",
        6,
        "absolute",
    ),
    "a glob as path": (
        thing("ImageUpdateAutomation", SOURCE, "update: {paths: ['apps/*']}"),
        "spec.update.paths[0]",
        6,
        "exclude",
    ),
    "Flux's path": (thing("ImageUpdateAutomation", SOURCE, "update: {path: apps}"), "spec.update.path", 6, "paths"),
    "an update strategy": (
        thing("ImageUpdateAutomation", SOURCE, "update: {strategy: setters}"),
        "spec.update.strategy",
        6,
        "'Setters'",
    ),
    "a proof": (thing("ImageUpdateAutomation", SOURCE, "update: {proof: none}"), "spec.update.proof", 6, "rendered"),
    "an address": (
        thing("ImageUpdateAutomation", SOURCE, "git: {commit: {author: {name: a, email: b}}}"),
        "spec.git.commit.author.email",
        6,
        "e-mail",
    ),
    "a name of two lines": (
        thing("ImageUpdateAutomation", SOURCE, 'git: {commit: {author: {name: "a\\nb", email: a@b}}}'),
        "spec.git.commit.author.name",
        6,
        "line break",
    ),
    "a pull request": (
        thing("ImageUpdateAutomation", SOURCE, "git: {push: {pullRequest: {base: main}}}"),
        "spec.git.push.pullRequest",
        6,
        "not built yet",
    ),
    "a push branch": (
        thing("ImageUpdateAutomation", SOURCE, "git: {push: {branch: 'a..b'}}"),
        "spec.git.push.branch",
        6,
        "legal",
    ),
    "a refspec": (
        thing("ImageUpdateAutomation", SOURCE, "git: {push: {refspec: a}}"),
        "spec.git.push.refspec",
        6,
        "branch",
    ),
    "no signing key": (
        thing("ImageUpdateAutomation", SOURCE, "git: {commit: {signingKey: {secretRef: {name: k}}}}"),
        "spec.git.commit.signingKey.secretRef.name",
        6,
        "no Secret default/k",
    ),
    "a batch that never ends": (
        thing("ImageUpdateAutomation", SOURCE, "batch: {quiet: 10s, max: 5s}"),
        "spec.batch.max",
        6,
        "shorter than quiet",
    ),
    "its windows": (
        thing("ImageUpdateAutomation", SOURCE, "windows: [{cron: a, duration: 1h}]"),
        "spec.windows[0].cron",
        6,
        "not five",
    ),
    "an operator": (
        thing("ImageUpdateAutomation", SOURCE, "policySelector: {matchExpressions: [{key: a, operator: in}]}"),
        "spec.policySelector.matchExpressions[0].operator",
        6,
        "'In'",
    ),
    "a numeric label": (
        thing("ImageUpdateAutomation", SOURCE, "policySelector: {matchLabels: {a: 1}}"),
        "spec.policySelector.matchLabels.a",
        6,
        "quote it: '1'",
    ),
    # Kustomization.
    "an escaping root": (thing("Kustomization", "path: ../x"), "spec.path", 5, "leaves the repository"),
    "a numeric newTag": (
        thing("Kustomization", "path: x", "images: [{name: a, newTag: 1.10}]"),
        "spec.images[0].newTag",
        6,
        "quote it: '1.10'",
    ),
    "a patch file": (thing("Kustomization", "path: x", "patches: [{path: a}]"), "spec.patches[0].path", 6, "inline"),
    "post-build": (thing("Kustomization", "path: x", "postBuild: {}"), "spec.postBuild", 6, "unknown field"),
    "drift": (thing("Kustomization", "path: x", "drift: fix"), "spec.drift", 6, "correct, warn, off"),
    # Secrets: never repeated.
    "bad base64": ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {p: hunter2!}\n", "data.p", 4, "base64"),
    "a numeric secret": (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {p: 1234}\n",
        "stringData.p",
        4,
        "quote",
    ),
    "a field of a Secret": ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndat: {}\n", "dat", 4, "'data'"),
    # YAML itself.
    "a tab": ("a:\n\tb: c\n", None, 2, "not valid YAML"),
    "an open list": ("a: [1,\n", None, 2, "not valid YAML"),
    "a scalar": ("hello\n", None, 1, "not a string"),
    "a list of nothing": ("- 1\n- 2\n", None, 1, "not a list"),
    "a control character": (policy(ANY) + "# \x07\n", None, 7, "not allowed"),
    "an unknown anchor": (policy(ANY, "deny: *nobody"), None, 7, "no anchor"),
    "an anchor in itself": ("&a [*a]\n", None, 1, "contains itself"),
    "too deep": ("[" * 2000, None, 1, "nest"),
    "a python object": (policy(ANY, "deny: !!python/object/apply:os.system ['id']"), "spec.deny", 7, "python/object"),
    "a python document": ("!!python/object/apply:os.system ['id']\n", None, 1, "not a list"),
    "a tag on an image": (policy(ANY, image="!!binary aGk="), "spec.image", 5, "must be a string"),
    "keys that are no strings": (policy(ANY, "? [a]", ": b"), "spec", 7, "a key is a list"),
}


@pytest.mark.parametrize(("objects", "field", "line", "words"), BAD.values(), ids=BAD)
def test_a_mistake_names_file_line_field_and_remedy(
    objects: str, field: str | None, line: int | None, words: str, tmp_path: Path
) -> None:
    answer = explain(tmp_path, objects, ["1.0.0"])
    assert answer.code == 2, answer.stdout
    error = next(each for each in answer.errors if field is None or each["field"] == field)
    assert error["file"] == str(tmp_path / "policies.yaml")
    if line is not None:
        assert error["line"] == line
    assert error["remedy"], error
    assert words in f"{error['message']} {error['remedy']}", error
    assert all(each["remedy"] for each in answer.errors)
    assert f"{error['file']}:{error['line']}: " in answer.stderr
    assert "hunter2" not in answer.stdout + answer.stderr
    assert "1234" not in answer.stderr


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (policy(ANY).encode() + b"# \xff\n", 7, "not UTF-8"),
        (policy(ANY).encode("utf-16"), 1, "not UTF-8"),
        (b"\x00" * 100, 1, "not allowed"),
        (b"a: " + b"x" * (9 << 20), None, "more than the limit"),
    ],
    ids=["a bad byte", "UTF-16", "NULs", "enormous"],
)
def test_what_is_no_text_is_said_to_be_none(data: bytes, line: int | None, words: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, data, ["1.0.0"])
    assert answer.code == 2
    [error] = answer.errors
    assert error["line"] == line
    assert words in error["message"]
    assert error["remedy"]


def test_an_error_names_its_object_once(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy("{semver: {range: q}}"), ["1.0.0"])
    [error] = answer.errors
    assert error["object"] == "ImagePolicy default/web"
    assert answer.stderr.count("ImagePolicy default/web") == 1


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    objects = (
        policy("{semver: {range: q}}", "secretRef: {name: a}")
        + "---\n"
        + policy(ANY, "filterTags: {pattern: '('}", name="b")
    )
    answer = explain(tmp_path, objects, ["1.0.0"])
    assert answer.code == 2
    assert [(each["line"], each["field"]) for each in answer.errors] == [
        (6, "spec.policy.semver.range"),
        (7, "spec.secretRef.name"),
        (15, "spec.filterTags.pattern"),
    ]


def test_one_bad_policy_is_an_error_even_when_another_is_asked_for(tmp_path: Path) -> None:
    objects = policy(ANY) + "---\n" + policy("{semver: {range: q}}", name="bad")
    assert explain(tmp_path, objects, ["1.0.0"], "--policy", "web").code == 2


@pytest.mark.parametrize(
    "objects",
    [
        policy(ANY) + "  image: other\n" * 100_000,
        policy(ANY) + "".join(f"  zz{n}: 1\n" for n in range(50_000)),
        f"{HEAD}kind: ImagePolicy\n---\n" * 20_000,
        policy(ANY, labels=", labels: {" + ", ".join(f"a{n}: 'b c'" for n in range(20_000)) + "}"),
    ],
    ids=["a key very often", "unknown fields", "objects of nothing", "labels"],
)
def test_a_file_of_mistakes_is_given_up_after_a_hundred(objects: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, objects, ["1.0.0"])
    assert answer.code == 2
    assert len(answer.errors) == 101
    assert "not looked at" in answer.errors[-1]["message"] + answer.errors[-2]["message"]


BOMBS = {
    "billions of laughs": "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
    "billions of objects": "apiVersion: v1\nkind: List\n"
    "x0: &x0 {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap}]}\n"
    + "".join(
        f"x{n}: &x{n} {{apiVersion: v1, kind: List, items: [{', '.join([f'*x{n - 1}'] * 10)}]}}\n" for n in range(1, 9)
    )
    + "items: [*x8]\n",
    "a label of many": policy(ANY, "deny: &a ['1']").replace(
        "{name: web}",
        "{name: web, labels: {a: [" + ", ".join(["[" * 50 + "]" * 50] * 50) + "]}}",
    ),
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_of_aliases_is_refused_and_not_expanded(text: str, tmp_path: Path) -> None:
    assert explain(tmp_path, text, ["1.0.0"]).code == 2


def test_merge_keys_that_double_are_read_once(tmp_path: Path) -> None:
    chain = "".join(f"  - patch: x\n    target: &t{n} {{<<: [*t{n - 1}, *t{n - 1}]}}\n" for n in range(1, 60))
    text = thing("Kustomization", "path: x", "patches:", "- patch: x", "  target: &t0 {kind: A}") + chain
    assert explain(tmp_path, text, ["1.0.0"]).code == 0


# ------------------------------------------------------------------------------------------------ files and folders


def test_files_folders_and_stdin_are_read_together(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(policy(ANY, name="one"))
    folder = tmp_path / "more"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "two.yml").write_text(policy(ANY, name="two"))
    (folder / "values.yaml").write_text("replicas: 1\n")
    (folder / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    (folder / "README.md").write_text("# no YAML: [\n")
    (folder / ".hidden.yaml").write_text("a: [\n")
    tags = tmp_path / "tags"
    tags.write_text("1.0.0\n")
    arguments = ["-f", str(tmp_path / "one.yaml"), "-f", str(folder), "-f", "-", "--tags", str(tags), "-o", "json"]
    answer = run("explain", *arguments, input=policy(ANY, name="three").encode())
    assert answer.code == 0, answer.stderr
    assert {each["policy"] for each in answer.reports} == {"default/one", "default/two", "default/three"}


def test_one_file_named_twice_is_read_once(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(ANY), ["1.0.0"], "-f", str(tmp_path), "-f", str(tmp_path / "policies.yaml"))
    assert answer.code == 0
    assert len(answer.reports) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "-f FILE"),
        (["-f", "nowhere.yaml"], "nowhere.yaml"),
        (["-f", "nowhere.yaml", "-o", "json"], "nowhere.yaml"),
        (["-f"], "-f"),
    ],
)
def test_no_objects_are_a_mistake(arguments: list[str], words: str) -> None:
    answer = run("explain", *arguments)
    assert answer.code == 2
    assert words in answer.stderr


def test_stdin_is_named_in_errors(tmp_path: Path) -> None:
    answer = run("explain", "-f", "-", "-o", "json", input=policy("{semver: {range: q}}").encode())
    assert answer.code == 2
    [error] = answer.errors
    assert (error["file"], error["line"]) == ("-", 6)


def test_objects_without_a_policy_are_answered_with_none(tmp_path: Path) -> None:
    answer = explain(tmp_path, "", ["1.0.0"])
    assert (answer.code, answer.reports) == (0, [])
    assert "no ImagePolicy" in answer.stderr


# ------------------------------------------------------------------------------------------------ several policies


def test_policies_are_told_in_the_order_of_the_objects(tmp_path: Path) -> None:
    objects = "---\n".join([policy(ANY, name="b"), policy("{numerical: {}}", name="a"), policy(ANY, name="c")])
    answer = explain(tmp_path, objects, ["1.0.0", "7"])
    assert [each["policy"] for each in answer.reports] == ["default/b", "default/a", "default/c"]
    assert [each["chosen"]["tag"] for each in answer.reports] == ["1.0.0", "7", "1.0.0"]


@pytest.mark.parametrize(
    ("wanted", "policies"),
    [
        ("web", ["apps/web", "default/web"]),
        ("apps/web", ["apps/web"]),
        ("default/web", ["default/web"]),
        ("api", ["default/api"]),
    ],
)
def test_one_policy_is_asked_for_by_name(wanted: str, policies: list[str], tmp_path: Path) -> None:
    objects = "---\n".join(
        [policy(ANY, labels=", namespace: apps"), policy(ANY), policy(ANY, name="api")],
    )
    answer = explain(tmp_path, objects, ["1.0.0"], "--policy", wanted)
    assert [each["policy"] for each in answer.reports] == policies


def test_a_policy_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(ANY), ["1.0.0"], "--policy", "wbe")
    assert answer.code == 2
    assert "default/web" in answer.stderr


def test_a_suspended_policy_is_explained_and_said_to_be_suspended(tmp_path: Path) -> None:
    answer = explain(tmp_path, policy(ANY, "suspend: true"), ["1.0.0"])
    assert answer.chosen == "1.0.0"
    assert "suspended" in answer.reason()
