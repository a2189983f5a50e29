"""The console's drills in a real browser: nothing is lost, and the page outlives whatever is killed under it."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import browser as chromium
from browser import element, table, text
from commands import up
from drilled import Drilled
from polka.local import postgres
from services import wait_for

KEPT_BY_A_BROWSER = 3
"""More snapshots than a browser has of a killed api and has not shown yet: one a second is sent."""

pytestmark = pytest.mark.skipif(not chromium.is_there(), reason="there is no chromium with its chromedriver")


@pytest.fixture(scope="module")
def drilled() -> Iterator[Drilled]:
    with tempfile.TemporaryDirectory(prefix="polka-drills-") as name, up(folder := Path(name)) as running:
        yield Drilled(running, postgres.own_url(folder), running.key())


@pytest.fixture(scope="module")
def page(drilled: Drilled) -> Iterator[webdriver.Chrome]:
    with chromium.opened() as browser:
        chromium.show(browser, 1400, 1000, "light")
        key = drilled.key["Authorization"].removeprefix("Bearer ")
        browser.get(f"{drilled.running.url}/console#key={key}")
        wait_for("the console is live", lambda: text(browser, "state") == "Live")
        yield browser


def press(page: webdriver.Chrome, name: str) -> None:
    def has_pressed() -> bool:
        buttons = page.find_elements(By.CSS_SELECTOR, "#drill-buttons button:enabled")
        found = [button for button in buttons if button.text == name]
        for button in found:
            button.send_keys(Keys.ENTER)
        return bool(found)

    wait_for(f"{name} can be pressed", has_pressed)


@pytest.mark.parametrize("name", ["the cache", "an api", "Postgres"])
def test_a_drill_by_its_button_ends_with_nothing_lost(page: webdriver.Chrome, drilled: Drilled, name: str) -> None:
    before = len(drilled.told()["results"])
    press(page, f"Kill {name}")
    assert text(page, "confirm-title") == f"Kill {name}?"
    page.find_element(By.CSS_SELECTOR, "#confirm button[value=no]").click()
    assert drilled.told()["running"] is None
    press(page, f"Kill {name}")
    element(page, "confirm-yes").click()
    wait_for(
        "no other can be started", lambda: not page.find_elements(By.CSS_SELECTOR, "#drill-buttons button:enabled")
    )
    wait_for("it has ended", lambda: len(drilled.told()["results"]) == before + 1)
    drill = drilled.told()["results"][0]
    counts = {
        part: (drill[f"acknowledged_{part}"], drill["findings"][f"stored_{part}"]) for part in ("before", "after")
    }
    paid = sum(stored for _, stored in counts.values())
    said = f"Drill {drill['id']}: {paid} payments acknowledged, {paid} stored, 0 lost, 0 duplicated."
    wait_for("it says so", lambda: text(page, "drill-said") == said)
    row = table(page, "drill-results")[0]
    assert row[0].endswith(f" {drill['process']}")
    assert row[1:6] == [
        "nothing was lost",
        *(f"{acknowledged} acknowledged, {stored} stored" for acknowledged, stored in counts.values()),
        *("0", "0"),
    ]
    wait_for("it is live", lambda: text(page, "state") == "Live")
    wait_for("nothing is away any more", lambda: not element(page, "notice").is_displayed())


def test_the_page_goes_on_when_its_own_api_is_killed(page: webdriver.Chrome, drilled: Drilled) -> None:
    """With the other api, or with the next process of the killed one: whichever gets the browser's connection."""
    own = text(page, "made-by").split()[1]
    killed = drilled.running.pid(own)
    os.kill(killed, signal.SIGKILL)
    wait_for("it runs again", lambda: drilled.running.pid(own) != killed)
    shown = set[str]()

    def shows_news() -> bool:
        shown.add(text(page, "made-by"))
        return len(shown) > KEPT_BY_A_BROWSER

    wait_for("a living api tells", shows_news)
    wait_for("it is live", lambda: text(page, "state") == "Live")


def test_nothing_but_lost_connections_went_wrong(page: webdriver.Chrome) -> None:
    errors = chromium.errors(page)
    assert [said for said in errors if "net::ERR_" not in said and "status of 503" not in said] == []
