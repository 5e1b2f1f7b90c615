"""When it fails (design section 9): where policies have their hands, what Git says of a failed workload's images, and
what a rollback takes back.
"""
