"""What became of a rollout, and whose failure it is (design section 9)."""
