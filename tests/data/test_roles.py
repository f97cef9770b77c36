import numpy as np
import pytest
import torch
from PIL import Image

from safelight.data.roles import deal, open_split
from safelight.data.sources import embedded
from safelight.errors import DataError
from safelight.plan.plan import DataPlan, RolePlan


def plan(source="embedded", victims=40, holdout=100, public=200, private=None, **more):
    roles = {"victims": victims, "holdout": holdout, "public": public, "private": private}
    as_plan = {
        name: role if isinstance(role, RolePlan | None) else RolePlan(count=role)
        for name, role in roles.items()
    }
    return DataPlan(source=str(source), **as_plan, **more)


def paint(folder, classes, n=8, shape=(10, 10), seed=0):
    """Write n pictures of noise per class and return the folder."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 256, size=shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def fails(plan, match):
    """Check that dealing fails on one line that matches."""
    with pytest.raises(DataError, match=match) as told:
        deal(plan)
    assert "\n" not in str(told.value)


def test_the_embedded_digits_are_500_of_each_class():
    split = embedded.open_split("train")
    assert np.bincount(split.labels).tolist() == [500] * 10
    assert split.classes == tuple("0123456789")
    pictures = split.pictures(np.array([0, 4999]))
    assert pictures.shape == (2, 1, 28, 28)
    assert pictures.dtype == np.float32
    assert pictures.max() == 1
    assert pictures.min() == 0


def test_the_embedded_digits_have_no_other_split():
    with pytest.raises(DataError, match="no split 'test'; use 'train'"):
        embedded.open_split("test")


def test_roles_share_no_picture():
    roles = deal(plan(private=300))
    hashes = {name: set(images.content_hashes()) for name, images in roles.items()}
    assert list(hashes) == ["private", "victims", "holdout", "public"]
    assert len(set.union(*hashes.values())) == 300 + 40 + 100 + 200


def test_roles_have_the_asked_size_and_are_balanced():
    for (_, images), count in zip(deal(plan()).items(), (40, 100, 200), strict=True):
        assert set(images.class_counts().values()) == {count // 10}


def test_a_count_that_is_no_multiple_of_the_classes_is_balanced_within_one():
    victims = deal(plan(victims=37)).victims
    counts = victims.class_counts().values()
    assert sum(counts) == 37
    assert max(counts) - min(counts) == 1


def test_any_prefix_of_a_role_is_nearly_balanced():
    labels = deal(plan(victims=35)).victims.labels
    for end in (10, 15, 20, 33):
        counts = torch.bincount(labels[:end], minlength=10)
        assert counts.max() - counts.min() <= 1


def test_dealing_repeats_for_a_seed_and_differs_for_another():
    first, again, other = deal(plan(seed=1)), deal(plan(seed=1)), deal(plan(seed=2))
    for (_, one), (_, same), (_, different) in zip(
        first.items(), again.items(), other.items(), strict=True
    ):
        assert torch.equal(one.images, same.images)
        assert torch.equal(one.labels, same.labels)
        assert one.sha256() != different.sha256()


def test_victims_and_holdout_stay_the_same_when_the_attacker_gets_more_pictures():
    few, many = deal(plan(public=50)), deal(plan(public=2000))
    assert torch.equal(few.victims.images, many.victims.images)
    assert torch.equal(few.holdout.images, many.holdout.images)


def test_the_attackers_first_pictures_stay_the_same_when_it_gets_more():
    few, many = deal(plan(public=50)).public, deal(plan(public=500)).public
    assert set(few.content_hashes()) <= set(many.content_hashes())


def test_a_role_without_a_count_takes_what_is_left():
    roles = deal(plan(public=RolePlan()))
    assert len(roles.public) == 5000 - 40 - 100


def test_a_role_without_a_count_leaves_nothing_for_the_next():
    fails(
        plan(victims=RolePlan(), holdout=RolePlan()),
        "nothing is left .* data.holdout; data.victims",
    )


def test_what_is_told_when_an_earlier_role_took_everything_is_to_give_that_role_a_count():
    fails(plan(victims=RolePlan(), holdout=10), "data.victims|before it")


def test_more_pictures_than_there_are_is_an_error_that_names_class_and_remedy():
    fails(
        plan(public=4950), "class '0' .* has only .* but data.public needs .*; lower data.public."
    )


def test_a_class_used_up_by_earlier_roles_is_called_empty():
    fails(plan(victims=5000), "class '0' .* is empty but data.holdout needs")


def test_roles_of_the_same_pictures_under_two_names_are_refused(tmp_path):
    one, twin = paint(tmp_path / "one", "ab"), paint(tmp_path / "twin", "ab")
    public = RolePlan(source=str(twin))  # all of them, so that some are shared for certain
    fails(
        plan(one, victims=4, holdout=4, public=public, seed=3), "share .* identical pictures; take"
    )


def test_where_a_folder_lies_does_not_change_who_is_drawn(tmp_path):
    here, there = (paint(tmp_path / place / "photos", "ab") for place in ("here", "there"))
    first, second = (deal(plan(folder, 4, 4, 4)).victims for folder in (here, there))
    assert first.content_hashes() == second.content_hashes()


def test_one_shared_picture_is_enough_to_refuse(tmp_path):
    one, other = paint(tmp_path / "one", "ab"), paint(tmp_path / "other", "ab", seed=1)
    (other / "b" / "0.png").write_bytes((one / "a" / "0.png").read_bytes())
    all_of_one = RolePlan(source=str(one))
    fails(plan(other, 2, 2, RolePlan(), private=all_of_one), "share 1 identical pictures")


def test_splits_that_overlap_are_refused(tmp_path):
    folder = paint(tmp_path / "one", "ab")
    public = RolePlan(split="train[:12]")
    fails(
        plan(folder, 4, 4, public, seed=1), "identical pictures; take them from splits that do not"
    )


def test_roles_of_different_shapes_are_refused_with_the_option_that_mends_it(tmp_path):
    small, large = paint(tmp_path / "s", "ab"), paint(tmp_path / "l", "ab", shape=(12, 12), seed=1)
    public = RolePlan(source=str(large), count=4)
    fails(plan(small, 4, 4, public), "data.public has pictures of shape .* set data.size")
    mended = deal(plan(small, 4, 4, public, size=9))
    assert {images.shape for _, images in mended.items()} == {(1, 9, 9)}


def test_victims_and_holdout_of_different_classes_are_refused(tmp_path):
    one, other = paint(tmp_path / "one", "ab"), paint(tmp_path / "other", "bc", seed=1)
    holdout = RolePlan(source=str(other), count=4)
    fails(plan(one, 4, holdout, 4), "different classes; give both the same classes")


@pytest.mark.parametrize("classes", ["bc", "a", "abc"])
def test_public_pictures_of_different_classes_are_refused(tmp_path, classes):
    """Labels index class names: a null for class 0 would be drawn from another class 0."""
    one = paint(tmp_path / "one", "ab")
    other = paint(tmp_path / "other", [*classes, "z"], seed=1)
    fails(plan(one, 4, 4, RolePlan(source=str(other), count=4)), "data.public.*classes")


def test_the_size_and_channels_of_the_plan_hold_for_the_embedded_digits_too():
    roles = deal(plan(size=32, channels=3))
    assert roles.victims.shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("embeded", "did you mean 'embedded'"),
        ("mnst", "did you mean 'mnist'"),
        ("FashionMNIST", "choose from: embedded, mnist, fashion_mnist, cifar10"),
        ("/no/such/folder/at/all", "existing folder"),
        ("", "unknown data source|name"),
    ],
)
def test_an_unknown_source_is_an_error_that_suggests_and_lists(source, told, tmp_path, monkeypatch):
    monkeypatch.delenv("SAFELIGHT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    paint(tmp_path, "ab")  # what lies in the working folder is not asked for
    fails(plan(source), told)


def test_a_source_is_found_in_the_mirror(tmp_path, monkeypatch):
    paint(tmp_path / "mnist", "ab")
    monkeypatch.setenv("SAFELIGHT_DATA", str(tmp_path))
    assert open_split("mnist", "train", plan("mnist")).classes == ("a", "b")


def test_only_some_classes_are_drawn_and_keep_their_names():
    roles = deal(plan(private=60, classes=["7", "2"]))
    assert roles.private.classes == roles.public.classes == ("7", "2")
    assert set(roles.private.class_counts().values()) == {30}
    whole = embedded.open_split("train")
    hashes = {}
    for digit in (2, 7):
        rows = whole.pictures(np.flatnonzero(whole.labels == digit))
        hashes[str(digit)] = {one.tobytes() for one in rows}
    for picture, label in zip(roles.private.images, roles.private.labels, strict=True):
        assert picture.numpy().tobytes() in hashes[roles.private.classes[label]]


def test_a_training_set_without_a_count_is_what_the_others_leave():
    content = {"source": "embedded", "private": {"split": "train"}}
    content["holdout"] = {"split": "train", "count": 300}
    content["public"] = content["victims"] = {"split": "train", "count": 200}
    roles = deal(DataPlan(**content))
    assert len(roles.private) == 5000 - 700
    assert [len(one) for one in (roles.holdout, roles.public, roles.victims)] == [300, 200, 200]
    hashes = [one for _, images in roles.items() for one in images.content_hashes()]
    assert len(hashes) == 5000


def test_outliers_stand_first_in_private_and_holdout_and_nowhere_else():
    odd = {"classes": ["0"], "count": 7}
    roles = deal(plan(private=40, classes=["1", "7"], outliers=odd))
    for one in (roles.private, roles.holdout):
        assert one.classes == ("1", "7", "outlier")
        assert one.labels[:7].tolist() == [2] * 7
        assert one.labels[7:].max() == 1
    assert len(roles.private) == 47
    assert len(roles.holdout) == 107
    assert roles.public.class_counts()["outlier"] == roles.victims.class_counts()["outlier"] == 0
    hashes = [one for _, images in roles.items() for one in images.content_hashes()]
    assert len(set(hashes)) == len(hashes)


def test_outliers_may_be_of_another_source(tmp_path):
    folder = paint(tmp_path / "noise", ["rough", "fine"], n=12, shape=(28, 28))
    roles = deal(plan(private=20, outliers={"source": str(folder), "count": 5}))
    assert roles.private.class_counts()["outlier"] == 5
    assert "5 outliers of" in roles.private.source


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"classes": ["11"]}, "unknown class of MNIST"),
        ({"private": 20, "outliers": {"classes": ["x"], "count": 1}}, "unknown class of MNIST"),
        ({"private": 20, "outliers": {"count": 5000}}, "lower data.outliers.count"),
    ],
)
def test_classes_and_outliers_that_are_not_there_are_told(more, match):
    fails(plan(**more), match)
