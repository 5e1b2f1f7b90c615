"""The controller: custom resources in a cluster → the line and the sync → status. kopf drives, nothing else."""
