"""The Hugging Face hub, or its cache on this machine when there is no network."""

from collections.abc import Mapping

import datasets

from safelight.data.sources.source import Split
from safelight.data.sources.table import as_split
from safelight.errors import DataError

#: Short names for the data sets of the literature -> their home on the hub.
NAMES: Mapping[str, str] = {
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "svhn": "ufldl-stanford/svhn",
}

#: Which of a home's several data sets is meant.
PARTS: Mapping[str, str] = {NAMES["svhn"]: "cropped_digits"}

#: What a folder may hold besides parquet or pictures.
ALSO: Mapping[str, str] = {"svhn": ", or as train_32x32.mat and test_32x32.mat"}


def open_split(name: str, split: str, size: int | None, channels: int | None) -> Split:
    """Open one split of a data set by its short or its hub name.

    Raises:
        DataError: it is neither cached nor reachable, or has no such split.
    """
    try:
        home = NAMES.get(name, name)
        rows = datasets.load_dataset(home, PARTS.get(home), split=split)
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"cannot get {name} ({NAMES.get(name, name)}) from the hub or its cache: "
            f"{type(error).__name__}; connect once, or set SAFELIGHT_DATA to a folder that "
            f"holds {name.rsplit('/', 1)[-1]}/ as parquet or pictures{ALSO.get(name, '')}"
        ) from None
    except ValueError as error:
        first = str(error).strip().split("\n")[0]
        raise DataError(
            f"cannot read split {split!r} of {name}: {first}; check the split"
        ) from None
    return as_split(rows, name, size, channels)
