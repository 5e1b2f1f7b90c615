"""Manifests to a cluster: what differs is applied, what left is pruned, and the health of it all is told."""
