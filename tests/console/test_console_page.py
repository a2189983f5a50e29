"""The console's page in a real browser: its figures, its button, its door, and what it asks of whom."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import browser as chromium
from browser import element, table, text
from polka.edge.server import GRACE_SECONDS
from running import Running
from services import KEY, client, payment, wait_for

pytestmark = pytest.mark.skipif(not chromium.is_there(), reason="there is no chromium with its chromedriver")


@pytest.fixture(scope="module")
def polka(own_polka: Running) -> Running:
    pay(own_polka, 123_456_789_012)
    pay(own_polka, 5, currency="JPY", sender="bank2", receiver="bank1")
    client.patch(f"{own_polka.url}/banks/bank1", json={"caps": {"USD": 10**12}}).raise_for_status()
    return own_polka


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium.opened() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser: webdriver.Chrome, polka: Running) -> webdriver.Chrome:
    """The console, opened by an address that has a key."""
    chromium.show(browser, 1400, 1000, "light")
    browser.get(f"{polka.url}/console#key={KEY}")
    wait_for("the console is live", lambda: text(browser, "state") == "Live")
    return browser


def pay(polka: Running, amount: int = 100, api: int = 0, **fields: Any) -> str:
    response = client.post(f"{polka.apis[api].url}/transaction", json=payment(amount, **fields))
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def position(polka: Running, bank: str, currency: str) -> int:
    balances = client.get(f"{polka.url}/banks/{bank}").json()["balances"]
    return sum(one["posted"] + one["pending"] for one in balances if one["currency"] == currency)


def shown(amount: int, exponent: int) -> str:
    """An amount as people read it: a second implementation."""
    return f"{abs(amount) / 10**exponent:,.{exponent}f}" if amount >= 0 else "−" + shown(-amount, exponent)


def test_the_key_in_the_address_is_taken_out_of_it(page: webdriver.Chrome, polka: Running) -> None:
    assert page.current_url == f"{polka.url}/console"
    assert not element(page, "door").is_displayed()


@pytest.mark.parametrize(("currency", "exponent"), [("JPY", 0), ("USD", 2)])
def test_positions_are_those_of_the_api(page: webdriver.Chrome, polka: Running, currency: str, exponent: int) -> None:
    page.find_element(By.CSS_SELECTOR, f"input[value={currency}]").send_keys(Keys.SPACE)
    expected = [[name, shown(position(polka, name, currency), exponent)] for name in ("bank1", "bank2")]
    wait_for("the figures are the API's", lambda: [[row[0], row[2]] for row in table(page, "positions")] == expected)
    [bank1, _] = table(page, "positions")
    assert bank1[4] == ("12.3 %" if currency == "USD" else "")


NOTE = """
const [before] = arguments;
window.seen = {};
const cell = (row, place) => document.querySelector(row)?.cells[place]?.innerText;
const is = {
    payment: () => document.querySelector("#payments tbody tr")?.dataset.key !== before.payment,
    position: () => cell("#positions tbody tr", 2) !== before.position,
    rate: () => document.getElementById("rate").innerText !== "0",
};
new MutationObserver(() => {
    for (const [name, changed] of Object.entries(is)) {
        if (!(name in window.seen) && changed()) window.seen[name] = Date.now();
    }
}).observe(document.getElementById("figures"), { subtree: true, childList: true, characterData: true });
"""


def test_figures_move_within_a_second_of_a_payment(page: webdriver.Chrome, polka: Running) -> None:
    wait_for("nothing is paid", lambda: text(page, "rate") == "0")
    latest = page.find_element(By.CSS_SELECTOR, "#payments tbody tr").get_attribute("data-key")
    page.execute_script(NOTE, {"payment": latest, "position": table(page, "positions")[0][2]})
    made = pay(polka, 4321, api=1)
    answered = time.time()
    wait_for("all have moved", lambda: len(page.execute_script("return window.seen")) == 3)
    took = {name: at / 1000 - answered for name, at in page.execute_script("return window.seen").items()}
    assert max(took.values()) < 1, took
    newest = page.find_element(By.CSS_SELECTOR, "#payments tbody tr")
    assert newest.get_attribute("data-key") == made
    assert "43.21 USD" in newest.text


def test_a_window_is_closed_and_settled_by_the_button(page: webdriver.Chrome, polka: Running) -> None:
    window = client.get(f"{polka.url}/clearing?limit=1").json()["windows"][0]["id"]
    button = page.find_element(By.CSS_SELECTOR, f"#windows [data-key='{window}'] button")
    button.send_keys(Keys.ENTER)
    assert f"Close and settle window {window}?" in text(page, "confirm-title")
    page.find_element(By.CSS_SELECTOR, "#confirm button[value=no]").click()
    assert client.get(f"{polka.url}/clearing/{window}").json()["state"] == "open"
    button.send_keys(Keys.ENTER)
    element(page, "confirm-yes").click()
    wait_for("it says what was saved", lambda: f"Window {window} is settled:" in text(page, "clearing-said"))
    report = client.get(f"{polka.url}/clearing/{window}").json()
    assert report["state"] == "settled"
    [netting] = [one for one in report["netting"] if one["currency"] == "USD"]
    wait_for("the bars are drawn", lambda: f"Window {window}" in text(page, "netting"))
    for name in ("gross", "bilateral", "multilateral"):
        assert shown(netting[name], 2) in text(page, "netting")
    wait_for("positions are zero", lambda: [row[2] for row in table(page, "positions")] == ["0.00", "0.00"])
    wait_for("the row says so", lambda: ["settled" in row for row in table(page, "windows")] == [False, True])


ANSWER_AUDIT = """
const [run] = arguments;
const ask = window.fetch;
window.fetch = (path, ...others) =>
    path.startsWith("/audit") ? Promise.resolve(new Response(JSON.stringify({ runs: [run] }))) : ask(path, ...others);
"""
FOUND = {
    "began_at": "2026-11-30T10:00:00Z",
    "ended_at": "2026-11-30T10:00:01Z",
    "flush": 7,
    "payments_new": 3,
    "payments_again": 1250,
    "faults": 2,
    "findings": [
        {"check": "An account", "subject": "meadow USD", "expected": "3500", "found": "-103500", "currency": "USD"},
        {"check": "A batch", "subject": "batch 7", "expected": "1250", "found": "0"},
    ],
    "skipped": [],
    "verified_from": None,
}


def test_the_audit_shows_amounts_as_people_write_them(page: webdriver.Chrome) -> None:
    page.execute_script(ANSWER_AUDIT, FOUND)
    wait_for("the findings are shown", lambda: "2 faults" in page.find_element(By.CLASS_NAME, "audit").text)
    said = page.find_element(By.CLASS_NAME, "audit").text
    page.refresh()
    assert "An account: meadow USD: −1,035.00 instead of 35.00" in said
    assert "A batch: batch 7: 0 instead of 1,250" in said
    assert "3 new payments proved, 1,250 proved again" in said


NEW_STREAM = """
const [done] = arguments;
const { Stream } = await import(new URL("stream.js", document.querySelector("script[type=module]").src));
new Stream({ onHello() {}, onSnapshot() {}, onState: done }).open(null);
"""


def test_it_comes_back_when_its_api_is_started_anew(page: webdriver.Chrome, polka: Running) -> None:
    """A page whose api ends before the first snapshot is told, too."""
    wait_for("the console is live", lambda: text(page, "state") == "Live")
    pid = polka.apis[0].process.pid
    told = time.monotonic()
    polka.apis[0].stop()
    assert time.monotonic() - told < GRACE_SECONDS, "an open console holds its api up"
    wait_for("it says that it is cut off", lambda: text(page, "state") == "Not connected")
    assert page.execute_async_script(NEW_STREAM) == "off"
    polka.apis[0].restart()
    wait_for("it is live again", lambda: text(page, "state") == "Live")
    assert polka.apis[0].process.pid != pid


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 360])
def test_axe_finds_no_serious_problem_and_nothing_sticks_out(page: webdriver.Chrome, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_selenium_python")
    chromium.show(page, width, 1000, scheme)
    assert page.execute_script("return document.documentElement.scrollWidth") == width
    source = Path(axe.__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
    page.execute_script(source.read_text())
    found = page.execute_async_script("axe.run().then(arguments[0])")
    assert len(found["passes"]) > 15
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in serious] == []


LONG_BANK, LONG_ACCOUNT = "W" * 64, "W" * 34
CUT = """
const [name, list] = [arguments[0], document.getElementById("positions")];
const scroll = list.closest(".scroll");
const cells = Array.from(list.tBodies[0].rows, (row) => Array.from(row.cells));
const payments = document.getElementById("payments").closest(".scroll");
const [first, meadow] = [name, "meadow"].map((bank) => cells.map(([cell]) => cell).find((cell) => cell.title === bank));
return {
    bars: cells.map((row) => row[1].firstElementChild.getBoundingClientRect().width),
    hidden: [scroll.scrollWidth - scroll.clientWidth, payments.scrollWidth - payments.clientWidth],
    isCut: first.scrollWidth > first.clientWidth && getComputedStyle(first).textOverflow === "ellipsis",
    isMeadowCut: meadow.scrollWidth > meadow.clientWidth,
    page: document.documentElement.scrollWidth,
};
"""


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_the_longest_name_is_cut_and_hides_nothing_of_other_banks(
    page: webdriver.Chrome, polka: Running, width: int
) -> None:
    """Its row, and that of every other bank, has its bar and its figures in sight, and no table has to be scrolled.
    The banks of the tour are not cut."""
    for name in (LONG_BANK, "meadow"):
        client.post(f"{polka.url}/banks", json={"name": name})
    response = client.post(
        f"{polka.url}/transaction",
        json=payment(12_345_678) | {"sender": {"bank": LONG_BANK, "account": LONG_ACCOUNT}},
    )
    assert response.status_code == 201
    meadow = payment(100) | {"sender": {"bank": "meadow", "account": "MAIN"}}
    assert client.post(f"{polka.url}/transaction", json=meadow).status_code == 201
    chromium.show(page, width, 1400, "light")
    wait_for("meadow is shown", lambda: "meadow" in [row[0] for row in table(page, "positions")])
    wait_for("the bank is shown", lambda: LONG_BANK in [row[0] for row in table(page, "positions")])
    wait_for("the payment is shown", lambda: any(LONG_ACCOUNT in row[1] for row in table(page, "payments")))
    found = page.execute_script(CUT, LONG_BANK)
    assert found["page"] == width
    assert found["hidden"] == [0, 0], "nothing of the tables is out of sight"
    assert found["isCut"]
    assert not found["isMeadowCut"]
    assert min(found["bars"]) >= 60


def test_a_browser_at_the_address_alone_is_led_to_the_console(page: webdriver.Chrome, polka: Running) -> None:
    page.get(f"{polka.url}/")
    assert page.current_url == f"{polka.url}/console"


def test_without_a_good_key_it_asks_for_one(browser: webdriver.Chrome, page: webdriver.Chrome, polka: Running) -> None:
    page.get(f"{polka.url}/console#key=polka_{'0' * 40}")
    wait_for("it asks", lambda: "not valid" in text(page, "refused"))
    assert text(page, "state") == "Waits for a key"
    assert not element(page, "figures").is_displayed()
    element(page, "key").send_keys(KEY, Keys.ENTER)
    wait_for("it is live", lambda: text(page, "state") == "Live")
    assert element(page, "figures").is_displayed()


EXPECTED = (
    "net::ERR_",  # while its api was away
    "/console/session - Failed to load resource: the server responded with a status of 401",  # that key was not good
)


def test_nobody_else_was_asked_for_anything(page: webdriver.Chrome, polka: Running) -> None:
    addresses = [url for url in chromium.asked(page) if not url.startswith("data:")]
    assert len(addresses) > 20
    assert [url for url in addresses if not url.startswith(f"{polka.url}/")] == []
    errors = chromium.errors(page)
    assert [message for message in errors if not any(expected in message for expected in EXPECTED)] == []
