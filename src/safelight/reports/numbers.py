"""Numbers as people read them. Limits are rounded outward, so that no interval looks narrower."""

import math

from safelight.record.record import Measurement

#: What stands where nothing could be measured.
MISSING = "not measured"


def percent(share: float) -> str:
    """Write a share in [0, 1] as a percentage with at most one decimal."""
    return f"{_plain(100 * share, 1)}%"


def count(measurement: Measurement, whole: bool = False) -> str:
    """Write a share of victims as '7 of 200'; the mean over seeds may be '6.5 of 200'.

    ``whole`` rounds such a mean down, for where only a count of people reads well.
    """
    if measurement.value is None:
        return MISSING
    hits = measurement.value * measurement.n
    return f"{_plain(math.floor(hits + 1e-9) if whole else hits, 1)} of {measurement.n}"


def guessed(measurement: Measurement) -> str:
    """Write how many victims would be named by guessing."""
    return _plain((measurement.chance or 0.0) * measurement.n, 1)


def number(value: float | None, digits: int, signed: bool = False) -> str:
    """Write a value with a fixed number of decimals, with its sign where that matters."""
    if value is None:
        return MISSING
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if not float(text):  # a minus before zero would suggest a direction that is not there
        text = text.replace("-", "+") if signed else text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


def interval(measurement: Measurement, digits: int, signed: bool = False) -> str:
    """Write an interval as 'low to high', its limits rounded outward; empty if there is none."""
    low, high = measurement.low, measurement.high
    if low is None or high is None:
        return ""
    low, high = _outward(low, high, digits)
    return f"{number(low, digits, signed)} to {number(high, digits, signed)}"


def percent_interval(measurement: Measurement) -> str:
    """Write the interval of a share in percent, its limits rounded outward."""
    low, high = measurement.low, measurement.high
    if low is None or high is None:
        return ""
    low, high = _outward(100 * low, 100 * high, 1)
    return f"{_plain(low, 1)} to {_plain(high, 1)}%"


def count_of_bytes(count: float | None) -> str:
    """Write a size: bytes below a kibibyte, then KiB."""
    if count is None:
        return ""
    return f"{count:.0f} B" if count < 1024 else f"{count / 1024:.1f} KiB"


def duration(seconds: float) -> str:
    """Write seconds as people say them: '20 s', '3 min 5 s', '2 h 10 min'."""
    if seconds < 9.95:
        return f"{_plain(seconds, 1)} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else rest, "s"))
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount)


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _outward(low: float, high: float, digits: int) -> tuple[float, float]:
    scale = 10**digits
    # A limit that is exact but for its binary tail (0.29 * 100) must not move by a whole digit.
    slack = 1e-9
    return math.floor(low * scale + slack) / scale, math.ceil(high * scale - slack) / scale
