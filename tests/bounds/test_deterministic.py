import torch

from safelight.bounds.deterministic import deterministic


def test_equal_messages_of_two_sends_mean_that_nothing_can_be_proved():
    message = torch.randn(4, 3)
    bound = deterministic(message, message.clone())
    assert bound.holds == "no"
    assert bound.value is None
    assert "without randomness" in bound.detail


def test_different_messages_claim_no_bound_either():
    bound = deterministic(torch.zeros(4, 3), torch.ones(4, 3))
    assert bound.holds == "unknown"
    assert bound.value is None


def test_pictures_that_all_send_the_same_are_said_to_tell_nothing_here():
    bound = deterministic(torch.ones(4, 3), torch.ones(4, 3))
    assert bound.holds == "no"
    assert bound.value is None
    assert "same message" in bound.detail
