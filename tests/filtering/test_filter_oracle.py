"""What a filter's answers tell of who is protected: measured, and limited by silence."""

import pytest
import torch

from safelight.auditing.score_files import ScoreSet
from safelight.auditing.scores import assess
from safelight.filtering.oracle import Generator, editor, prompter
from safelight.filtering.replacement import Reserve
from safelight.record.membership import ScoreFile


@pytest.fixture(scope="module")
def sides(digits):
    """80 protected digits and as many others, of one source."""
    return digits.protected[:80].float() / 255, digits.fresh[:80].float() / 255


@pytest.fixture(scope="module")
def reserve(made):
    return Reserve(made.reserve(), made.load().index, made.secret())


@pytest.fixture(scope="module")
def plays(made, digits, sides, reserve):
    pool = digits.fresh[80:].float() / 255
    generator = Generator(pool, memory=0.3, draws=8)
    return {one.answer: one for one in prompter(made.load(), reserve, sides, generator)}


def verdict(play):
    """Judge as ``safelight scores`` does."""
    origin = ScoreFile(file="plays", column="score", count=80, sha256="0")
    members, others = (ScoreSet(one, (), origin) for one in (play.members, play.nonmembers))
    return assess(members, others, "score", 0.01).verdict.outcome


def test_refusals_betray_and_silence_hides_most_of_it(plays):
    """Not all: a reserve is finite, and not quite like what the generator would have drawn."""
    told = plays.pop("told")
    assert told.area.low > 0.75
    assert verdict(told) == "LEAK"
    assert len(plays) == 3
    for play in plays.values():
        assert abs(play.area.value - 0.5) < 0.15, play.answer
        assert play.caught(0.1).tpr.value < 0.3, play.answer


def test_silence_does_not_help_against_whoever_knows_what_went_in(made, sides, reserve):
    told, silent = editor(made.load(), reserve, sides)
    assert told.area.value > 0.9
    assert silent.area.value == told.area.value


def test_a_generator_that_remembers_nothing_betrays_nothing(made, digits, sides, reserve):
    """The null: then refusals are false alarms, on both sides alike."""
    pool = digits.fresh[80:].float() / 255
    play, *_ = prompter(made.load(), reserve, sides, Generator(pool, memory=0.0))
    assert play.area.low < 0.5 < play.area.high


def test_further_candidates_leave_little_to_refuse(made, digits, sides, reserve):
    pool = digits.fresh[80:].float() / 255
    generator = Generator(pool, memory=0.3, draws=4, candidates=3)
    for play in prompter(made.load(), reserve, sides, generator):
        assert abs(play.area.value - 0.5) < 0.15, play.answer


def test_what_is_shown_instead_depends_on_the_secret_and_not_on_the_day(made, sides):
    index = made.load().index
    pictures = [(one * 255).round().byte().permute(1, 2, 0).numpy() for one in sides[0][:40]]

    def shown(secret):
        reserve = Reserve(made.reserve(), index, secret)
        return [reserve.instead(one, str(at)).tobytes() for at, one in enumerate(pictures)]

    assert shown(b"one") == shown(b"one")
    same = sum(one == other for one, other in zip(shown(b"one"), shown(b"other"), strict=True))
    assert same < 6  # one in 50 by chance
    assert len(set(shown(b"one"))) > 20


def test_a_replacement_has_the_size_and_color_of_the_output(made):
    reserve = Reserve(made.reserve(), made.load().index, b"secret")
    for shape in ((28, 28, 1), (64, 40, 3), (8, 8, 3)):
        picture = torch.zeros(shape, dtype=torch.uint8).numpy()
        assert reserve.instead(picture, "x").shape == shape
