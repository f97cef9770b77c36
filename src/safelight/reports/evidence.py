"""How much of the victims' pictures a report may show."""

from typing import Literal

#: ``full`` shows pictures as they are, ``blurred`` pixelates them to 4 x 4 blocks, ``none`` leaves
#: them out. Formats without pictures take it and show none either way.
Evidence = Literal["full", "blurred", "none"]
