"""Contract suites that any new attack or threat inherits, and targets whose leak is known."""
