"""Fill the page templates of this room."""

from typing import Any

import jinja2


def fill(name: str, **values: Any) -> str:
    """Return the template with these values in it, escaped; a name that is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("safelight.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(**values)
