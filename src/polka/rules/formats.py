"""Formats of JSON texts, by their names in the description of the API."""

from datetime import datetime
from typing import Annotated

import msgspec

Id = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]
Time = Annotated[datetime, msgspec.Meta(extra_json_schema={"format": "date-time"})]
