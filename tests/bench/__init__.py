"""The budgets of the design as measured figures: `python -m tests.bench [NAME…] [--save]`."""
