"""Currencies through the front door."""

import iso4217

from conftest import Running
from services import client


def test_all_currencies_of_iso_4217_that_have_minor_units_are_listed(polka: Running) -> None:
    answer = client.get(f"{polka.url}/currencies").raise_for_status().json()
    expected = {
        currency.code: (currency.currency_name, currency.exponent)
        for currency in iso4217.Currency
        if currency.exponent is not None
    }
    assert {found["code"]: (found["name"], found["exponent"]) for found in answer["currencies"]} == expected
    assert [found["code"] for found in answer["currencies"]] == sorted(expected)
    assert expected["JPY"] == ("Yen", 0)
    assert "XAU" not in expected
