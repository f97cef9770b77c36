import pytest

from safelight.record.record import Measurement
from safelight.reports import numbers


def _measured(value: float | None, low: float | None, high: float | None) -> Measurement:
    return Measurement(
        value=value, low=low, high=high, level=0.95, n=200, seeds=1, chance=0.01,
        worse="higher", unit="share",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.9817, 1.0, "98.1 to 100%"), (0.0, 0.0131, "0 to 1.4%"), (0.29, 0.57, "29 to 57%")],
)
def test_percent_limits_are_rounded_outward(low: float, high: float, text: str) -> None:
    assert numbers.percent_interval(_measured(0.5, low, high)) == text


def test_limits_are_rounded_outward() -> None:
    assert numbers.interval(_measured(0.5, 0.1239, 0.4561), 2) == "0.12 to 0.46"
    assert numbers.interval(_measured(0.0, -0.0161, 0.004), 2, signed=True) == (
        "\N{MINUS SIGN}0.02 to +0.01"
    )


def test_zero_has_no_direction() -> None:
    assert numbers.number(-0.001, 2) == "0.00"
    assert numbers.number(-0.001, 2, signed=True) == "+0.00"


def test_what_is_not_measured_is_said() -> None:
    nothing = _measured(None, None, None)
    assert numbers.count(nothing) == numbers.number(None, 2) == "not measured"
    assert numbers.interval(nothing, 2) == numbers.percent_interval(nothing) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (9.84, "9.8 s"), (9.97, "10 s"), (61.6, "1 min 2 s"), (120, "2 min"),
     (7500, "2 h 5 min"), (7200, "2 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text
