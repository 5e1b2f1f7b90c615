"""The repositories that are measured, made by rule: the same bytes in every run."""

from __future__ import annotations

from dataclasses import dataclass, field

OLD, NEW = "1.0.0", "1.1.0"

Files = dict[str, bytes]


@dataclass
class Repository:
    """`files`; `edits`: path → (old, new) text that an update must replace, where `old` stands once; `images`."""

    files: Files = field(default_factory=dict)
    edits: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)

    def add(self, path: str, text: str, edit: tuple[str, str] | None = None) -> None:
        self.files[path] = text.encode()
        if edit is not None:
            old, new = edit[0].encode(), edit[1].encode()
            assert self.files[path].count(old) == 1, path
            self.edits[path] = (old, new)

    def noise(self, after: Files, *, new: str = NEW, moved: set[str] | None = None) -> int:
        """Bytes of files that are not as they must be: 0 when exactly the intended values changed."""
        count = 0
        for path in self.files.keys() | after.keys():
            wanted = self.files.get(path, b"")
            if path in self.edits and (moved is None or path in moved):
                old, edited = self.edits[path]
                wanted = wanted.replace(old, edited.replace(NEW.encode(), new.encode()))
            found = after.get(path, b"")
            if wanted != found:
                same = sum(a == b for a, b in zip(wanted, found, strict=False))
                count += max(len(wanted), len(found)) - same
        return count


def deployment(name: str, image: str, *, style: int = 0, comment: str = "") -> str:
    """A Deployment with its Service in one of six styles of writing."""
    text = f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels:
    app: {name}
spec:
  replicas: 2
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
      containers:
      - name: {name}
        image: {image}{comment}
        args: ["--name={name}"]
        ports:
        - containerPort: 8080
        resources:
          requests: {{cpu: 100m, memory: 64Mi}}
"""
    match style:
        case 1:
            head, middle, tail = text.partition("      containers:\n")
            text = head + middle + "".join(f"  {line}\n" for line in tail.splitlines())
        case 2:
            text = "---\n" + text
        case 3:
            text = text.replace("\nspec:", "\n\nspec:").replace("\n  template:", "\n\n  template:")
        case 4:
            text = text.replace("replicas: 2", "replicas:   2    # ask before lowering")
        case 5:
            text = f"# {name}\n" + text.replace("\n", "\r\n")
        case _:
            pass
    return text


def service(name: str) -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  selector:\n    app: {name}\n"
        "  ports:\n  - port: 80\n    targetPort: 8080\n"
    )


def config(name: str, number: int = 0) -> str:
    lines = "".join(f'  KEY_{n}: "value {n} of {name}"\n' for n in range(20))
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}-config-{number}\ndata:\n{lines}"


def kustomization(
    *, resources: list[str], extra: str = "", kind: str = "Kustomization", version: str = "v1beta1"
) -> str:
    listed = "".join(f"- {each}\n" for each in resources)
    return (
        f"apiVersion: kustomize.config.k8s.io/{version}\nkind: {kind}\n"
        + (f"resources:\n{listed}" if resources else "")
        + extra
    )


def overlays(registry: str, *, apps: int = 500, files: int = 10) -> Repository:
    """`apps` overlays, each over a base of its own; `files` files an app (5,000 and 500 by default)."""
    made = Repository()
    for n in range(apps):
        name = f"app-{n:03d}"
        image = f"{registry}/acme/{name}"
        base, overlay = f"apps/{name}/base", f"apps/{name}/prod"
        configs = [f"config-{k}.yaml" for k in range(files - 5)]
        made.images.append(f"acme/{name}")
        made.add(f"{base}/deployment.yaml", deployment(name, image, style=n % 6))
        made.add(f"{base}/service.yaml", service(name))
        for k, file in enumerate(configs):
            made.add(f"{base}/{file}", config(name, k))
        made.add(f"{base}/kustomization.yaml", kustomization(resources=["deployment.yaml", "service.yaml", *configs]))
        made.add(
            f"{overlay}/patch.yaml",
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  replicas: {n % 5 + 1}\n",
        )
        quote = ('"', "", "'")[n % 3]
        made.add(
            f"{overlay}/kustomization.yaml",
            kustomization(
                resources=["../base"],
                extra=f"namespace: team-{n % 20}\npatches:\n- path: patch.yaml\nimages:\n"
                f"- name: {image}   # the service\n  newTag: {quote}{OLD}{quote}\n",
            ),
            (f"newTag: {quote}{OLD}", f"newTag: {quote}{NEW}"),
        )
    return made


def markers(registry: str, *, apps: int = 500, files: int = 10) -> Repository:
    """Plain manifests, one marked Deployment for each app (as Flux was measured), in six styles of writing."""
    made = Repository()
    for n in range(apps):
        name = f"app-{n:03d}"
        image = f"{registry}/acme/{name}"
        made.images.append(f"acme/{name}")
        marker = f' # {{"$imagepolicy": "default:{name}"}}'
        made.add(
            f"apps/{name}/deployment.yaml",
            deployment(name, f"{image}:{OLD}", style=n % 6, comment=marker),
            (f"{image}:{OLD}", f"{image}:{NEW}"),
        )
        made.add(f"apps/{name}/service.yaml", service(name))
        for k in range(files - 2):
            made.add(f"apps/{name}/config-{k}.yaml", config(name, k))
    return made


def policy(name: str, image: str, *, interval: str = "1h", labels: str = "") -> str:
    return (
        "apiVersion: image-updater.dev/v1alpha1\nkind: ImagePolicy\n"
        f"metadata: {{name: {name}{labels}}}\n"
        f"spec:\n  image: {image}\n  insecure: true\n  interval: {interval}\n  policy: {{semver: {{range: '^1'}}}}\n"
    )


def repository(url: str, *, extra: str = "") -> str:
    return (
        "apiVersion: image-updater.dev/v1alpha1\nkind: GitRepository\nmetadata: {name: fleet}\n"
        f"spec:\n  url: {url}\n  interval: 1h\n  ref: {{branch: main}}\n{extra}"
    )


def automation(name: str, *, paths: str = "[]", selector: str = "") -> str:
    chosen = f"  policySelector: {{matchLabels: {{{selector}}}}}\n" if selector else ""
    scope = f"  update: {{paths: {paths}}}\n" if paths != "[]" else ""
    return (
        f"apiVersion: image-updater.dev/v1alpha1\nkind: ImageUpdateAutomation\nmetadata: {{name: {name}}}\nspec:\n"
        f"  sourceRef: {{name: fleet}}\n  interval: 1h\n{chosen}{scope}"
        "  git: {commit: {author: {name: image-updater, email: bot@example.com}}}\n"
    )


def documents(*parts: str) -> str:
    return "---\n".join(parts)
