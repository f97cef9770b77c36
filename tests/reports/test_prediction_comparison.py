from safelight.record.prediction_reproduction import Row
from safelight.record.verdict import measure
from safelight.reports import prediction_comparison

VICTIMS = 200


def made(name, defense, ssim=0.5, named=20, gain=0.1, wobble=0.0):
    """A row of 200 victims, ``named`` of whom are named; every other picture is off by a wobble."""
    sign = [1 if one % 2 else -1 for one in range(VICTIMS)]
    values = {
        "ssim": [ssim + wobble * one for one in sign],
        "mse": [0.04] * VICTIMS,
        "gain": [gain + 0.001 * one for one in sign],
        "named": [float(one < named) for one in range(VICTIMS)],
    }
    return Row(
        name=name,
        defense=defense,
        published=(0.2298, 0.0966),
        scores={score: measure(score, [each]) for score, each in values.items()},
        spread=dict.fromkeys(values, 0.0),
        values=values,
        template={"ssim": 0.43, "mse": 0.055, "named": 0.015},
        pairs=1,
        seconds=1.0,
        outcomes=["LEAK"],
        controls_passed=True,
    )


def said(*rows):
    return prediction_comparison.render("A title", "Somebody", rows)


def test_inputs_are_judged_by_paired_intervals_and_summed_up():
    text = said(
        made(prediction_comparison.ALONE, "none"),
        made("no queries: gradient", "none", ssim=0.45, named=4),
        made("no queries: all three", "none", ssim=0.55),
        made("no queries: activations", "none", wobble=0.1),
        made("no queries: output and activations", "none", ssim=0.55, named=1),
        made("no queries: aligned template", "none", ssim=0.6),
    )
    answer = text.split("## Which inputs help?")[1].split("##")[0]
    assert "- gradient: SSIM \N{MINUS SIGN}0.050 (" in answer
    assert "aligned template" not in answer  # an adversary of its own, not another input
    summary = answer.strip().splitlines()[-1]
    assert summary == (
        "Beside the output vector alone, worse: gradient; better: all three; no difference found: "
        "activations; better in one score and worse in the other: output and activations."
    )


def test_a_defense_hides_pictures_blurs_them_or_leaves_their_class():
    text = said(
        made("queries", "none", named=60),
        made("no queries: output", "none", named=20),
        made("queries", "weak", named=50),
        made("no queries: output", "weak", named=2),
        made("queries", "half", named=3, gain=0.05),
        made("queries", "strong", named=3, gain=0.01),
    )
    answer = text.split("protect the picture?")[1]
    assert "- weak, queries: SSIM +0.000" in answer
    assert "- **weak** does not hide pictures" in answer
    assert "(queries)" in answer.split("**weak**")[1].splitlines()[0]
    assert "- **half** blurs pictures towards their class" in answer
    assert "- **strong** leaves the class alone" in answer


def test_what_was_not_run_is_told():
    assert "The output vector alone was not run." in said(made("queries", "none"))
    assert "No defense was run on the pairs" in said(made("queries", "none"))
