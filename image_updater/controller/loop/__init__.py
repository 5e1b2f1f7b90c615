"""The closed loop: what becomes of a rollout leads to a proven tag, to a hold, or back (design section 9)."""
