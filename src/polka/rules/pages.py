"""Lists come in pages: the `cursor` in an answer asks for the next page."""

import msgspec

OLDER_CURSOR = msgspec.Meta(description="The older name of `cursor`.", extra_json_schema={"deprecated": True})

PAGE_MAX = 500
"""The largest number of items in an answer."""
