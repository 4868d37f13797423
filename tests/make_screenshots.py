"""Make the pictures that the README shows, from the demo: `python tests/make_screenshots.py`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).parent / "screenshots"
SHOTS = (  # name, size, scheme, what to click
    ("list", (1080, 620), "light", None),
    ("monitor", (1080, 800), "dark", "Certificate renewal"),
    ("phone", (360, 640), "dark", None),
)


def shoot(
    browser: Browser, url: str, name: str, size: tuple[int, int], scheme: str, click: str | None
) -> None:
    """One picture, by somebody who signs in."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(url)
    page.get_by_label("Name").fill("demo")
    page.get_by_label("Password").fill("cronwatch")
    page.keyboard.press("Enter")
    page.get_by_text("album").wait_for()
    if click:
        page.get_by_role("link", name=click).click()
        page.get_by_text("Expected next").wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=FOLDER / f"{name}.png")
    page.close()


def main() -> None:
    """Start the demo, take all pictures, stop it."""
    FOLDER.mkdir(exist_ok=True)
    with (
        subprocess.Popen(
            [sys.executable, "-m", "cronwatch", "demo", "--listen", "127.0.0.1:0"],
            text=True,
            stdout=subprocess.PIPE,
        ) as demo,
        sync_playwright() as play,
    ):
        assert demo.stdout is not None
        _, served = demo.stdout.readline(), demo.stdout.readline()
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for shot in SHOTS:
            shoot(browser, served.split()[-1], *shot)
        browser.close()
        demo.terminate()


if __name__ == "__main__":
    main()
