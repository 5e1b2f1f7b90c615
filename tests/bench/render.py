"""Builds: one by one, many at once, and those that are known.

Budget (design section 12): 25 ms each and core with kustomize, 60 with kubectl. The root is an overlay over a base, 3
files. A renderer that is not on this machine has no row.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from image_updater.render import Renderer, available_cpus, find_binary
from tests.bench.rows import Row
from tests.parts.tools import PartMissingError, binary
from tests.parts.trees import MemoryTree, kustomize_root

COUNT = 200
DEPLOY = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1.0"}]}
"""


async def measure(name: str, budget: float) -> list[Row]:
    """Seconds a build."""
    files = {"base/deploy.yaml": DEPLOY, "base/kustomization.yaml": "resources: [deploy.yaml]\n"}
    for n in range(COUNT):
        files[f"o{n}/kustomization.yaml"] = f'resources: [../base]\nimages: [{{name: nginx, newTag: "{n}"}}]\n'
    tree = MemoryTree(files)
    shared = frozenset({"base/deploy.yaml", "base/kustomization.yaml"})
    roots = [kustomize_root(f"o{n}", tree, closure=shared | {f"o{n}/kustomization.yaml"}) for n in range(COUNT)]
    with Renderer(find_binary(binary(name), {})) as renderer:
        alone = []
        for root in roots[:20]:
            start = time.perf_counter()
            await renderer.build(tree, root)
            alone.append(time.perf_counter() - start)
        start = time.perf_counter()
        await renderer.build_many(tree, roots[20:])
        many = (time.perf_counter() - start) / (COUNT - 20) * available_cpus()
        start = time.perf_counter()
        await renderer.build_many(tree, roots)
        known = (time.perf_counter() - start) / COUNT
        one = statistics.median(alone)
        note = f"{renderer.description}; alone {one * 1000:.0f} ms (median of {len(alone)}, to {max(alone) * 1000:.0f})"
    return [
        Row(work=f"build with {name}: many, each and core", value=many, unit="s", budget=budget, note=note),
        Row(work=f"build with {name}: known already", value=known, unit="s"),
    ]


def bench() -> list[Row]:
    rows: list[Row] = []
    for name, budget in (("kustomize", 0.025), ("kustomize-5.5", 0.025), ("kubectl", 0.060)):
        try:
            rows += asyncio.run(measure(name, budget))
        except PartMissingError as missing:
            sys.stderr.write(f"{name}: {missing}\n")
    return rows
