import numpy as np
import torch

from safelight.attacks.membership.threshold import Threshold
from safelight.cache import Cache
from safelight.stats.seeds import Seeds
from safelight.testing.membership import MembershipContract, play


class TestThreshold(MembershipContract):
    attack = Threshold()


class TestPerClass(MembershipContract):
    attack = Threshold(per_class=True, shadows=8)


def test_a_score_is_the_negative_loss_on_the_true_label(tmp_path):
    seen, _ = play("everything", Cache(tmp_path))
    scores = Threshold().run(seen, Seeds(0)).scores
    answers = seen.answers()
    logits = torch.from_numpy(answers.target[: answers.candidates, 0]).double()
    labels = torch.from_numpy(answers.labels[: answers.candidates])
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert np.allclose(scores, -losses.numpy(), atol=1e-5)


def test_a_class_moves_all_its_scores_alike(tmp_path):
    """Within a class the order is that of the loss; between classes the thresholds differ."""
    seen, _ = play("everything", Cache(tmp_path))
    plain = np.asarray(Threshold().run(seen, Seeds(0)).scores)
    per_class = np.asarray(Threshold(per_class=True, shadows=8).run(seen, Seeds(0)).scores)
    labels = seen.answers().labels[: len(plain)]
    moved = [
        np.unique(np.round((per_class - plain)[labels == one], 5)) for one in np.unique(labels)
    ]
    assert all(len(one) == 1 for one in moved)
    assert len(np.unique(np.concatenate(moved))) > 1
