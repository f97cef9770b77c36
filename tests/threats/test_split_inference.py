import pytest

from safelight.errors import LoadError
from safelight.testing.threats import ThreatContract
from safelight.threats.split_inference import SplitInference


class TestWhiteBox(ThreatContract):
    threat = SplitInference(cut="relu2", knows="weights")


class TestBlackBox(ThreatContract):
    threat = SplitInference(cut="fc1", knows="queries")


class TestQueryFree(ThreatContract):
    threat = SplitInference(cut="conv1", knows="nothing")


class TestUnknownCut(ThreatContract):
    threat = SplitInference(cut="relu2")

    def test_a_wrong_cut_lists_the_cut_points(self, tmp_path):
        import dataclasses

        wrong = type(self)()
        wrong.threat = dataclasses.replace(self.threat, cut="rleu2")
        with pytest.raises(LoadError, match=r"did you mean 'relu2'.*conv1"):
            wrong.meet(tmp_path)
