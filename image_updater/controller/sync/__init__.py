"""The sync half (role `sync`): what each Kustomization's path of Git says is made so in its cluster."""
