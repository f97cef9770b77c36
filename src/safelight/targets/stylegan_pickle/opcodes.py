"""The pickle machine, protocols 2 to 5, on inert values.

The opcodes are those of Python's ``pickletools`` documentation. A name in the file is never
imported: it stands for itself, and only names of the given vocabulary may occur. Opcodes that
network pickles do not use (INST, OBJ, EXT, PERSID, ...) are refused.
"""

import pickletools
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from safelight.targets.stylegan_pickle.refusal import (
    damaged,
    foreign,
    quoted,
    too_large,
    unsafe,
)

#: A network of 1024 x 1024 pixels has some 60,000; an object takes up to 300 bytes of memory.
MOST_OPCODES = 1_000_000
#: The file format mark of ``torch.save`` is the longest integer that occurs: 10 bytes.
LONGEST_INTEGER = 16
LONGEST_NAME = 200


@dataclass(frozen=True)
class Name:
    """A global of the file: text, never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Unfinished(ABC):
    """A value that the file completes by BUILD, once."""

    @abstractmethod
    def finish(self, state: Any) -> None:
        """Take the state.

        Raises:
            LoadError: it is not of the expected form.
        """


#: Makes the value of a REDUCE or NEWOBJ from its arguments.
Maker = Callable[[tuple[Any, ...]], Any]
#: What may be named; None: it may be named, but not called.
Vocabulary = Mapping[Name, Maker | None]


class Budget:
    """What one file may cost in all, shared by the pickles nested in it."""

    def __init__(self, opcodes: int, copied: int) -> None:
        self.opcodes = opcodes
        self.copied = copied

    def step(self) -> None:
        """Count an opcode."""
        self.opcodes -= 1
        if self.opcodes < 0:
            raise too_large(f"has over {MOST_OPCODES} instructions")

    def copy(self, count: int) -> None:
        """Count bytes that are decoded into memory of their own."""
        self.copied -= count
        if self.copied < 0:
            raise too_large("unpacks to many times its size")


class Cursor:
    """A place in the file; reading past the end is an error."""

    def __init__(self, content: memoryview, budget: Budget) -> None:
        self.content = content
        self.budget = budget
        self.at = 0

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return len(self.content) - self.at

    def take(self, count: int) -> memoryview:
        """Return the next bytes, without a copy."""
        if count > self.left:
            raise damaged(f"at byte {self.at} it promises {count} bytes and holds {self.left}")
        self.at += count
        return self.content[self.at - count : self.at]

    def number(self, form: str) -> Any:
        """Return the next number, in the notation of ``struct``."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def sized(self, form: str) -> memoryview:
        """Return the next bytes, after their number."""
        return self.take(self.number(form))

    def text(self, form: str) -> str:
        """Return the next text, after the number of its bytes."""
        raw = self.sized(form)
        self.budget.copy(len(raw))
        return _decode(raw)

    def integer(self, form: str) -> int:
        """Return the next integer of any length, after the number of its bytes."""
        count = self.number(form)
        if not 0 <= count <= LONGEST_INTEGER:
            raise too_large(f"holds an integer of {count} bytes")
        return int.from_bytes(self.take(count), "little", signed=True)

    def line(self) -> str:
        """Return the text up to the end of the line."""
        near = bytes(self.content[self.at : self.at + LONGEST_NAME])
        length = near.find(b"\n")
        if length < 0:
            raise damaged(f"the name at byte {self.at} does not end")
        self.at += length + 1
        return _decode(near[:length])


def _decode(raw: bytes | memoryview) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError:
        raise damaged("a text in it is not UTF-8") from None


#: The opcodes that put one value on the stack.
_VALUES: dict[int, Callable[[Cursor], Any]] = {
    ord("N"): lambda cursor: None,
    0x88: lambda cursor: True,
    0x89: lambda cursor: False,
    ord("K"): lambda cursor: cursor.number("<B"),
    ord("M"): lambda cursor: cursor.number("<H"),
    ord("J"): lambda cursor: cursor.number("<i"),
    0x8A: lambda cursor: cursor.integer("<B"),
    0x8B: lambda cursor: cursor.integer("<i"),
    ord("G"): lambda cursor: cursor.number(">d"),
    0x8C: lambda cursor: cursor.text("<B"),
    ord("X"): lambda cursor: cursor.text("<I"),
    0x8D: lambda cursor: cursor.text("<Q"),
    ord("C"): lambda cursor: cursor.sized("<B"),
    ord("B"): lambda cursor: cursor.sized("<I"),
    0x8E: lambda cursor: cursor.sized("<Q"),
    0x96: lambda cursor: cursor.sized("<Q"),
    ord(")"): lambda cursor: (),
    ord("]"): lambda cursor: [],
    ord("}"): lambda cursor: {},
    0x8F: lambda cursor: set(),
}
_PROTO, _STOP = 0x80, ord(".")


class Machine:
    """Runs one pickle.

    Numbers, texts and containers come out as Python's own, bytes as views of the file, and what
    the vocabulary's makers return as it is.
    """

    def __init__(
        self,
        cursor: Cursor,
        vocabulary: Vocabulary,
        persistent: Maker | None = None,
    ) -> None:
        self.cursor = cursor
        self.vocabulary = vocabulary
        self.persistent = persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each open mark
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return the value of the pickle and leave the cursor behind it.

        Raises:
            LoadError: it is damaged, too large, or wants anything that is not in the vocabulary.
        """
        cursor = self.cursor
        if cursor.left < 2 or cursor.number("<B") != _PROTO:
            raise foreign("it is not a pickle of protocol 2 or later")
        protocol = cursor.number("<B")
        if not 2 <= protocol <= 5:
            raise foreign(f"it is a pickle of protocol {protocol}")
        while (code := cursor.number("<B")) != _STOP:
            cursor.budget.step()
            if code in _VALUES:
                self.stack.append(_VALUES[code](cursor))
            elif code in _ACTIONS:
                _ACTIONS[code](self)
            else:
                raise unsafe(f"uses the pickle opcode {_opcode_name(code)}")
        if len(self.stack) != 1 or self.below:
            raise damaged("it stops in the middle of a value")
        return self.stack[0]

    def _pop(self) -> Any:
        if not self.stack:
            raise damaged(f"nothing is left to take at byte {self.cursor.at}")
        return self.stack.pop()

    def _top(self) -> Any:
        if not self.stack:
            raise damaged(f"nothing is there to add to at byte {self.cursor.at}")
        return self.stack[-1]

    def _mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        if not self.below:
            raise damaged(f"a mark is missing at byte {self.cursor.at}")
        values, self.stack = self.stack, self.below.pop()
        return values

    def _frame(self) -> None:
        length = self.cursor.number("<Q")
        if length > self.cursor.left:
            raise damaged(f"a frame promises {length} bytes and {self.cursor.left} are left")

    def _tuple(self, count: int) -> None:
        values = tuple(reversed([self._pop() for _ in range(count)]))
        self.stack.append(values)

    def _tuple_since_mark(self) -> None:
        values = tuple(self._since_mark())
        self.stack.append(values)

    def _frozenset(self) -> None:
        values = self._since_mark()
        self.stack.append(frozenset(as_key(one) for one in values))

    def _append(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise damaged("it appends to what is no list")
        target.extend(values)

    def _add(self) -> None:
        values, target = self._since_mark(), self._top()
        if not isinstance(target, set):
            raise damaged("it adds to what is no set")
        target.update(as_key(one) for one in values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(values) % 2:
            raise damaged("it sets items of what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if as_key(key) in target:
                raise damaged("a dictionary in it has the same key twice")
            target[key] = value

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _put(self, index: int) -> None:
        self.memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self.memo:
            raise damaged(f"it recalls value {index}, which it never kept")
        self.stack.append(self.memo[index])

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise unsafe("names a global by something other than text")
        meant = Name(module, name)
        if meant not in self.vocabulary:
            raise unsafe(f"names {quoted(str(meant))}")
        self.stack.append(meant)

    def _name_on_stack(self) -> None:
        name, module = self._pop(), self._pop()
        self._name(module, name)

    def _make(self) -> None:
        arguments, name = self._pop(), self._pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise unsafe("calls what it has built itself")
        maker = self.vocabulary[name]
        if maker is None:
            raise unsafe(f"calls {name}")
        self.stack.append(maker(arguments))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, dict) and state == {}:
            return  # what early Pythons write for a dictionary class without attributes
        if not isinstance(target, Unfinished):
            raise unsafe("sets the attributes of a global or of a finished value")
        target.finish(state)

    def _persistent_id(self) -> None:
        given = self._pop()
        if self.persistent is None or not isinstance(given, tuple):
            raise unsafe("refers to values outside itself")
        self.stack.append(self.persistent(given))


#: The opcodes that work on what is on the stack.
_ACTIONS: dict[int, Callable[[Machine], None]] = {
    0x95: Machine._frame,
    ord("("): Machine._mark,
    ord("t"): Machine._tuple_since_mark,
    0x85: lambda machine: machine._tuple(1),
    0x86: lambda machine: machine._tuple(2),
    0x87: lambda machine: machine._tuple(3),
    0x91: Machine._frozenset,
    ord("a"): lambda machine: machine._append([machine._pop()]),
    ord("e"): lambda machine: machine._append(machine._since_mark()),
    0x90: Machine._add,
    ord("s"): Machine._set_item,
    ord("u"): lambda machine: machine._set_items(machine._since_mark()),
    ord("q"): lambda machine: machine._put(machine.cursor.number("<B")),
    ord("r"): lambda machine: machine._put(machine.cursor.number("<I")),
    0x94: lambda machine: machine._put(len(machine.memo)),
    ord("h"): lambda machine: machine._get(machine.cursor.number("<B")),
    ord("j"): lambda machine: machine._get(machine.cursor.number("<I")),
    ord("c"): lambda machine: machine._name(machine.cursor.line(), machine.cursor.line()),
    0x93: Machine._name_on_stack,
    ord("R"): Machine._make,
    0x81: Machine._make,
    ord("b"): Machine._build,
    ord("Q"): Machine._persistent_id,
}


def as_key(value: Any) -> str | int:
    """Return what may be a key: its hash takes no time and cannot be made to collide.

    Raises:
        LoadError: it is anything else.
    """
    if isinstance(value, str) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    raise unsafe(f"uses a value of type {type(value).__name__} as a key")


def _opcode_name(code: int) -> str:
    names = [known.name for known in pickletools.opcodes if known.code == chr(code)]
    return names[0] if names else f"{code:#04x}"
