"""Takes the documents' pictures of the console (`make screenshots`): its own Polka, under load, in Debian's
Chromium."""

import asyncio
import io
import os
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

import browser as chromium
from polka.client import AsyncClient
from polka.local import demo, environment, spam
from polka.local.kept_keys import console_url
from polka.local.up import up
from polka.store import api_keys, database, seed

DOCS = Path(__file__).parent
PICTURES = (("console-light", 1280, "light"), ("console-dark", 1280, "dark"), ("console-phone", 390, "light"))
LOAD = (
    "--accounts=50",
    "--skew=0.7",
    "--currencies=USD,EUR,JPY",
    "--across=0.1",
    "--terms=4",
    "--transactions=10000000",
)
WINDOWS, WINDOW_SECONDS = 4, 35.0
COLOURS, BYTES_MAX = 256, 300_000


async def main() -> None:
    os.environ["POLKA_RATES_URL"] = ""
    with tempfile.TemporaryDirectory(prefix="polka-screenshots-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres may run as another user
        layout = demo.free_layout(2, folder, None)
        async with up(layout, print) as running:
            await seed.seed(running.database_url, 20, 1_000)
            async with database.session(running.database_url) as connection:
                key = await api_keys.create_operators(connection, "screenshots")
            command = spam.Spam(layout.url, 4, 1, LOAD).command()
            spamming = await asyncio.create_subprocess_exec(
                *command,
                env=environment.of_spammer(key),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                for _ in range(WINDOWS):
                    await asyncio.sleep(WINDOW_SECONDS)
                    await clear(layout.url, key)
                await asyncio.sleep(WINDOW_SECONDS / 2)
                await asyncio.to_thread(take, console_url(layout.url, key))
            finally:
                spamming.terminate()
                await spamming.wait()


async def clear(url: str, key: str) -> None:
    async with AsyncClient(url, key) as client:
        window = (await anext(client.windows(page_size=1))).id
        await client.close_window(window)
        await client.settle_window(window)


def take(url: str) -> None:
    with chromium.opened() as browser:
        browser.get(url)
        WebDriverWait(browser, 30).until(lambda page: page.find_element(By.ID, "netting").text)
        for name, width, scheme in PICTURES:
            picture(browser, DOCS / f"{name}.png", width, scheme)


def picture(browser: webdriver.Chrome, file: Path, width: int, scheme: str) -> None:
    """The whole page at its full length; on a phone only the first screen."""
    chromium.show(browser, width, 900, scheme)
    if width > 500:
        height = browser.execute_script("return document.documentElement.scrollHeight")
        chromium.show(browser, width, height, scheme)
    asked = browser.find_element(By.ID, "made-by").text
    WebDriverWait(browser, 30).until(lambda page: page.find_element(By.ID, "made-by").text != asked)
    shot = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    shot.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, optimize=True)
    if file.stat().st_size > BYTES_MAX:
        raise ValueError(f"{file.name} has more than {BYTES_MAX:,} bytes")


if __name__ == "__main__":
    asyncio.run(main())
