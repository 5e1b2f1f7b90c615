"""Secrets stay where they are: a token in every kind of Secret, used, refused, broken and changed; then everything that
the process and the API server give out is looked through.
"""

from __future__ import annotations

import base64
import json
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.parts import gitservers
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import GIT_PASSWORD, GROUP, Place, Workshop, config, deployment, kustomize, secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane, Object

KINDS = ("ImagePolicy", "GitRepository", "ImageUpdateAutomation", "Kustomization")


class Tokens(dict[str, str]):
    """One for each place, by the name of the place."""

    def __missing__(self, place: str) -> str:
        self[place] = f"tOken{place.replace('-', '').title()}{secrets.token_hex(8)}"
        return self[place]

    def found(self, text: str) -> set[str]:
        """The places whose token stands in the text: plain, or within something that is base64."""
        return {place for place, token in self.items() if any(form in text for form in forms(token))}


def forms(token: str) -> Iterator[str]:
    """The token, and what is left of it in base64 wherever it begins."""
    yield token
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + token.encode()).decode()
        yield coded[4 if shift else 0 : len(coded) - 4]


def kubeconfig(token: str, server: str, field: str = "token") -> str:
    user = {"name": "u", "user": {field: token}}
    cluster = {"name": "c", "cluster": {"server": server}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [cluster],
            "users": [user],
            "contexts": [context],
        }
    )


def key(token: str) -> str:
    """Looks like a private key, and is none."""
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{token}\n-----END OPENSSH PRIVATE KEY-----\n"


def manifest(name: str, **data: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})


def test_no_secret_is_ever_said(plane: ControlPlane, shop: Workshop, here: Place, tmp_path: Path) -> None:
    tokens = Tokens()
    here.push("web", "1.0.0")
    here.commit(
        {
            "apps/web.yaml": deployment("web", here.image("web", "1.0.0")),
            "apps/secret.yaml": manifest("applied", password=tokens["first"]),
            "apps/kustomization.yaml": kustomize("web.yaml", "secret.yaml"),
            "warn/secret.yaml": manifest("watched", password=tokens["watched"]),
            "warn/kustomization.yaml": kustomize("secret.yaml"),
            "correct/secret.yaml": manifest("corrected", password=tokens["corrected"]),
            "correct/kustomization.yaml": kustomize("secret.yaml"),
            "one/a.yaml": config("a", x="1"),
            "one/kustomization.yaml": kustomize("a.yaml"),
        }
    )
    with controller(
        plane,
        tmp_path,
        watch_namespaces=[here.namespace],
        flags=["--log-level=debug"],
        environment=shop.environment,
    ) as replica:
        replica.await_leading()
        policy = here.policy()
        policy["metadata"]["labels"] = {"works": "yes"}
        # Of several policies that claim one line, none would win.
        automation = here.automation(policySelector={"matchLabels": {"works": "yes"}})
        here.apply(here.source(), policy, automation, here.kustomization())
        here.apply(
            here.kustomization("warn", path="warn", drift="warn", interval="2s"),
            here.kustomization("correct", path="correct", interval="2s"),
        )
        here.await_running("web", here.image("web", "1.0.0"))
        for name in ("apps", "warn", "correct"):
            here.await_applied(name)

        refused(here, tokens)
        manifests(here, tokens)
        drift(here, tokens)
        # And the loop itself, with all the Secrets that work.
        here.push("web", "1.1.0")
        here.await_running("web", here.image("web", "1.1.0"))
        said = given_out(plane, here, replica)
        # The search finds them where they are meant to be.
        kept = tokens.found(json.dumps(plane.list("Secret", here.namespace)))
        assert kept >= {"registry", "git", "ssh", "kubeconfig", "second", "corrected", "edited-watched"}
        replica.stop()
        said["log"] = replica.log()
    assert len(said["log"]) > 1_000
    tokens["git-password"] = GIT_PASSWORD
    leaks = {place: found for place, text in said.items() if (found := tokens.found(text))}
    assert leaks == {}, leaks


def refused(here: Place, tokens: Tokens) -> None:
    """Logins that are wrong, broken, or lead nowhere: each ends in a condition, and none of them in a token."""
    registry = here.workshop.registry.host
    login = {"auths": {registry: {"username": "puller", "password": tokens["registry"]}}}
    coded = base64.b64encode(f"puller:{tokens['registry-auth']}".encode()).decode()
    dead = "http://127.0.0.1:1"
    made: list[Object] = [
        secret("wrong-registry", {".dockerconfigjson": json.dumps(login)}, "kubernetes.io/dockerconfigjson"),
        secret(
            "wrong-auth",
            {".dockerconfigjson": json.dumps({"auths": {registry: {"auth": coded}}})},
            "kubernetes.io/dockerconfigjson",
        ),
        secret("broken-registry", {".dockerconfigjson": json.dumps({"auths": {registry: tokens["no-config"]}})}),
        secret("wrong-git", {"username": "bot", "password": tokens["git"]}),
        secret("wrong-bearer", {"bearerToken": tokens["bearer"]}),
        secret("broken-ssh", {"identity": key(tokens["ssh"]), "known_hosts": "127.0.0.1 ssh-ed25519 AAAA"}),
        secret("broken-ca", {"ca.crt": f"-----BEGIN CERTIFICATE-----\n{tokens['ca']}\n-----END CERTIFICATE-----\n"}),
        secret("proxy", {"address": dead, "username": "me", "password": tokens["proxy"]}),
        secret("proxy-url", {"address": f"http://me:{tokens['proxy-url']}@127.0.0.1:1"}),
        secret("broken-keys", {"person.asc": tokens["keys"]}),
        secret("signing", {"git.asc": tokens["signing"], "passphrase": tokens["passphrase"]}),
        secret("remote", {"value": kubeconfig(tokens["kubeconfig"], "https://127.0.0.1:1")}),
        secret("remote-exec", {"value": kubeconfig(tokens["exec"], "https://127.0.0.1:1", "exec")}),
        secret("remote-broken", {"value": f"clusters: [\n  token: '{tokens['broken-kubeconfig']}\n"}),
        secret("github", {"githubAppID": "1", "githubAppInstallationID": "2", "githubAppPrivateKey": tokens["app"]}),
    ]
    here.apply(*made)
    policies: dict[str, dict[str, Any]] = {
        "wrong-registry": {"secretRef": {"name": "wrong-registry"}},
        "wrong-auth": {"secretRef": {"name": "wrong-auth"}},
        "broken-registry": {"secretRef": {"name": "broken-registry"}},
        "policy-ca": {"certSecretRef": {"name": "broken-ca"}},
        "policy-proxy": {"proxySecretRef": {"name": "proxy"}},
        "policy-proxy-url": {"proxySecretRef": {"name": "proxy-url"}},
    }
    ssh = f"ssh://git@127.0.0.1:1/{here.namespace}.git"
    sources: dict[str, dict[str, Any]] = {
        "wrong-git": {"secretRef": {"name": "wrong-git"}},
        "wrong-bearer": {"secretRef": {"name": "wrong-bearer"}},
        "broken-ssh": {"secretRef": {"name": "broken-ssh"}, "url": ssh, "certSecretRef": None},
        "source-ca": {"certSecretRef": {"name": "broken-ca"}},
        "source-proxy": {"proxySecretRef": {"name": "proxy"}},
        "source-proxy-url": {"proxySecretRef": {"name": "proxy-url"}},
        "broken-keys": {"verify": {"mode": "HEAD", "secretRef": {"name": "broken-keys"}}},
        "github": {"secretRef": {"name": "github"}},
        "url": {"url": here.url.replace("https://", f"https://me:{tokens['url']}@"), "secretRef": None},
    }
    clusters = ("remote", "remote-exec", "remote-broken")
    here.apply(
        *(here.policy(name, image=here.image("web"), **{"interval": "2s", **spec}) for name, spec in policies.items()),
        *(here.source(name, timeout="3s", **spec) for name, spec in sources.items()),
        *(
            here.kustomization(name, path="one", kubeConfig={"secretRef": {"name": name}}, timeout="2s")
            for name in clusters
        ),
        here.automation(
            "signing",
            git={"commit": {"signingKey": {"secretRef": {"name": "signing"}}}},
            policySelector={"matchLabels": {"none": "of-them"}},
        ),
    )

    def settled(kind: str, name: str) -> bool:
        condition = here.condition(kind, name)
        assert condition["reason"] not in ("Waiting", "Progressing", "SourceNotReady"), condition
        return True

    for kind, names in (("ImagePolicy", policies), ("GitRepository", sources), ("Kustomization", clusters)):
        for name in names:
            until(partial(settled, kind, name), 60, f"a word about {kind} {name}")
    for name in ("wrong-registry", "wrong-auth", "broken-registry", "policy-ca"):
        assert here.condition("ImagePolicy", name)["status"] == "False", name
    for name in ("wrong-git", "wrong-bearer", "broken-ssh", "source-ca", "broken-keys"):
        assert here.condition("GitRepository", name)["status"] == "False", name


def manifests(here: Place, tokens: Tokens) -> None:
    """Secrets in Git: changed, refused by the server in several ways, broken as files, generated."""
    here.commit({"apps/secret.yaml": manifest("applied", password=tokens["second"])})
    here.await_applied()
    fixed = json.loads(manifest("fixed", password=tokens["fixed"])) | {"immutable": True}
    here.commit({"fixed/s.yaml": json.dumps(fixed), "fixed/kustomization.yaml": kustomize("s.yaml")})
    here.apply(here.kustomization("fixed", path="fixed"))
    here.await_applied("fixed")
    fixed["stringData"] = {"password": tokens["refixed"]}
    head = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: bad\n"
    here.commit(
        {
            "fixed/s.yaml": json.dumps(fixed),
            "coded/s.yaml": f"{head}data:\n  password: {tokens['no-base64']}!\n",
            "coded/kustomization.yaml": kustomize("s.yaml"),
            "typed/s.yaml": f"{head}stringData:\n  password: [{tokens['list']}]\n",
            "typed/kustomization.yaml": kustomize("s.yaml"),
            "field/s.yaml": f"{head}stringData: {{a: b}}\npassword: {tokens['field']}\n",
            "field/kustomization.yaml": kustomize("s.yaml"),
            "yaml/s.yaml": f"{head}stringData:\n  password: '{tokens['yaml']}\n  more: : x\n",
            "yaml/kustomization.yaml": kustomize("s.yaml"),
            "generated/kustomization.yaml": f"secretGenerator:\n- name: g\n  literals: ['p={tokens['literal']}']\n",
            "patched/kustomization.yaml": "resources: [s.yaml]\npatches:\n- target: {kind: Secret}\n  patch: |\n"
            f"    - {{op: test, path: /stringData/password, value: '{tokens['patch']}'}}\n",
            "merged/kustomization.yaml": "resources: [s.yaml]\npatches:\n- target: {kind: Secret}\n  patch: |\n"
            f"    stringData: {{password: '{tokens['merge']}'}}\n",
            "merged/s.yaml": manifest("merged", password="x"),
            "literal/kustomization.yaml": f"secretGenerator:\n- name: g\n  literals: ['{tokens['no-literal']}']\n",
            "anchor/s.yaml": f"{head}stringData:\n  password: *{tokens['anchor']}\n",
            "anchor/kustomization.yaml": kustomize("s.yaml"),
            "patched/s.yaml": manifest("patched", password=tokens["unpatched"]),
        }
    )
    names = ("coded", "typed", "field", "yaml", "patched", "merged", "literal", "anchor")
    here.apply(*(here.kustomization(name, path=name) for name in (*names, "generated")))
    for name in names:
        here.await_condition("Kustomization", name, status="False")
        until(partial(refused_for_good, here, name), 30, f"a word about {name}")
    here.await_condition("Kustomization", "fixed", status="False")
    here.await_applied("generated")


def refused_for_good(here: Place, name: str) -> bool:
    return here.condition("Kustomization", name)["reason"] not in ("SourceNotReady", "Progressing")


def drift(here: Place, tokens: Tokens) -> None:
    """Somebody edits Secrets in the cluster."""
    for name in ("watched", "corrected"):
        coded = base64.b64encode(tokens[f"edited-{name}"].encode()).decode()
        here.plane.patch("Secret", name, here.namespace, {"data": {"password": coded}})

    def told() -> bool:
        drift = here.status("Kustomization", "warn").get("drift")
        assert drift, "no drift yet"
        (entry,) = drift
        assert entry["id"] == f"{here.namespace}_watched__Secret"
        assert entry["fields"], entry
        return True

    until(told, 30, "drift of a Secret is told")
    wanted = base64.b64encode(tokens["corrected"].encode()).decode()

    def corrected() -> bool:
        data: Any = here.get("Secret", "corrected")["data"]
        return bool(data["password"] == wanted)

    until(corrected, 60, "drift of a Secret is corrected")


def given_out(plane: ControlPlane, here: Place, replica: Replica) -> dict[str, str]:
    """By where it was said. Specs and Secrets themselves are what people wrote."""
    said = {path: replica.get(path)[1] for path in ("/metrics", "/healthz", "/readyz")}
    for kind in KINDS:
        for each in plane.list(f"{kind}.{GROUP}", here.namespace):
            del each["spec"]
            each["metadata"].pop("managedFields")
            said[f"{kind} {each['metadata']['name']}"] = json.dumps(each)
    events = plane.list("events.events.k8s.io", here.namespace)
    assert len(events) > 20
    said["Events"] = json.dumps(events)
    others = [*plane.list("ConfigMap", here.namespace), *plane.list("Lease", replica.account.namespace)]
    said["ConfigMaps and Leases"] = json.dumps(others)
    said["requests"] = "\n".join(each.uri for each in replica.account.requests(0))
    said["commits"] = gitservers.git("log", "--format=%an %ae %B", "--author=image-updater", cwd=here.repository)
    assert said["commits"]
    return said
