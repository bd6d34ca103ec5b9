import json
import math
import re
import sys
import traceback
from array import array
from collections import ChainMap, OrderedDict, UserString, deque, namedtuple
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.utils.functional import lazystr
from django.utils.safestring import SafeString
from hypothesis import example, given, settings
from hypothesis import strategies as st

from django_workers.codec import (
    ERROR_LIMIT,
    decode,
    describe_exception,
    encode,
    encode_call,
    storable_text,
)
from django_workers.exceptions import DjangoWorkersError, UnencodableValue

Point = namedtuple("Point", "x y")


class Colour(StrEnum):
    RED = "red"


class OldColour(str, Enum):  # noqa: UP042 - older code has such enums
    RED = "red"

    def __str__(self):
        return "something else"


class Level(IntEnum):
    HIGH = 25


class Loud(str):
    """A str whose every word is a lie, except the text it holds."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        return self is other

    def __str__(self):
        return "lie"

    def __len__(self):
        return 0


class Half(float):
    def __repr__(self):
        return "NaN"


class Pairs(Mapping[Any, Any]):
    """A mapping that may hold a key twice."""

    def __init__(self, *pairs):
        self.pairs = pairs

    def __getitem__(self, key):
        return dict(self.pairs)[key]

    def __iter__(self):
        return iter([key for key, _ in self.pairs])

    def __len__(self):
        return len(self.pairs)

    def items(self):
        return list(self.pairs)


class Endless(Sequence[int]):
    def __getitem__(self, index):
        return index

    def __len__(self):
        return sys.maxsize


def refusal(value, **options):
    with pytest.raises(UnencodableValue) as caught:
        encode(value, **options)
    return caught.value


# What encode() accepts, and what comes back


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "[]"),
        ((), "[]"),
        ({}, "{}"),
        (None, "null"),
        (True, "true"),
        ("", '""'),
        ([1, 2], "[1,2]"),
        ([1, "é", None, True, 1.5], '[1,"é",null,true,1.5]'),
        ({"a": {"b": [{}]}}, '{"a":{"b":[{}]}}'),
        ([2**63 - 1, -(2**63)], "[9223372036854775807,-9223372036854775808]"),
        (["\x01\n\"\\'/😀\u2028"], '["\\u0001\\n\\"\\\\\'/😀\u2028"]'),
        (["\\u0000"], '["\\\\u0000"]'),
        (["1e+16"], '["1e+16"]'),
        ((1, (2, (3,))), "[1,[2,[3]]]"),
        ([range(3), deque([1])], "[[0,1,2],[1]]"),
        ([Point(1, 2), array("i", [7])], "[[1,2],[7]]"),
        ([Colour.RED, OldColour.RED, Level.HIGH], '["red","red",25]'),
        ([SafeString("<b>"), Loud("truth"), Half(0.5)], '["<b>","truth",0.5]'),
        ({Colour.RED: 1}, '{"red":1}'),
        ([OrderedDict(a=1), MappingProxyType({"a": 1}), ChainMap({"a": 1})],
         '[{"a":1},{"a":1},{"a":1}]'),
    ],
)  # fmt: skip
def test_plain_values_become_compact_json(value, text):
    assert encode(value) == text


def test_both_ways_through_agree():
    """The quick way and the careful one must write the same text."""
    value = [{"a": [1, -2.5, "é\n"], "": None}, [True, False], 0.1, 10**15 + 0.5]

    assert encode([value, range(0)]) == f"[{encode(value)},[]]"


@pytest.mark.parametrize(
    "number", [1e16, -1e16, 1e22, 1e23, 1.5e300, sys.float_info.max]
)
def test_a_large_float_keeps_its_point(number):
    # PostgreSQL's jsonb spells 1e+16 out as 10000000000000000, which reads as an int.
    text = encode({"n": [number]})

    assert re.fullmatch(r'\{"n":\[-?\d+\.0\]\}', text)
    assert decode(text) == {"n": [number]}


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "[-Infinity]", "", "[1,]", "{"])
def test_decode_refuses_what_is_not_json(text):
    with pytest.raises(ValueError, match=r"JSON|Expecting|Illegal"):
        decode(text)


def test_decode_survives_a_text_nested_too_deeply():
    with pytest.raises(ValueError, match="deep"):
        decode("[" * 1_000_000)


# What it refuses, and where


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        ([1, 2, {"name": math.nan}], "args[2].name", "nan"),
        ([math.inf], "args[0]", "inf"),
        (-math.inf, "args", "-inf"),
        (["a", "b\0"], "args[1]", "NUL character at 1"),
        ([{"x": "\ud83d\ude00"}], "args[0].x", "surrogate"),
        ([b"x"], "args[0]", "bytes is not JSON; pass text"),
        ([bytearray(b"x")], "args[0]", "base64"),
        ([memoryview(b"x")], "args[0]", "base64"),
        ([{1, 2}], "args[0]", "pass a list"),
        ([frozenset()], "args[0]", "pass a list"),
        ([{}.keys()], "args[0]", "pass a list"),
        ([2**63], "args[0]", "64 bits"),
        ([-(2**63) - 1], "args[0]", "64 bits"),
        ([10**5000], "args[0]", "64 bits"),
        ([Decimal(1)], "args[0]", "a Decimal is not JSON; pass str(value)"),
        ([uuid4()], "args[0]", "a UUID is not JSON; pass str(value)"),
        ([date(2026, 1, 1)], "args[0]", "isoformat"),
        ([datetime(2026, 1, 1, tzinfo=UTC)], "args[0]", "isoformat"),
        ([time(1)], "args[0]", "isoformat"),
        ([timedelta(1)], "args[0]", "total_seconds"),
        ([lazystr("lazy")], "args[0]", "pass str(value)"),
        ([UserString("user")], "args[0]", "a UserString is not JSON; pass str(value)"),
        ([Group(pk=1)], "args[0]", "a Group is not JSON; pass its primary key"),
        ([object()], "args[0]", "an object is not JSON"),
        ([iter([])], "args[0]", "is not JSON"),
        ([complex(1)], "args[0]", "is not JSON"),
        ([Path()], "args[0]", "is not JSON"),
        ([{"a": {1: 2}}], "args[0].a", "keys must be strings, and one is an int"),
        ([{None: 2}], "args[0]", "NoneType"),
        ([{True: 2}], "args[0]", "bool"),
        ([{("a",): 2}], "args[0]", "tuple"),
        ([{"a\0": 1}], "args[0]", r'the key "a\u0000" holds a NUL'),
        ([{"\udc00": 1}], "args[0]", r'the key "\udc00" holds half'),
        ([Pairs(("a", 1), ("b", 2), ("a", 3))], "args[0]", 'the key "a" appears twice'),
        ([{Loud("a"): 1, Loud("a"): 2}], "args[0]", "appears twice"),
        ([Pairs(("a", 1), ("b", {2}))], "args[0].b", "pass a list"),
    ],
)  # fmt: skip
def test_what_json_cannot_hold_is_refused_with_its_path(value, path, words):
    error = refusal(value)

    assert error.path == path
    assert str(error).startswith(f"{path}: ")
    assert words in str(error)


def test_a_refusal_is_a_type_error_and_a_value_error():
    error = refusal([set()])

    assert isinstance(error, TypeError)
    assert isinstance(error, ValueError)
    assert isinstance(error, DjangoWorkersError)


@pytest.mark.parametrize(
    ("key", "step"),
    [
        ("name", ".name"),
        ("a b", '["a b"]'),
        ("", '[""]'),
        ("1", '["1"]'),
        ('"', '["\\""]'),
        ("a\n\x1b[31m", '["a\\n\\u001b[31m"]'),
        ("straße", '["stra\\u00dfe"]'),
        ("x" * 101, f'["{"x" * 100}..."]'),
    ],
)
def test_the_path_quotes_any_key_in_printable_ascii(key, step):
    assert refusal({key: [b""]}, path="kwargs").path == f"kwargs{step}[0]"


def nested(levels, innermost=None):
    value = [] if innermost is None else [innermost]
    for _ in range(levels - 1):
        value = [value]
    return value


def test_64_levels_are_accepted_and_65_are_not():
    assert decode(encode(nested(64))) == nested(64)
    assert decode(encode(nested(63, {"a": 1}))) == nested(63, {"a": 1})

    for too_deep in (nested(65), nested(64, {}), nested(64, range(1))):
        error = refusal(too_deep)
        assert error.path == f"args{'[0]' * 64}"
        assert "deeper than 64" in str(error)


def test_the_depth_may_be_set():
    assert encode(nested(2), max_depth=2) == "[[]]"
    assert refusal(nested(3), max_depth=2).path == "args[0][0]"


def test_a_value_that_contains_itself_is_refused():
    ring: list[Any] = []
    ring.append(ring)
    loop: dict[str, Any] = {}
    loop["me"] = loop

    assert "contains itself" in str(refusal(ring))
    assert "contains itself" in str(refusal(loop))


@pytest.mark.parametrize(
    "value",
    [
        ["x" * 98],
        ["é" * 49],
        ["\n" * 49],
        [1] * 50,
        {"k" * 98: 1},
        [Colour.RED] * 20,
        [SafeString("é" * 49)],
        range(50),
    ],
)
def test_the_size_limit_counts_bytes_of_the_text(value):
    size = len(encode(value).encode())

    assert encode(value, limit_bytes=size) == encode(value)
    error = refusal(value, limit_bytes=size - 1)
    assert error.path == "args"
    assert f"larger than {size - 1} bytes" in str(error)


def test_the_limit_is_a_million_bytes_by_default():
    assert len(encode(["x" * 999_996])) == 1_000_000
    assert refusal(["x" * 999_997]).path == "args"


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_call_has_one_limit_for_both_kinds_of_arguments(letter):
    args, kwargs = (letter * 5,), {"name": letter * 5}
    texts = [encode([*args]), encode(kwargs)]
    size = len("".join(texts).encode())

    assert encode_call(args, kwargs, limit_bytes=size) == tuple(texts)
    with pytest.raises(UnencodableValue) as refused:
        encode_call(args, kwargs, path="calls[3].", limit_bytes=size - 1)
    assert str(refused.value) == (
        f"calls[3].kwargs: together with args larger than {size - 1} bytes as JSON; "
        "store the data and pass its key"
    )


def test_arguments_that_are_not_given_take_no_part_of_the_limit():
    assert encode_call((1, 2), {}, limit_bytes=5) == ("[1,2]", "{}")
    assert encode_call((), {"a": 1}, limit_bytes=7) == ("[]", '{"a":1}')


def laughs():
    value: list[Any] = ["ha" * 100]
    for _ in range(60):
        value = [value] * 10
    return value


# Made within the test: pytest would write these values out to name its cases.
HUGE_VALUES = {
    "shared lists": laughs,
    "shared lists and a set": lambda: [laughs(), {1, 2}],
    "a long text shared": lambda: ["x" * 900_000] * 100_000,
    "a long list shared": lambda: [[0] * 300_000] * 300_000,
    "a long key shared": lambda: [{"k" * 900_000: 1}] * 100_000,
    "an enum and a long text": lambda: [Colour.RED, ["x" * 900_000] * 100_000],
    "a long list": lambda: [0] * 5_000_000,
    "a long range": lambda: range(10**12),
    "a range beyond counting": lambda: range(2**70),
    "a sequence without end": Endless,
}


@pytest.mark.parametrize("kind", HUGE_VALUES)
def test_a_huge_value_is_refused_without_being_written(kind):
    assert "larger than 1,000,000 bytes" in str(refusal(HUGE_VALUES[kind]()))


# Whatever the input: back as it was, or refused where it is wrong

texts = st.text(st.characters(exclude_categories=()), max_size=6)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**66), 2**66),
    st.floats(),
    texts,
    st.text("aé\\u0\0e+1", max_size=6),
    st.sampled_from([b"", Decimal(1), {1}, object(), Colour.RED, OldColour.RED, 1e16]),
    st.sampled_from([Level.HIGH, SafeString("s"), Half(0.5), Half("nan"), range(2)]),
)
keys = st.one_of(texts, st.text("ab _", max_size=3), st.integers(), st.just(Colour.RED))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.text("ab ", max_size=2), inner, max_size=4).map(OrderedDict),
    ),
    max_leaves=12,
)
good_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6).filter(lambda text: "\0" not in text),
)
good_values = st.recursive(
    good_scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.text(max_size=3).filter(lambda text: "\0" not in text), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


def bad_text(text):
    return any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)


def is_wrong_itself(value):
    """Whether the refusal of *value* is not about something inside it."""
    match value:
        case None | bool():
            return False
        case str():
            return bad_text(str.__str__(value))
        case int():
            return not -(2**63) <= value < 2**63
        case float():
            return not math.isfinite(value)
        case Mapping():
            return any(not isinstance(key, str) or bad_text(key) for key in value)
        case list() | tuple() | range():
            return False
    return True


def children(value):
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple, range)) else []


def is_wrong_somewhere(value):
    return is_wrong_itself(value) or any(map(is_wrong_somewhere, children(value)))


def normalised(value):
    match value:
        case None | bool():
            return value
        case str():
            return "".join(str.__str__(value))
        case int():
            return int(value)
        case float():
            return float(value)
        case Mapping():
            return {normalised(key): normalised(item) for key, item in value.items()}
    return [normalised(item) for item in value]


def same(a, b):
    """Equal in type and value, all the way down; -0.0 is not 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


STEP = re.compile(
    r'\[(?P<index>\d+)\]|\.(?P<name>\w+)|\[(?P<quoted>"(?:\\.|[^"\\])*")\]'
)


def value_at(path, value):
    """Follow a path such as ``args[2].name`` into *value*."""
    rest = path.removeprefix("args")
    while rest:
        step = STEP.match(rest)
        assert step, f"unreadable path {path!r}"
        if step["index"] is not None:
            value = value[int(step["index"])]
        else:
            value = value[step["name"] or json.loads(step["quoted"])]
        rest = rest[step.end() :]
    return value


@settings(deadline=None, max_examples=400)
@given(values)
@example([[1e16, {"a": Half("nan")}]])
@example({"a": {"b c": [{1: 2}]}})
@example(["\ud83d", "\ude00"])
def test_any_value_comes_back_or_is_refused_where_it_is_wrong(value):
    refused: UnencodableValue | None = None
    try:
        text = encode(value)
    except UnencodableValue as error:
        refused = error
    if refused is not None:
        assert is_wrong_itself(value_at(refused.path, value))
        assert str(refused).isascii()
    else:
        assert not is_wrong_somewhere(value)
        assert same(decode(text), normalised(value))
        assert text == encode(decode(text))


@settings(deadline=None, max_examples=200)
@given(good_values)
def test_plain_values_come_back_exactly(value):
    assert same(decode(encode(value)), value)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_float_reads_as_an_int_once_spelled_out(number):
    spelled_out = format(Decimal(encode(number)), "f")

    assert same(json.loads(spelled_out), number)


# Texts for any database


@settings(deadline=None)
@given(texts, st.integers(0, 30))
def test_a_storable_text_can_be_stored(text, limit):
    stored = storable_text(text * 20, limit=limit)

    stored.encode()
    assert "\0" not in stored
    assert len(stored) <= limit


@settings(deadline=None)
@given(st.text(max_size=30).filter(lambda text: not bad_text(text)))
def test_an_ordinary_text_stays_as_it_is(text):
    assert storable_text(text, limit=30) == text


def test_what_cannot_be_stored_is_replaced_one_by_one():
    assert storable_text("a\0é\ud83d\ude00😀", limit=99) == "a\ufffdé\ufffd\ufffd😀"


def test_of_a_long_text_head_and_tail_stay():
    text = "begin " + "x" * 10_000 + " end"

    stored = storable_text(text, limit=200)

    assert len(stored) == 200
    assert stored.startswith("begin ")
    assert stored.endswith(" end")
    assert "[... cut, 10,010 characters in all ...]" in stored


# Exceptions, the strangest included


def caught(raise_it):
    try:
        raise_it()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raising(error):
    def raise_it():
        raise error

    return caught(raise_it)


class Odd(Exception):
    pass


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class Deadly(Exception):
    def __str__(self):
        raise KeyboardInterrupt


class NotText(Exception):
    def __str__(self):
        return 42


class Bottomless(Exception):
    def __str__(self):
        return str(self)


class Liar(Exception):
    def __str__(self):
        return Loud("truth")


class Hidden(Exception):
    @property
    def __notes__(self):  # type: ignore[override]
        raise RuntimeError("notes")

    @property
    def __cause__(self):  # type: ignore[override]
        raise RuntimeError("cause")

    def __len__(self):
        raise RuntimeError("len")


class Nameless(type):
    def __getattribute__(cls, name):
        if name == "__qualname__":
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class Anonymous(Exception, metaclass=Nameless):
    pass


def test_an_exception_is_described_as_python_does():
    error = raising(ValueError("wrong"))

    path, message, text = describe_exception(error)

    assert path == "builtins.ValueError"
    assert message == "wrong"
    assert text == "".join(traceback.format_exception(error))
    assert text.endswith("ValueError: wrong\n")


def test_chains_notes_and_groups_are_in_the_traceback():
    def fail():
        try:
            raise KeyError("first")
        except KeyError as error:
            group = ExceptionGroup("both", [Odd("one"), Odd("two")])
            group.add_note("a note")
            raise group from error

    _, _, text = describe_exception(caught(fail))

    for part in ("KeyError: 'first'", "direct cause", "both", "Odd: two", "a note"):
        assert part in text


def test_a_message_keeps_nothing_that_cannot_be_stored():
    _, message, text = describe_exception(raising(ValueError("a\0b\ud800")))

    assert message == "a\ufffdb\ufffd"
    assert text.endswith("ValueError: a\ufffdb\ufffd\n")


def test_an_exception_without_a_message_ends_with_its_name():
    _, message, text = describe_exception(raising(Odd()))

    assert message == ""
    assert text.endswith("tests.test_codec.Odd\n")


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (Unspeakable(), "Unspeakable", "<exception str() failed>"),
        (Deadly(), "Deadly", "<exception str() failed>"),
        (NotText(), "NotText", "<exception str() failed>"),
        (Bottomless(), "Bottomless", "<exception str() failed>"),
        (Liar(), "Liar", "truth"),
        (Hidden("there"), "Hidden", "there"),
        (SystemExit(3), "SystemExit", "3"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (MemoryError(), "MemoryError", ""),
        (OSError(2, "gone", "file"), "FileNotFoundError", "[Errno 2] gone: 'file'"),
        (SyntaxError("bad", ("f", 1, 1, "x", 1, 2)), "SyntaxError", "bad (f, line 1)"),
    ],
)
def test_no_exception_is_too_strange_to_be_described(error, name, message):
    path, said, text = describe_exception(raising(error))

    assert path.endswith(f".{name}")
    assert said == message
    assert name in text.splitlines()[-1]
    assert text.endswith("\n")


def test_a_class_that_hides_its_name_is_described():
    path, message, text = describe_exception(raising(Anonymous("who")))

    assert path == "<unknown>"
    assert message == "who"
    assert text.endswith(": who\n")


@pytest.mark.parametrize("part", ["x", "\n", "é\0"])
def test_a_huge_message_is_cut_and_the_end_stays_readable(part):
    path, message, text = describe_exception(raising(Odd(part * 20_000_000)))

    assert path == "tests.test_codec.Odd"
    assert len(message) == ERROR_LIMIT
    assert len(text) <= ERROR_LIMIT
    assert text.startswith("Traceback (most recent call last):\n")
    assert "\ntests.test_codec.Odd: " in text
    assert "characters in all" in text
    assert text.endswith("\n")


def test_a_huge_message_in_the_chain_or_in_a_note_does_no_harm():
    def fail():
        try:
            raise Odd("x" * 1_000_000)
        except Odd as error:
            raise ValueError("short") from error

    noted = ValueError("short")
    noted.add_note("x" * 1_000_000)

    for error in (caught(fail), raising(noted)):
        _, message, text = describe_exception(error, 1_000)
        assert message == "short"
        assert len(text) <= 1_000
        assert text.endswith("ValueError: short\n")


def test_a_deep_recursion_is_described():
    def ping():
        pong()

    def pong():
        ping()

    path, message, text = describe_exception(caught(ping), 5_000)

    assert path == "builtins.RecursionError"
    assert "maximum recursion depth" in message
    assert len(text) <= 5_000
    assert text.splitlines()[-1].startswith("RecursionError: ")


def test_a_chain_of_ten_thousand_is_described():
    error = ValueError("last")
    link = error
    for number in range(10_000):
        link.__context__ = ValueError(str(number))
        link = link.__context__

    _, _, text = describe_exception(raising(error))

    assert text.endswith("ValueError: last\n")


def test_a_chain_that_ends_in_itself_is_described():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    _, _, text = describe_exception(raising(first))

    assert text.endswith("ValueError: first\n")


@settings(deadline=None)
@given(texts, st.integers(0, 300))
def test_a_description_fits_whatever_the_limit(text, limit):
    for part in describe_exception(raising(ValueError(text * 9)), limit)[1:]:
        assert len(part) <= limit
        part.encode()
        assert "\0" not in part
