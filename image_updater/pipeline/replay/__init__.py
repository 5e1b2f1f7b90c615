"""What policies would have done over a past time."""
