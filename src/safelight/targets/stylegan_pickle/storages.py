"""The file within the file: what ``torch.save`` writes for a storage, in its format before 1.6.

A plainly pickled tensor carries its storage as such a file and asks ``torch.storage`` to load it,
which runs whatever the inner pickles name. Five pickles (mark, version, system, the storage's
description, its key) are followed by the number of elements and the elements. Source: the
``torch.serialization`` module of torch 2.
"""

from dataclasses import dataclass
from typing import Any

from safelight.targets.stylegan_pickle.elements import STORAGE_TYPES, ElementType, Storage
from safelight.targets.stylegan_pickle.opcodes import Budget, Cursor, Machine, Name, Vocabulary
from safelight.targets.stylegan_pickle.refusal import damaged, unsafe

MARK, VERSION = 0x1950A86A20F9469CFC6C, 1001
_TYPES: Vocabulary = {Name("torch", name): None for name in STORAGE_TYPES}


@dataclass(frozen=True)
class _Described:
    """A storage as its description tells of it."""

    type: ElementType
    key: str
    count: int


def read_storage(content: memoryview, budget: Budget) -> Storage:
    """Return the one storage of such a file.

    Raises:
        LoadError: it holds anything else, or its lengths contradict each other.
    """
    if bytes(content[:1]) != b"\x80":
        raise damaged("a storage in it is in another format")
    cursor = Cursor(content, budget)
    if Machine(cursor, {}).run() != MARK or Machine(cursor, {}).run() != VERSION:
        raise damaged("a storage in it lacks the mark of its format")
    system = Machine(cursor, {}).run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise damaged("a storage in it is not little-endian")
    described = Machine(cursor, _TYPES, _describe).run()
    if not isinstance(described, _Described):
        raise unsafe("loads something other than a storage from bytes")
    if Machine(cursor, {}).run() != [described.key]:
        raise damaged("a storage in it has another key than its description")
    count = cursor.number("<Q")
    if count != described.count or count * described.type.size != cursor.left:
        raise damaged(
            f"a storage in it is described with {described.count} elements, counts {count} and "
            f"has {cursor.left} bytes"
        )
    return Storage(cursor.take(cursor.left), described.type)


def _describe(given: tuple[Any, ...]) -> _Described:
    if len(given) != 6:
        raise damaged("the description of a storage is not of six parts")
    what, kind, key, location, count, view = given
    if what != "storage" or not isinstance(kind, Name) or view is not None:
        raise unsafe("describes a storage as something else, or as a view of another")
    if not isinstance(key, str) or not isinstance(location, str) or type(count) is not int:
        raise damaged("the description of a storage has parts of the wrong type")
    return _Described(STORAGE_TYPES[kind.name], key, count)
