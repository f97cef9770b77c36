"""Intervals, tests and seeds. numpy and scipy only."""
