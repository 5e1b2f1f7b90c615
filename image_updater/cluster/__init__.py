"""The API server of a cluster, as one account: discovery, requests, watches, Leases and Events."""
