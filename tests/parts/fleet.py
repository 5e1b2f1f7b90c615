"""A realistic repository: bases, components, three environments, HelmReleases, plain manifests, in many hands' styles.

`build(registry)` gives the files before and as they must be after an update: each edit is one replacement that is
written
down here beside the file that holds it, so that the expectation does not come from the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ENVIRONMENTS = ("dev", "staging", "prod")
OLD, NEW, PROD_NEW = "1.0.0", "1.4.2", "1.3.1"
TAGS = ("0.9.0", OLD, "1.1.0", PROD_NEW, NEW, "2.0.0-rc.1", "latest", "nightly-1")


@dataclass
class Fleet:
    """`before` and `after` by path; `tags`: repository → tags to push; `updates`: how many scalars must move."""

    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    tags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    policies: tuple[str, ...] = ()
    updates: int = 0

    def add(self, path: str, text: str, *edits: tuple[str, str]) -> None:
        """A file; each edit is (old, new), and `old` stands in the file exactly once."""
        self.before[path] = text
        for old, new in edits:
            assert text.count(old) == 1, (path, old, text.count(old))
            text = text.replace(old, new)
            self.updates += 1
        self.after[path] = text


def _deployment(name: str, image: str, style: int) -> str:
    text = f"""\
# {name}: owned by the {name} team
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app: {name}}}   # selectors rely on it

spec:
  replicas: 2
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      containers:
        - name: {name}
          image: {image}   # rendered with the overlay's tag
          args: ["--name={name}", '--quoted "x"']
        - name: proxy
          image: "envoyproxy/envoy:v1.30.0"
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  ports: [{{port: 80}}]
  selector: {{app: {name}}}
"""
    if style == 1:
        text = "---\n" + text.replace("\n\nspec:", "\n\n\nspec:")
    if style == 2:
        text = text.replace("\n", "\r\n")
    if style == 3:
        text = text.rstrip("\n")
    return text


def _overlay(name: str, environment: str, image: str, style: int) -> str:
    lines = [
        f"# {environment} of {name}",
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        f"namespace: {name}-{environment}",
        "resources:",
        "  - ../../base",
        "components: [../../../../components/limits]",
        "images:",
        f"  - name: {image}  # the service",
        f"    newTag: {OLD}" if style % 2 else f'    newTag: "{OLD}"  # keep in step',
        "patches:",
        "  - target: {kind: Deployment}",
        "    patch: |-",
        "      - {op: replace, path: /spec/replicas, value: 3}",
        "",
    ]
    return ("\r\n" if style == 2 else "\n").join(lines)


def build(registry: str, *, services: int = 36) -> Fleet:
    """A fleet of `services` services, whose images live in `registry` (host:port)."""
    fleet = Fleet()
    fleet.add(
        "components/limits/kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n  - target: {kind: Deployment}\n"
        "    patch: |-\n      - op: add\n        path: /metadata/annotations\n        value: {limits: small}\n",
    )
    policies = []
    for number in range(services):
        name, style = f"svc-{number:02d}", number % 4
        image = f"{registry}/acme/{name}"
        fleet.tags[f"acme/{name}"] = TAGS
        fleet.add(f"apps/{name}/base/deployment.yaml", _deployment(name, image, style))
        fleet.add(
            f"apps/{name}/base/kustomization.yaml",
            "resources:\n- deployment.yaml\n- config.yaml\n"
            if style
            else "resources: [deployment.yaml, config.yaml]\n",
        )
        fleet.add(
            f"apps/{name}/base/config.yaml",
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n"
            f"data:\n  text: |\n    image: {image}:{OLD}\n",
        )
        for environment in ENVIRONMENTS:
            new = PROD_NEW if environment == "prod" else NEW
            text = _overlay(name, environment, image, style)
            fleet.add(f"apps/{name}/overlays/{environment}/kustomization.yaml", text, (OLD, new))
            policies.append(_policy(f"{name}-{environment}", image, environment))
    for number in range(services):
        name = f"chart-{number:02d}"
        image = f"{registry}/charts/{name}"
        fleet.tags[f"charts/{name}"] = TAGS
        values = [
            f"    image:\n      repository: {image}\n      tag: {OLD} # chart's image\n",
            f"    image:\n      registry: {registry}\n      repository: charts/{name}\n      tag: '{OLD}'\n",
            f"    worker:\n      image: {image}:{OLD}\n",
            f"    list:\n      - {{name: a, image: {image}, tag: {OLD}}}\n",
        ][number % 4]
        fleet.add(
            f"helm/{name}/release.yaml",
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\n"
            f"metadata:\n  name: {name}\nspec:\n  interval: 1h\n  values:\n{values}    replicas: 2\n",
            (OLD, NEW),
        )
        policies.append(_policy(name, image, "rest"))
    for number in range(services):
        name = f"plain-{number:02d}"
        image = f"{registry}/plain/{name}"
        fleet.tags[f"plain/{name}"] = TAGS
        text = _deployment(name, f"{image}:{OLD}", number % 4)
        fleet.add(f"manifests/{name}.yaml", text, (OLD, NEW))
        policies.append(_policy(name, image, "rest"))
        marker = f'# {{"$imagepolicy": "default:{name}:tag"}}'
        fleet.add(
            f"settings/{name}.yaml",
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}-settings}}\n"
            f"data:\n  tag: {OLD} {marker}\n  other: x\n",
            (OLD, NEW),
        )
    fleet.add("README.md", "# The fleet\n\nimage: not a manifest\n")
    fleet.add("broken/values.yaml", "image: {{ .Values.image }}\nkind: Deployment\napiVersion: apps/v1\n")
    fleet.policies = tuple(policies)
    return fleet


def _policy(name: str, image: str, scope: str) -> str:
    version = "~1.3" if scope == "prod" else "^1"
    return (
        "apiVersion: image-updater.dev/v1alpha1\nkind: ImagePolicy\n"
        f"metadata: {{name: {name}, labels: {{scope: {scope}}}}}\n"
        f"spec:\n  image: {image}\n  insecure: true\n  policy: {{semver: {{range: '{version}'}}}}\n"
    )


def objects(fleet: Fleet, *, url: str, secret: str | None = None, certificate: bool = False) -> str:
    """All policies, the repository at `url`, and four automations: one an environment, one for the rest."""
    refs = f"\n  secretRef: {{name: {secret}}}" if secret else ""
    refs += "\n  certSecretRef: {name: ca}" if certificate else ""
    repository = (
        f"apiVersion: image-updater.dev/v1alpha1\nkind: GitRepository\nmetadata: {{name: fleet}}\nspec:\n  url: {url}\n"
        f"  ref: {{branch: main}}{refs}\n"
    )
    documents = [*fleet.policies, repository]
    for environment in ENVIRONMENTS:
        paths = ", ".join(
            path.removesuffix("/kustomization.yaml")
            for path in fleet.before
            if path.endswith(f"overlays/{environment}/kustomization.yaml")
        )
        documents.append(_automation(environment, f"[{paths}]"))
    documents.append(_automation("rest", "[helm, manifests, settings]"))
    return "---\n".join(documents)


def _automation(scope: str, paths: str) -> str:
    return (
        f"apiVersion: image-updater.dev/v1alpha1\nkind: ImageUpdateAutomation\nmetadata: {{name: {scope}}}\nspec:\n"
        f"  sourceRef: {{name: fleet}}\n  policySelector: {{matchLabels: {{scope: {scope}}}}}\n"
        f"  update: {{paths: {paths}}}\n"
        "  git: {commit: {author: {name: image-updater, email: bot@example.com}}}\n"
    )
