import pytest
from handmade import Maker

from safelight.errors import RecordError
from safelight.record.store import Run
from safelight.reports import html


def test_missing_sheet_is_one_line_with_its_remedy(mixed: Run) -> None:
    name = mixed.load().victims_artifact
    (mixed.folder / "artifacts" / name).unlink()
    with pytest.raises(RecordError, match=r"missing or damaged; run the audit again$"):
        html.render(mixed, "full")
    assert html.render(mixed, "none")


def test_sheet_that_is_no_picture(gray: Maker) -> None:
    one = gray.finding("f", "conv1")
    cell = gray.cell(one, 40, 0.9, artifact=gray.run.keep(b"not a picture", ".png"))
    run = gray.record([(one, [cell])])
    with pytest.raises(RecordError, match=r"not a PNG; run the audit again$"):
        html.render(run, "full")


def test_sheet_with_too_few_pictures(gray: Maker) -> None:
    one = gray.finding("f", "conv1")
    cell = gray.cell(one, 40, 0.9, artifact=gray.keep(gray.truth[:3]))
    run = gray.record([(one, [cell])])
    with pytest.raises(RecordError, match=r"no picture of victim \d+; run the audit again$"):
        html.render(run, "full")
