"""All sites of 4,100 YAML files, 1,300 kustomizations, 640 roots: cold, in a warm process, and by `images`.

The warm figures: the tree after one commit, in a process that located the tree before it. The command's: a fresh
process on a checkout, with the cache that an earlier call left; it includes the start of Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from image_updater.kustomize import locate
from image_updater.kustomize.locate import forget
from image_updater.kustomize.model import RootKind
from image_updater.patch.overlay import OverlayTree
from tests.bench import servers
from tests.bench.rows import Row, median, spread
from tests.parts import gitservers
from tests.parts.trees import MemoryTree

APPS = 320
FILES, KUSTOMIZATIONS, ROOTS = 4_100, 1_300, 640
RUNS = 5


# ruff: noqa: E501 - manifests, a file a line
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
            f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app{n}\ndata:\n"
            + "".join(f"  KEY_{k}: value-{k}\n" for k in range(20))
        )
        files[f"{app}/base/hpa.yaml"] = (
            f"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: app{n}\nspec:\n  maxReplicas: {n}\n"
        )
        files[f"{app}/base/sa.yaml"] = f"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: app{n}\n"
        files[f"{app}/base/cron.yaml"] = (
            f"apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: app{n}\nspec:\n  schedule: '@daily'\n  jobTemplate:\n    spec:\n"
            f"      template:\n        spec:\n          containers:\n          - name: job\n            image: ghcr.io/acme/app{n}:1.0.0\n"
        )
        names = ["deployment", "service", "config", "hpa", "sa", "cron"]
        if n < FILES - 3_880:
            names.append("pdb")
            files[f"{app}/base/pdb.yaml"] = (
                f"apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: app{n}\nspec:\n  minAvailable: 1\n"
            )
        files[f"{app}/base/kustomization.yaml"] = "resources:\n" + "".join(f"- {name}.yaml\n" for name in names)
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


def bench() -> list[Row]:
    files = repository()
    assert len(files) == FILES, len(files)
    assert sum(path.endswith("kustomization.yaml") for path in files) >= KUSTOMIZATIONS
    tree = MemoryTree(files)
    answer = locate(tree)
    assert len(answer.roots) == ROOTS, len(answer.roots)
    assert all(root.kind is RootKind.KUSTOMIZE for root in answer.roots.values())
    assert not answer.problems, answer.problems[:3]
    cold, warm, same = [], [], []
    for _ in range(RUNS):
        forget()
        with servers.Timer() as timer:
            locate(tree)
        cold.append(timer)
    place = "apps/team3/app3/prod/kustomization.yaml"
    for run in range(RUNS * 2):
        after = OverlayTree(tree, {place: files[place].replace(b"newTag: ", b"newTag: v%d-" % run)})
        with servers.Timer() as timer:
            locate(after)
        warm.append(timer)
        with servers.Timer() as timer:
            locate(after)
        same.append(timer)
    work = f"locate {len(files):,} YAML files, {ROOTS} roots"
    return [
        _row(f"{work}: cold", cold, 3.0),
        _row(f"{work}: one file changed, warm process", warm, 0.15),
        _row(f"{work}: unchanged, warm process", same, 0.15),
        *_command(files, work),
    ]


def _row(work: str, timers: list[servers.Timer], budget: float) -> Row:
    walls = [timer.wall for timer in timers]
    note = f"{spread(walls)}; CPU {median([timer.cpu for timer in timers]):.3f} s"
    return Row(work=work, value=median(walls), unit="s", budget=budget, note=note)


def _command(files: dict[str, bytes], work: str) -> list[Row]:
    with servers.folder() as place:
        checkout = place / "checkout"
        for path, data in files.items():
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).write_bytes(data)
        gitservers.git("init", "-q", "-b", "main", checkout)
        gitservers.git("add", ".", cwd=checkout)
        gitservers.git("commit", "-q", "-m", "Start", cwd=checkout)
        environment = {**servers.environment(place), "PYTHONPATH": str(Path(__file__).parents[2])}
        first = _images(checkout, place, environment)
        plain = [_images(checkout, place, environment) for _ in range(RUNS)]
        changed = []
        for run in range(RUNS):
            file = checkout / f"apps/team{run}/app{run}/prod/kustomization.yaml"
            file.write_bytes(file.read_bytes().replace(b"newTag: ", b"newTag: v2-"))
            changed.append(_images(checkout, place, environment))
        start = [_start(environment) for _ in range(RUNS)]
    note = f"Python alone starts in {median(start):.3f} s"
    return [
        Row(work=f"{work}: `images`, first time", value=first, unit="s", note="one run, -o json"),
        Row(work=f"{work}: `images`, with its cache", value=median(plain), unit="s", budget=0.5,
            note=f"{spread(plain)}; -o json; {note}"),
        Row(work=f"{work}: `images`, one file changed", value=median(changed), unit="s", budget=0.5,
            note=f"{spread(changed)}; -o json"),
    ]  # fmt: skip


def _images(checkout: Path, place: Path, environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "image_updater", "images", str(checkout), "--cache", str(place / "cache"), "-o", "json"],
        env={**environment, "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0")},
        stdout=subprocess.PIPE,
        check=True,
    )
    spent = time.perf_counter() - begun
    sites = json.loads(done.stdout)["sites"]
    assert len(sites) >= ROOTS, len(sites)
    return spent


def _start(environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], env=environment, check=True)
    return time.perf_counter() - begun
