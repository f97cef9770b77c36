"""k-anonymity, l-diversity and t-closeness: worked by hand, and against plain definitions."""

import datasets
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from safelight.data.inspection.anonymity import anonymity, read_table
from safelight.errors import DataError

#: Table 3 of Li, Li and Venkatasubramanian (ICDE 2007), salaries in thousands.
SALARIES = {
    "zip": ["476**"] * 3 + ["4790*"] * 3 + ["476**b"] * 3,
    "age": ["2*"] * 3 + [">=40"] * 3 + ["3*"] * 3,
    "salary": ["3", "4", "5", "6", "11", "8", "7", "9", "10"],
    "disease": [
        "ulcer",
        "gastritis",
        "cancer",
        "gastritis",
        "flu",
        "cough",
        "cough",
        "flu",
        "ulcer",
    ],
}


def test_published_example():
    found = anonymity(SALARIES, ["zip", "age"], ["salary"])
    assert (found.k, found.alone, found.rows) == (3, 0, 9)
    (salary,) = found.sensitive
    assert salary.l == 3
    assert salary.t == pytest.approx(0.375)  # the paper's D[{3k, 4k, 5k}, Q]


def test_words_are_all_equally_far_apart():
    table = {"q": list("aabb"), "s": ["flu", "flu", "flu", "hiv"]}
    found = anonymity(table, ["q"], ["s"])
    assert (found.k, found.sensitive[0].l) == (2, 1)
    assert found.sensitive[0].t == pytest.approx(0.25)  # (1, 0) against (3/4, 1/4)


def test_a_person_alone_is_counted():
    found = anonymity({"age": [30, 30, 31, 32], "s": [1, 1, 1, 1]}, ["age"], ["s"])
    assert (found.k, found.alone) == (1, 2)
    assert (found.sensitive[0].l, found.sensitive[0].t) == (1, 0)


@pytest.mark.parametrize("seed", range(5))
def test_numbers_move_earth_along_their_order(seed):
    rng = np.random.default_rng(seed)
    table = {"q": rng.integers(0, 6, 90).tolist(), "s": rng.integers(0, 12, 90).tolist()}
    _, ranks = np.unique(table["s"], return_inverse=True)
    most = max(
        wasserstein_distance(ranks[np.array(table["q"]) == one], ranks) / ranks.max()
        for one in set(table["q"])
    )
    assert anonymity(table, ["q"], ["s"]).sensitive[0].t == pytest.approx(most)


def test_order_of_rows_does_not_matter():
    order = np.random.default_rng(0).permutation(9)
    mixed = {name: [values[at] for at in order] for name, values in SALARIES.items()}
    wanted = (["zip", "age"], ["salary", "disease"])
    straight, other = anonymity(SALARIES, *wanted), anonymity(mixed, *wanted)
    assert straight.k == other.k
    assert [one.t for one in straight.sensitive] == pytest.approx(
        [one.t for one in other.sensitive]
    )


def test_csv_and_parquet_read_alike(tmp_path):
    (tmp_path / "a.csv").write_text("age,name\n30,Ann\n31,Bo\n\n")
    datasets.Dataset.from_dict({"age": [30, 31], "name": ["Ann", "Bo"]}).to_parquet(
        tmp_path / "a.parquet"
    )
    assert read_table(tmp_path / "a.csv") == {"age": ["30", "31"], "name": ["Ann", "Bo"]}
    assert read_table(tmp_path / "a.parquet") == {"age": [30, 31], "name": ["Ann", "Bo"]}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"age,zip\n", "holds no rows"),
        ("a.csv", b"age,zip\n1\n", "row 2 has not as many values"),
        ("a.csv", b"age,age\n1,2\n", "two columns have the same name"),
        ("a.csv", b"\xff\xfe\x00", "give a CSV or parquet file"),
        ("a.parquet", b"no", "give a CSV or parquet file"),
        ("b.csv", None, "give a CSV or parquet file"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_columns_must_be_there():
    with pytest.raises(DataError, match="did you mean 'age'"):
        anonymity(SALARIES, ["aeg"], [])
    with pytest.raises(DataError, match="--quasi"):
        anonymity(SALARIES, [], ["salary"])
