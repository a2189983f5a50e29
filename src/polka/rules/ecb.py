"""The document in which the European Central Bank publishes its euro reference rates of a day, eurofxref-daily.xml.

The document may have any content and any author. Polka takes the whole document, or nothing.
"""

import re
from datetime import date
from decimal import Decimal
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from polka.rules.money import is_currency
from polka.rules.rates import EURO, Rates, Unfit, UnfitError

CUBE = "{http://www.ecb.int/vocabulary/2002-08-01/eurofxref}Cube"

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
CODE = re.compile(r"[A-Z]{3}")
RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def read(document: bytes) -> Rates:
    """The rates in the document. Currencies that Polka does not know are left out.

    Raises:
        UnfitError: the text is no document in this form, of a single day.
    """
    try:
        envelope: Element = fromstring(document, forbid_dtd=True)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:  # the last two: its encoding
        raise malformed(f"it is no XML of ours: {error}") from None
    days = [cube for cube in envelope.iterfind(f"{CUBE}/{CUBE}") if "time" in cube.attrib]
    if len(days) != 1:
        raise malformed(f"it has rates of {len(days)} days, not of one")
    of_euro: dict[str, Decimal] = {}
    for cube in days[0]:
        currency, rate = read_rate(cube)
        if currency == EURO or currency in of_euro:
            raise malformed(f"it has a rate of {currency} too many")
        of_euro[currency] = rate
    known = {currency: rate for currency, rate in of_euro.items() if is_currency(currency)}
    if not known:
        raise malformed("it has no rates")
    return Rates(read_date(days[0].attrib["time"]), known)


def read_date(text: str) -> date:
    try:
        if DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise malformed(f"it is of {text!r}, which is no date")


def read_rate(cube: Element) -> tuple[str, Decimal]:
    currency, rate = cube.get("currency", ""), cube.get("rate", "")
    if cube.tag != CUBE or not CODE.fullmatch(currency):
        raise malformed(f"it has {currency!r} for a currency")
    if not RATE.fullmatch(rate) or not (value := Decimal(rate)):
        raise malformed(f"its rate of {currency} is {rate!r}, which is no decimal above zero")
    return currency, value


def malformed(fact: str) -> UnfitError:
    return UnfitError(Unfit.MALFORMED, fact)
