"""Make the pictures that the README shows, from the demo: `python tests/make_screenshots.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from browser import chromium
from demo import NAME, PASSWORD

FOLDER = Path(__file__).parent / "screenshots"
SHOTS = (  # name, size, scheme, what to click
    ("night", (1180, 760), "light", None),
    ("monitor", (1180, 860), "light", "Certificate renewal"),
    ("phone", (360, 740), "dark", None),
)


def shoot(
    browser: Any, url: str, name: str, size: tuple[int, int], scheme: str, click: str | None
) -> None:
    """One picture, by somebody who signs in."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        device_scale_factor=2 if size[0] < 600 else 1,
        timezone_id="UTC",
    )
    page.goto(url)
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.locator(".timeline path.bar").first.wait_for(state="attached")
    if click:
        page.locator("li.row").get_by_role("link", name=click).click()
        page.locator(".part-log .card").wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=FOLDER / f"{name}.png")
    page.close()


def main() -> None:
    """Start the demo, take all pictures, stop it."""
    FOLDER.mkdir(exist_ok=True)
    command = [sys.executable, str(Path(__file__).parent / "demo.py"), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as demo:
        assert demo.stdout is not None
        _, served = demo.stdout.readline(), demo.stdout.readline()
        with chromium() as browser:
            for shot in SHOTS:
                shoot(browser, served.split()[-1], *shot)
        demo.terminate()


if __name__ == "__main__":
    main()
