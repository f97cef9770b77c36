"""A record, shown. One renderer a file, each with ``render(run, evidence) -> str``; no torch here.

Reports read records and artifacts, never models: nothing is measured here, and a verdict is quoted
as ``safelight.record.verdict`` gave it.
"""

#: The renderers: each is the module of this package with that name.
FORMATS = ("html", "markdown", "sarif", "terminal")
