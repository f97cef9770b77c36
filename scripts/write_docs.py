"""Write a page for every component that the catalog finds.

python scripts/write_docs.py            write docs/components/
python scripts/write_docs.py --check    fail if they are not up to date
"""

import sys
from pathlib import Path

from safelight import catalog

FOLDER = Path(__file__).parents[1] / "docs/components"


def main() -> int:
    """Write or check every page; return the exit code."""
    pages = {
        FOLDER / f"{kind}-{name.replace('/', '-')}.md": catalog.explain(kind, name)
        for kind in catalog.ROOMS
        for name in catalog.names(kind)
    }
    if "--check" in sys.argv:
        found = {file: file.read_text() for file in FOLDER.glob("*.md")}
        if found != pages:
            stale = sorted(
                file.name for file in {*found, *pages} if found.get(file) != pages.get(file)
            )
            print(f"docs/components is not up to date ({', '.join(stale)}); run: make docs")
            return 1
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file in FOLDER.glob("*.md"):
        file.unlink()
    for file, text in pages.items():
        file.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
