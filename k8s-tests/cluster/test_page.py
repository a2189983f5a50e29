"""Locust's page in a real browser, over a port-forward: it starts a run of exactly N, shows charts, and stops."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from cluster.commands import wait_for
from cluster.release import Release
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.cluster

PAYMENTS = 3_000
OPTIONS = (
    "headless=new no-sandbox disable-gpu disable-dev-shm-usage disable-background-networking window-size=1400,1000"
)


@contextmanager
def forwarded(release: Release, service: str, port: int) -> Iterator[str]:
    """The address of a service here."""
    words = ["kubectl", f"--namespace={release.namespace}", "port-forward", f"service/{service}", f":{port}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            first = process.stdout.readline()  # Forwarding from 127.0.0.1:41234 -> 8089
            yield f"http://{first.split()[2]}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("there is no chromium with its chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in OPTIONS.split():
        options.add_argument(f"--{option}")
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


def test_the_page_starts_a_run_shows_charts_and_stops(polka: Release, browser: webdriver.Chrome) -> None:
    polka.upgrade(spammer__web={"enabled": True, "workers": 2}, spammer__banks=20)
    with forwarded(polka, "polka-spammer-web", 8089) as address:
        wait_for("both workers are there", lambda: workers(address) == 2)
        before = int(polka.sql("SELECT count(*) FROM transactions"))
        browser.get(address)
        press(browser, "CUSTOM PARAMETERS")
        fill(browser, "userCount", "20")
        fill(browser, "transactions", str(PAYMENTS))
        press(browser, "START")
        press(browser, "CHARTS")
        wait_for("three charts are drawn", lambda: len(charts(browser)) == 3)
        wait_for("the run has ended", lambda: stats(address)["state"] == "stopped")
        assert int(polka.sql("SELECT count(*) FROM transactions")) == before + PAYMENTS

        # A worker leaves after a run and comes back; the page looks for workers only when it is loaded.
        wait_for("both workers are there again", lambda: workers(address) == 2)
        browser.get(address)
        press(browser, "NEW")
        press(browser, "CUSTOM PARAMETERS")
        fill(browser, "transactions", "1000000")
        press(browser, "START")
        wait_for("the second run is on", lambda: stats(address)["state"] == "running")
        press(browser, "STOP")
        wait_for("it is stopped", lambda: stats(address)["state"] == "stopped")
    # The summary of a run follows the state that the page shows.
    wait_for("the log says that it was stopped", lambda: "Stopped early." in log_of_the_page(polka))
    assert f"{PAYMENTS:,} of {PAYMENTS:,} payments" in log_of_the_page(polka)
    assert "The audit is clean." in polka.audit()


def log_of_the_page(release: Release) -> str:
    return release.kubectl("logs", "deployment/polka-spammer-web")


def stats(address: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{address}/stats/requests", trust_env=False, timeout=WAIT_SECONDS).json()
    return found


def workers(address: str) -> int:
    """That are ready for a run."""
    return sum(worker["state"] == "ready" for worker in stats(address)["workers"])


def shown(browser: webdriver.Chrome, by: str, what: str) -> list[WebElement]:
    return [element for element in browser.find_elements(by, what) if element.is_displayed()]


def press(browser: webdriver.Chrome, text: str) -> None:
    """The button that shows this text, in whatever case it is written, once the page lets it be pressed."""

    def pressed() -> None:
        [found] = [one for one in shown(browser, By.TAG_NAME, "button") if one.text.upper() == text]
        found.click()

    wait_for(f"the button {text} is pressed", done(pressed))


def fill(browser: webdriver.Chrome, name: str, value: str) -> None:
    def filled() -> None:
        [field] = shown(browser, By.NAME, name)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(value)

    wait_for(f"the field {name} is filled", done(filled))


def done(act: Callable[[], None]) -> Callable[[], bool]:
    """Whether it could be done: not while the page draws itself anew."""

    def condition() -> bool:
        try:
            act()
        except (WebDriverException, ValueError):
            return False
        return True

    return condition


def charts(browser: webdriver.Chrome) -> list[WebElement]:
    """What fills the page's width: its icons are drawn too."""
    drawn = shown(browser, By.CSS_SELECTOR, "canvas, svg")
    return [element for element in drawn if element.size["width"] > 600]
