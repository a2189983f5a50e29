"""Debian's Chromium, without a window, for tests and screenshots."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

OPTIONS = "headless=new no-sandbox disable-gpu disable-dev-shm-usage disable-background-networking hide-scrollbars"


def is_there() -> bool:
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextmanager
def opened() -> Iterator[webdriver.Chrome]:
    """A browser that keeps the logs and requests of its pages."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for option in OPTIONS.split():
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


def show(browser: webdriver.Chrome, width: int, height: int, scheme: str) -> None:
    """Give the page this size (a narrow page is a phone) and a `light` or `dark` scheme, without animations."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    media = [{"name": name, "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def asked(browser: webdriver.Chrome) -> list[str]:
    """All requested addresses since the previous call."""
    events = [json.loads(line["message"])["message"] for line in logged(browser, "performance")]
    return [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]


def errors(browser: webdriver.Chrome) -> list[str]:
    """Errors on its pages since the previous call."""
    return [line["message"] for line in logged(browser, "browser") if line["level"] == "SEVERE"]


def logged(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return lines


def element(browser: webdriver.Chrome, name: str) -> WebElement:
    return browser.find_element(By.ID, name)


def text(browser: webdriver.Chrome, name: str) -> str:
    return element(browser, name).text


CELLS = """
const rows = document.getElementById(arguments[0]).tBodies[0].rows;
return Array.from(rows, (row) => Array.from(row.cells, (cell) => cell.innerText.trim()));
"""


def table(browser: webdriver.Chrome, name: str) -> list[list[str]]:
    """The cells of a table's body, all at the same moment."""
    cells: list[list[str]] = browser.execute_script(CELLS, name)
    return cells
