"""Documents of exchange rates, in the form of the European Central Bank."""

from collections.abc import Iterable
from datetime import date

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01"
    xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
"""


def document(day: date, rates: Iterable[tuple[str, str]]) -> bytes:
    """The rates of a day, by currency."""
    cubes = "".join(f"<Cube currency='{currency}' rate='{rate}'/>\n" for currency, rate in rates)
    return f"{HEAD}<Cube><Cube time='{day}'>\n{cubes}</Cube></Cube></gesmes:Envelope>\n".encode()
