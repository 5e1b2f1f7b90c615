"""GitRepositories, which both halves look at: fetched once, verified before anybody uses them."""
