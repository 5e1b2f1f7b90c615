"""Builds: one by one, many at once, and those that are known.

Budget (design section 12): 25 ms each and core with kustomize, 60 with kubectl. `python tests/bench/render.py` prints
a row for each renderer of this machine. The root is an overlay over a base, 3 files.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from image_updater.render import Renderer, available_cpus, find_binary
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


async def measure(name: str, budget: int) -> None:
    """One row: ms a build."""
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
            alone.append((time.perf_counter() - start) * 1000)
        start = time.perf_counter()
        await renderer.build_many(tree, roots[20:])
        many = (time.perf_counter() - start) * 1000 / (COUNT - 20) * available_cpus()
        start = time.perf_counter()
        await renderer.build_many(tree, roots)
        known = (time.perf_counter() - start) * 1000 / COUNT
        print(
            f"{renderer.description:45}  one {statistics.median(alone):6.1f} ms (max {max(alone):.0f})"
            f"   many {many:6.1f} ms each and core (budget {budget})   known {known:.3f} ms"
        )


def main() -> None:
    for name, budget in (("kustomize", 25), ("kustomize-5.5", 25), ("kubectl", 60)):
        try:
            asyncio.run(measure(name, budget))
        except PartMissingError as missing:
            print(f"{name}: {missing}")


if __name__ == "__main__":
    main()
