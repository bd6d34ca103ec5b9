"""What goes into the database as text: strict JSON, and the story of an exception."""

from .error_text import (
    ERROR_LIMIT,
    REASON_LIMIT,
    describe_exception,
    describe_failure,
    storable_text,
)
from .json_text import LIMIT_BYTES, MAX_DEPTH, decode, encode, encode_call

__all__ = [
    "ERROR_LIMIT",
    "LIMIT_BYTES",
    "MAX_DEPTH",
    "REASON_LIMIT",
    "decode",
    "describe_exception",
    "describe_failure",
    "encode",
    "encode_call",
    "storable_text",
]
