"""Real parts for the integration suites: where their programs are, and how one is started, watched and ended."""
