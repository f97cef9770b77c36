from safelight.attacks.inversion.decoder import Decoder
from safelight.auditing.pair import label
from safelight.threats.split_inference import SplitInference


def test_adversaries_at_one_cut_have_different_names():
    usual = SplitInference(cut="conv1")
    noisy = SplitInference(cut="conv1", knows="queries", pictures="noise", sends=4)
    assert label(usual, Decoder()) == "conv1 / inversion/decoder"
    told = "conv1 / inversion/decoder (knows queries, pictures noise, sends 4)"
    assert label(noisy, Decoder()) == told
