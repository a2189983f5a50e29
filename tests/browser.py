"""Debian's Chromium, without a window, as tests and screenshots use it."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver

OPTIONS = "headless=new no-sandbox disable-gpu disable-dev-shm-usage disable-background-networking hide-scrollbars"


def is_there() -> bool:
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextmanager
def opened() -> Iterator[webdriver.Chrome]:
    """A browser that keeps what its pages log, and all that it asks of anybody."""
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
    """Give the page this size (a narrow one is a phone) and a `light` or `dark` scheme; nothing moves by itself."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    media = [{"name": name, "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def asked(browser: webdriver.Chrome) -> list[str]:
    """All addresses that it has asked since it was asked so last."""
    events = [json.loads(line["message"])["message"] for line in logged(browser, "performance")]
    return [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]


def errors(browser: webdriver.Chrome) -> list[str]:
    """What went wrong on its pages since it was asked so last."""
    return [line["message"] for line in logged(browser, "browser") if line["level"] == "SEVERE"]


def logged(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return lines
