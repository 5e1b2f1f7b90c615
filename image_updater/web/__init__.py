"""What answers requests from outside, beside health and metrics: Flagger's gates."""
