"""A real Kubernetes control plane on loopback: etcd, API server, controller-manager, scheduler, and kwok as the nodes.

Nothing is pulled and no container runs: kwok plays the kubelet. A pod's fate is written on it:

- annotation `kwok.test/fail: crash|missing|outage|hang` on the pod (template), else an image name that ends in
  `-crash`, `:crash`, `-missing`, … (`web:3-crash`): CrashLoopBackOff, ImagePullBackOff (the registry knows no such
  image; it does not answer), running but never ready. A Job's pod with `crash` fails. Removing the annotation mends the
  pod. `ControlPlane.fate` sets it on running pods.
- annotation `kwok.test/ready-after: 2s` on the pod template delays readiness, `kwok.test/complete-after: 2s` the end of
  a Job's pod.

`kubectl logs` and `exec` do not work: there is no kubelet to ask.
"""

from tests.parts.controlplane.api import Api, ApiError, Object
from tests.parts.controlplane.observed import Audit, Requests
from tests.parts.controlplane.plane import ControlPlane, control_plane
from tests.parts.controlplane.waiting import until

__all__ = ["Api", "ApiError", "Audit", "ControlPlane", "Object", "Requests", "control_plane", "until"]
