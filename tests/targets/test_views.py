import torch

from safelight.targets.views import MOST_VIEWS, view


def test_views_are_all_different_and_the_first_is_the_picture():
    picture = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    views = [view(picture, number) for number in range(MOST_VIEWS)]
    assert torch.equal(views[0], picture)
    assert torch.equal(views[1], picture.flip(3))
    distinct = {one.numpy().tobytes() for one in views}
    assert len(distinct) == MOST_VIEWS
    assert torch.equal(views[2][..., :-1], picture[..., 1:])
