"""What each policy says: its tags listed, judged and gated, with the facts that this needs, and whether a choice can be
pulled and is signed. Asked by the line and by the daemon; knows nothing of a branch.
"""
