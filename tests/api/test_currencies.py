"""Currencies, rates and conversion through the front door."""

import asyncio
from datetime import date, timedelta
from typing import Any

import iso4217
import pytest

from databases import execute
from front_door import fetch, refused
from polka.rules.money import AMOUNT_MAX
from polka.store.migrate import migrate
from running import Running
from services import Services, client
from stored_rates import RECORDED, store, today


def get(polka: Running, path: str, **params: Any) -> Any:
    return client.get(f"{polka.url}{path}", params=params).raise_for_status().json()


def test_all_currencies_of_iso_4217_that_have_minor_units_are_listed(polka: Running) -> None:
    found = get(polka, "/currencies")["currencies"]
    expected = {
        currency.code: (currency.currency_name, currency.exponent)
        for currency in iso4217.Currency
        if currency.exponent is not None
    }
    assert {currency["code"]: (currency["name"], currency["exponent"]) for currency in found} == expected
    assert [currency["code"] for currency in found] == sorted(expected)
    assert expected["JPY"] == ("Yen", 0)
    assert "XAU" not in expected


def test_the_recorded_rates_are_there_from_the_start_and_say_their_date(polka: Running) -> None:
    answer = get(polka, "/rates")
    assert {name: answer[name] for name in RECORDED} == RECORDED
    assert answer["base"] == "EUR"
    assert answer["rates"]["USD"] == "1.1172"
    assert answer["rates"]["GBP"] == "0.83380"
    assert len(answer["rates"]) == 29
    assert get(polka, "/rates", date="2026-10-30") == get(polka, "/rates", date="2030-01-01") == answer


def test_before_the_first_rates_there_are_none(polka: Running) -> None:
    problem = refused(client.get(f"{polka.url}/rates", params={"date": "2026-10-29"}), 404, "not_found")
    assert problem["detail"] == "There are no rates of 2026-10-29 or before."


@pytest.mark.parametrize("text", ["2026-10-32", "30.10.2026", "20261030", "today", ""])
def test_what_is_no_date_is_refused(polka: Running, text: str) -> None:
    assert refused(client.get(f"{polka.url}/rates", params={"date": text}), 400, "invalid")["field"] == "date"


@pytest.mark.parametrize(
    ("amount", "source", "target", "converted", "rate"),
    [
        (1250, "EUR", "USD", 1396, "1.1172"),  # 1396.5
        (1250, "USD", "JPY", 1965, "157.2502685"),  # 1965.63
        (100_000, "JPY", "USD", 63_592, "0.006359289617"),  # 63592.9
        (20_276, "IDR", "EUR", 1, "0.00004932141136"),
        (777, "GBP", "GBP", 777, "1"),
        (AMOUNT_MAX, "USD", "EUR", 895_094_880_057_286, "0.8950948801"),
    ],
)
def test_an_amount_is_converted_by_way_of_the_euro(
    polka: Running, amount: int, source: str, target: str, converted: int, rate: str
) -> None:
    answer = get(polka, "/convert", **{"from": source, "to": target, "amount": amount})
    assert answer == {
        "from": {"amount": amount, "currency": source},
        "to": {"amount": converted, "currency": target},
        "rate": rate,
        **RECORDED,
    }


@pytest.mark.parametrize(
    ("params", "status", "code", "field"),
    [
        ({"from": "usd"}, 400, "invalid", "from"),
        ({"to": None}, 400, "invalid", "to"),
        ({"amount": 0}, 400, "invalid", "amount"),
        ({"amount": -5}, 400, "invalid", "amount"),
        ({"amount": AMOUNT_MAX + 1}, 400, "invalid", "amount"),
        ({"amount": "12.50"}, 400, "invalid", "amount"),
        ({"from": "XXX"}, 422, "unknown_currency", "from"),
        ({"to": "QQQ"}, 422, "unknown_currency", "to"),
        ({"to": "KWD"}, 422, "no_rate", "to"),
        ({"from": "EUR", "to": "USD", "amount": AMOUNT_MAX}, 422, "amount_too_large", "amount"),
        ({"from": "IDR", "amount": 20_275}, 422, "amount_too_small", "amount"),
    ],
)
def test_what_cannot_be_converted_names_the_field(
    polka: Running, params: dict[str, Any], status: int, code: str, field: str
) -> None:
    asked = {"from": "USD", "to": "EUR", "amount": 100} | params
    given = {name: str(value) for name, value in asked.items() if value is not None}
    assert refused(client.get(f"{polka.url}/convert", params=given), status, code)["field"] == field


def ask(url: str, path: str = "/convert?from=EUR&to=USD&amount=10000") -> Any:
    return client.get(f"{url}{path}").raise_for_status().json()


def test_the_newest_rates_count_and_those_of_a_day_stay(services: Services) -> None:
    api = services.api().ready()
    yesterday = today() - timedelta(days=1)
    store(services.database_url, yesterday, "1.20")
    store(services.database_url, today(), "1.30")
    store(services.database_url, today(), "1.31")
    answer = ask(api.url)
    assert (answer["to"]["amount"], answer["rate"]) == (13_100, "1.31")
    assert (answer["date"], answer["version"], answer["source"]) == (str(today()), 2, "fetched")
    assert ask(api.url, f"/rates?date={yesterday}")["rates"] == {"USD": "1.20"}
    assert ask(api.url, f"/rates?date={yesterday - timedelta(days=1)}")["date"] == RECORDED["date"]


def test_nothing_is_converted_by_rates_that_are_too_old(services: Services) -> None:
    api = services.api(POLKA_RATES_AGE_LIMIT_DAYS="3").ready()
    store(services.database_url, today() - timedelta(days=4), "1.20")
    problem = refused(client.get(f"{api.url}/convert?from=EUR&to=USD&amount=1"), 503, "rates_stale")
    assert str(today() - timedelta(days=4)) in problem["detail"]
    assert ask(api.url, "/rates")["rates"] == {"USD": "1.20"}
    store(services.database_url, today() - timedelta(days=3), "1.25")
    assert ask(api.url)["rate"] == "1.25"


def test_the_recorded_rates_can_be_left_out(services: Services) -> None:
    api = services.api(POLKA_RATES_RECORDED="false").ready()
    assert (today() - date(2026, 10, 30)).days > 7
    refused(client.get(f"{api.url}/convert?from=EUR&to=USD&amount=1"), 503, "rates_stale")


def test_without_any_rates_the_api_says_so(services: Services) -> None:
    api = services.api().ready()
    asyncio.run(execute(services.database_url, "DELETE FROM rates; DELETE FROM rate_sets"))
    refused(client.get(f"{api.url}/convert?from=EUR&to=USD&amount=1"), 503, "rates_stale")
    refused(client.get(f"{api.url}/rates"), 404, "not_found")


def moved(date: str) -> str:
    return f"UPDATE rate_sets SET date = {date}; UPDATE rates SET date = {date}"


def test_migrate_adds_the_recorded_rates_once_and_never_beside_fetched_ones(
    empty_database_url: str,
) -> None:
    sets = "SELECT date, version, source FROM rate_sets ORDER BY date, version"
    recorded = (date(2026, 10, 30), 1, "recorded")
    for _ in range(2):
        asyncio.run(migrate(empty_database_url))
        assert fetch(empty_database_url, sets) == [recorded]
    asyncio.run(execute(empty_database_url, moved("date - 1")))
    asyncio.run(migrate(empty_database_url))
    assert fetch(empty_database_url, sets) == [(date(2026, 10, 29), 1, "recorded"), recorded]
    asyncio.run(execute(empty_database_url, "UPDATE rate_sets SET source = 'fetched'; " + moved("date - 7")))
    asyncio.run(migrate(empty_database_url))
    assert {source for _, _, source in fetch(empty_database_url, sets)} == {"fetched"}
