"""A serializer for Schemathesis to send MessagePack. Schemathesis loads this module, not the tests."""

from typing import Any

import msgspec
import schemathesis


@schemathesis.serializer("application/msgpack")
def as_message_pack(_: Any, value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:  # MessagePack has whole numbers of 64 bits
        return msgspec.msgpack.encode(None)
