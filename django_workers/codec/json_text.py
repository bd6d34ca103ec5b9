"""Strict JSON for arguments and results.

What would not come back as it went in is refused at the call, with its path.
"""

import re
from collections import UserString
from collections.abc import Mapping, Sequence, Set
from datetime import date, time, timedelta
from decimal import Decimal
from json import JSONDecoder, JSONEncoder
from math import isfinite
from typing import Any, Final, NoReturn
from uuid import UUID

from django.utils.functional import Promise

from ..exceptions import UnencodableValue
from .error_text import UNSTORABLE

LIMIT_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 64

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_CONTAINERS: Final = frozenset({list, tuple, dict})
_CONSTANTS: Final = frozenset({float, bool, type(None)})
# A float that Python writes without a point, as 1e+16. PostgreSQL's jsonb spells it
# out, and what comes back is an int.
_POINTLESS_FLOAT: Final = re.compile(r"\de\+\d")
_KEY_SHOWN: Final = 100

_dumps = JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode


def encode(
    value: object,
    *,
    path: str = "args",
    limit_bytes: int = LIMIT_BYTES,
    max_depth: int = MAX_DEPTH,
) -> str:
    """Write *value* as compact JSON text that comes back equal from any database.

    Tuples, ranges and other sequences become lists; subclasses of str, int and float
    (enums, safe strings) become plain. `path` names the value in messages,
    `limit_bytes` bounds the text in UTF-8, `max_depth` the containers in each other.

    Raises UnencodableValue (a TypeError and a ValueError) for everything else: NaN and
    infinity, NUL and lone surrogates in strings, bytes, sets, integers beyond 64 bits,
    keys that are no strings or appear twice, too deep, too large, any other type.
    """
    if type(value) in _CONTAINERS and not value:
        return "{}" if type(value) is dict else "[]"
    if _is_plain(value, path, limit_bytes, max_depth):
        try:
            text = _dumps(value)
            size = _size_of(text)
        except ValueError:  # NaN or infinity; a lone surrogate
            pass
        else:
            if size > limit_bytes:
                raise _too_large(path, limit_bytes)
            if "\\u0000" not in text and not (
                "e+" in text and _POINTLESS_FLOAT.search(text)
            ):
                return text
    writer = _Writer(path=path, limit_bytes=limit_bytes, max_depth=max_depth)
    writer.write(value)
    return "".join(writer.pieces)


def encode_call(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    path: str = "",
    limit_bytes: int = LIMIT_BYTES,
) -> tuple[str, str]:
    """Write the arguments of one call as JSON texts, each as encode() does.

    `path` stands before "args" and "kwargs" in messages; `limit_bytes` bounds both
    together. Raises UnencodableValue.
    """
    args_text = encode(list(args), path=f"{path}args", limit_bytes=limit_bytes)
    kwargs_text = encode(kwargs, path=f"{path}kwargs", limit_bytes=limit_bytes)
    # What is not given takes no part of the limit, though it is stored as [] or {}.
    both = args_text != "[]" and kwargs_text != "{}"
    if both and _size_of(args_text) + _size_of(kwargs_text) > limit_bytes:
        raise _too_large(f"{path}kwargs", limit_bytes, of="together with args ")
    return args_text, kwargs_text


def decode(text: str) -> Any:
    """Read what encode() has written.

    Raises ValueError for text that is not JSON, NaN and infinity included.
    """
    try:
        return _loads(text)
    except RecursionError as error:
        raise ValueError("JSON text is nested too deeply.") from error


def _is_plain(value: object, path: str, limit_bytes: int, max_depth: int) -> bool:
    """Whether the C encoder alone is right for *value*; False when in doubt.

    Goes level by level and counts what the text needs at least, so that a structure
    which refers to itself many times over ends as quickly as any other.
    """
    level: list[Any] = [(value,)]
    left = limit_bytes
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for container in level:
            left -= len(container)
            if left < 0:
                raise _too_large(path, limit_bytes)
            if type(container) is dict:
                for key in container:
                    if type(key) is not str:
                        return False
                    left -= len(key)
                container = container.values()
            for item in container:
                kind = type(item)
                if kind is str:
                    left -= len(item)
                elif kind is int:
                    if not _INT_MIN <= item <= _INT_MAX:
                        return False
                elif kind in _CONTAINERS:
                    below.append(item)
                elif kind not in _CONSTANTS:
                    return False
        if left < 0:
            raise _too_large(path, limit_bytes)
        if not below:
            return True
        level = below
    return False


class _Writer:
    """Writes JSON value by value, and knows where it stands when it refuses one."""

    def __init__(self, *, path: str, limit_bytes: int, max_depth: int) -> None:
        self.pieces: list[str] = []
        self._root = path
        self._trail: list[int | str] = []
        self._limit_bytes = limit_bytes
        self._left = limit_bytes
        self._max_depth = max_depth

    def write(self, value: object) -> None:
        """Write *value*, or raise UnencodableValue for the part that cannot be."""
        if value is None:
            self._put("null")
        elif isinstance(value, str):
            self._put(self._quoted(str.__str__(value)))
        elif isinstance(value, bool):
            self._put("true" if value else "false")
        elif isinstance(value, int):
            self._put(self._integer(int.__int__(value)))
        elif isinstance(value, float):
            self._put(self._number(float.__float__(value)))
        elif isinstance(value, Mapping):
            self._write_mapping(value)
        elif isinstance(value, Sequence) and not isinstance(
            value, (bytes, bytearray, memoryview, UserString)
        ):
            self._write_sequence(value)
        else:
            # The first two words are those of Django's own backends.
            self._refuse(
                f"Unsupported type: {_a(value)} is not JSON; {_instead(value)}"
            )

    def _write_mapping(self, mapping: Mapping[Any, Any]) -> None:
        self._enter("{")
        seen: set[str] = set()
        for key, value in mapping.items():
            if not isinstance(key, str):
                self._refuse(f"keys must be strings, and one is {_a(key)}")
            name = str.__str__(key)
            if name in seen:
                self._refuse(f"the key {_shown(name)} appears twice")
            quoted = self._quoted(name, of_key=True)
            self._put(f",{quoted}:" if seen else f"{quoted}:")
            seen.add(name)
            self._trail.append(name)
            self.write(value)
            self._trail.pop()
        self._put("}")

    def _write_sequence(self, sequence: Sequence[Any]) -> None:
        self._enter("[")
        for index, value in enumerate(sequence):
            if index:
                self._put(",")
            self._trail.append(index)
            self.write(value)
            self._trail.pop()
        self._put("]")

    def _enter(self, bracket: str) -> None:
        if len(self._trail) >= self._max_depth:
            self._refuse(
                f"nested deeper than {self._max_depth} levels, or contains itself"
            )
        self._put(bracket)

    def _quoted(self, text: str, *, of_key: bool = False) -> str:
        if len(text) > self._left:
            raise _too_large(self._root, self._limit_bytes)
        found = UNSTORABLE.search(text)
        if found:
            what = "a NUL character" if found[0] == "\0" else "half a surrogate pair"
            whose = f"the key {_shown(text)}" if of_key else "the text"
            self._refuse(f"{whose} holds {what} at {found.start()}")
        return _dumps(text)

    def _integer(self, number: int) -> str:
        if not _INT_MIN <= number <= _INT_MAX:
            self._refuse("the integer does not fit into 64 bits; pass it as a string")
        return str(number)

    def _number(self, number: float) -> str:
        if not isfinite(number):
            self._refuse(f"{number} is not a JSON number")
        text = repr(number)
        return f"{number:.1f}" if _POINTLESS_FLOAT.search(text) else text

    def _put(self, piece: str) -> None:
        self._left -= _size_of(piece)
        if self._left < 0:
            raise _too_large(self._root, self._limit_bytes)
        self.pieces.append(piece)

    def _refuse(self, message: str) -> NoReturn:
        raise UnencodableValue(message, self._root + "".join(map(_step, self._trail)))


def _step(part: int | str) -> str:
    """Render one step of a path: ``[2]``, ``.name`` or ``["any key"]``."""
    if isinstance(part, int):
        return f"[{part}]"
    if part.isascii() and part.isidentifier() and len(part) <= _KEY_SHOWN:
        return f".{part}"
    return f"[{_shown(part)}]"


def _shown(key: str) -> str:
    """Quote a key for messages, in ASCII and not too long."""
    text = key if len(key) <= _KEY_SHOWN else f"{key[:_KEY_SHOWN]}..."
    return _quote_in_ascii(text)


def _instead(value: object) -> str:
    """Say what to pass in place of a type that JSON has not."""
    match value:
        case bytes() | bytearray() | memoryview():
            return "pass text, for example in base64"
        case Set():
            return "pass a list"
        case date() | time():  # a datetime is a date
            return "pass value.isoformat()"
        case timedelta():
            return "pass value.total_seconds()"
        case Decimal() | UUID() | UserString() | Promise():
            return "pass str(value)"
    if hasattr(type(value), "_meta") and hasattr(type(value), "pk"):
        return "pass its primary key and load it in the task"
    return "pass plain values and build it in the task"


def _a(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiouAEIO' else 'a'} {name}"


def _size_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _too_large(path: str, limit_bytes: int, *, of: str = "") -> UnencodableValue:
    return UnencodableValue(
        f"{of}larger than {limit_bytes:,} bytes as JSON; store the data and pass its "
        "key",
        path,
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON.")


_loads = JSONDecoder(parse_constant=_refuse_constant).decode
_quote_in_ascii = JSONEncoder().encode
