"""Locate every image site of a large repository (design section 12): 4,100 YAML files, 1,300 kustomizations, 640 roots.

`python tests/bench/locate.py` prints the table. The tree is in memory: reading files belongs to `git/`.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Mapping

from image_updater.kustomize import Entry, MemoryCache, Provenance, locate
from image_updater.kustomize.locate import forget

APPS = 320
_MILLISECONDS = 1000.0


class _Tree:
    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._entries = {path: Entry(hashlib.sha1(data).hexdigest()) for path, data in files.items()}
        self.id = hashlib.sha1(repr([(path, entry.oid) for path, entry in self._entries.items()]).encode()).hexdigest()

    def files(self) -> Mapping[str, Entry]:
        return self._entries

    def read(self, path: str) -> bytes:
        return self._files[path]


def repository() -> dict[str, bytes]:
    """320 apps: a base of 7 manifests, a shared middle level, two overlays with a patch each; 20 components."""
    files: dict[str, str] = {}
    for i in range(20):
        files[f"components/c{i}/kustomization.yaml"] = (
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n- path: p.yaml\n  target: {kind: Deployment}\n"
        )
        files[f"components/c{i}/p.yaml"] = (
            "- op: add\n  path: /spec/template/spec/containers/-\n"
            f"  value:\n    name: side{i}\n    image: ghcr.io/acme/side{i}:1.0.{i}\n"
        )
    for n in range(APPS):
        app = f"apps/team{n % 20}/app{n}"
        files[f"{app}/base/deployment.yaml"] = _deployment(n)
        files[f"{app}/base/service.yaml"] = (
            f"apiVersion: v1\nkind: Service\nmetadata:\n  name: app{n}\nspec:\n  ports:\n  - port: 80\n    targetPort: http\n"
        )
        files[f"{app}/base/config.yaml"] = (
            f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app{n}\ndata:\n" + "".join(f"  KEY_{k}: value-{k}\n" for k in range(20))
        )
        files[f"{app}/base/hpa.yaml"] = (
            f"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: app{n}\nspec:\n  maxReplicas: {n}\n"
        )
        files[f"{app}/base/sa.yaml"] = f"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: app{n}\n"
        files[f"{app}/base/cron.yaml"] = (
            f"apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: app{n}\nspec:\n  schedule: '@daily'\n  jobTemplate:\n    spec:\n"
            f"      template:\n        spec:\n          containers:\n          - name: job\n            image: ghcr.io/acme/app{n}:1.0.0\n"
        )
        files[f"{app}/base/kustomization.yaml"] = (
            "resources:\n" + "".join(f"- {name}.yaml\n" for name in ("deployment", "service", "config", "hpa", "sa", "cron"))
        )
        files[f"{app}/common/kustomization.yaml"] = (
            f"resources:\n- ../base\ncommonAnnotations:\n  team: team{n % 20}\ncomponents:\n- ../../../../components/c{n % 20}\n"
        )
        for env in ("staging", "prod"):
            files[f"{app}/{env}/kustomization.yaml"] = (
                f"# {env}\nnamespace: {env}\nresources:\n- ../common\npatches:\n- path: patch.yaml\nimages:\n"
                f"- name: ghcr.io/acme/app{n}\n  newName: registry.example.com/app{n}\n  newTag: {hashlib.sha1(app.encode()).hexdigest()}\n"
            )
            files[f"{app}/{env}/patch.yaml"] = (
                f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app{n}\nspec:\n  replicas: 3\n  template:\n    spec:\n"
                f"      containers:\n      - name: app\n        env:\n        - name: ENV\n          value: {env}\n"
            )
    return {path: text.encode() for path, text in files.items()}


def _deployment(n: int) -> str:
    env = "".join(f"        - name: VAR_{k}\n          value: 'v{k}'\n" for k in range(8))
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app{n}\n  labels:\n    app: app{n}\nspec:\n  replicas: 2\n  selector:\n"
        f"    matchLabels:\n      app: app{n}\n  template:\n    metadata:\n      labels:\n        app: app{n}\n    spec:\n      containers:\n"
        f"      - name: app\n        image: ghcr.io/acme/app{n}:1.0.0\n        ports:\n        - name: http\n          containerPort: 8080\n"
        f"        env:\n{env}        resources:\n          requests:\n            cpu: 100m\n            memory: 128Mi\n"
    )


def _time(work: Callable[[], Provenance], runs: int = 3) -> tuple[float, Provenance]:
    """CPU time, best of some runs, in milliseconds."""
    best, answer = float("inf"), None
    for _ in range(runs):
        gc.collect()
        start = time.process_time()
        answer = work()
        best = min(best, (time.process_time() - start) * _MILLISECONDS)
    assert answer is not None
    return best, answer


def bench() -> list[tuple[str, float, float]]:
    """(what, measured milliseconds, budget) of each line."""
    files = repository()
    tree = _Tree(files)
    cache = MemoryCache()

    def cold() -> Provenance:
        forget()
        return locate(tree, cache=MemoryCache())

    def cached() -> Provenance:
        forget()
        return locate(tree, cache=cache)

    first, answer = _time(cold)
    locate(_Tree({}), cache=cache)
    forget()
    locate(tree, cache=cache)
    kept, _ = _time(cached)
    same, _ = _time(lambda: locate(tree, cache=cache))
    spent: list[float] = []
    for _ in range(6):
        path = "apps/team3/app3/prod/kustomization.yaml"
        files[path] += b"# changed\n"
        changed = _Tree(dict(files))
        gc.collect()
        start = time.process_time()
        locate(changed, cache=cache)
        spent.append((time.process_time() - start) * _MILLISECONDS)
    print(f"{len(files):,} files, {len(answer.roots):,} roots, {len(answer.sites):,} sites, {len(answer.problems)} problems")
    return [
        ("locate, cold", first, 3_000),
        ("locate, new process, facts cached", kept, 500),
        ("locate, nothing changed", same, 150),
        ("locate, one file changed", min(spent), 50),
    ]


if __name__ == "__main__":
    for what, measured, budget in bench():
        print(f"{what:40} {measured:9.1f} ms   budget {budget:6,.0f} ms")
