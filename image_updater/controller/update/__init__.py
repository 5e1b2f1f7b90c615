"""The image half (role `update`): ImagePolicies and ImageUpdateAutomations run the daemon, and their status says so."""
