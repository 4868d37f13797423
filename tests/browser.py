"""A real Chromium, without a window, that looks at the dashboard and minds everything untoward.

It is the system's own, driven by playwright; where either is missing, the tests say so and rest.
"""

from __future__ import annotations

import importlib.resources
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from live_server import LIMIT_SECONDS, Live

NAME, PASSWORD = "operator", "correct horse"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (  # no sandbox as root, and nothing of what the browser would ask the world by itself
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
LINK = re.compile(r"https?://[^/]+(/#/link/\S+)")
ELSEWHERE = "cron.lan"  # the loopback by a name that makes no secure context of plain http
# The cookies of who is signed in, by the server's URL and key: a later server may get its port.
SESSIONS: dict[tuple[str, str], list[Any]] = {}
# By options: in a new context all modules are compiled anew, which takes longer than most tests.
CONTEXTS: dict[str, Any] = {}
AWAY = "net::ERR_CONNECTION_REFUSED"


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path,
            args=[*FLAGS, f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"],
        )
        yield browser
        CONTEXTS.clear()
        browser.close()


def add_user(live: Live, name: str = NAME, password: str = PASSWORD) -> None:
    """Somebody who may sign in, made on the command line, which reads the password."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        live.quick("user", "add", name)


def new_context(browser: Any, **options: Any) -> Any:
    """What shares cookies and caches, and nothing with any other."""
    made = browser.new_context(**{"timezone_id": "UTC", **options})
    made.set_default_timeout(LIMIT_SECONDS * 1000)
    return made


def context(browser: Any, **options: Any) -> Any:
    """The context that all tabs with these options share."""
    name = repr(sorted(options.items()))
    if name not in CONTEXTS:
        CONTEXTS[name] = new_context(browser, **options)
        CONTEXTS[name].new_page()  # while there is a page, Chromium keeps what it has compiled
    return CONTEXTS[name]


class Tab:
    """A page of the dashboard. `problems` are the console's errors and warnings (a violation of
    the CSP is one), scripts that failed, and requests that failed or were refused."""

    def __init__(
        self,
        browser: Any,
        live: Live,
        viewport: dict[str, int] = DESK,
        alone: bool = False,
        media: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        """In the context of all tabs with these options, or in one of its own: cookies are the
        context's, so of a shared one only the tab that was made last is signed in."""
        self.live, self.problems = live, set[str]()
        self.is_alone = alone
        self.context = new_context(browser, **options) if alone else context(browser, **options)
        self.context.clear_cookies()
        self.page = self.context.new_page()
        self.page.set_viewport_size(viewport)
        self.page.emulate_media(**(media or {}))
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.problems.add(f"script: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def _heard(self, message: Any) -> None:
        # Chromium writes what was refused or failed once more, but without saying what it was.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.problems.add(f"console: {message.text}")

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left before the answer came
            self.problems.add(f"{request.failure} {self._named(request)}")

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self.problems.add(f"{response.status} {self._named(response.request)}")

    def _named(self, request: Any) -> str:
        path = request.url.removeprefix(self.live.url).partition("?")[0]
        return f"{request.method} {re.sub('[0-9a-f]{8}-[0-9a-f-]{27}', 'ID', path)}"

    def resize(self, size: dict[str, int]) -> None:
        """Give the page a size, and wait until it has it."""
        self.page.set_viewport_size(size)
        self.page.wait_for_function("width => innerWidth === width", arg=size["width"])

    def open(self, address: str = "#/") -> None:
        """Load the dashboard at an address, whatever page is there already."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.live.url}/{address}")

    def sign_in(self) -> None:
        """Sign in with a link that signs in once, as its click does; the next tab of the same
        server goes on with that session."""
        server = self.live.url, self.live.key
        if server in SESSIONS:
            self.context.add_cookies(SESSIONS[server])
            self.page.goto(f"{self.live.url}/")
        else:
            found = LINK.search(self.live.quick("user", "link", NAME))
            assert found
            self.page.goto(self.live.url + found[1])
            self.button("Sign in").click()
        self.page.locator("#signout:not([hidden])").wait_for(state="attached")
        if self.page.get_by_text("Set a password?").count():  # who came by a link is offered one
            self.page.keyboard.press("Escape")
        SESSIONS[server] = self.context.cookies()

    def see(self, text: str | re.Pattern[str]) -> None:
        """Wait until a text is in view."""
        self.page.get_by_text(text).locator("visible=true").first.wait_for()

    def see_not(self, text: str) -> None:
        """Wait until a text is nowhere to be seen."""
        self.page.get_by_text(text).locator("visible=true").first.wait_for(state="detached")

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, label: str) -> Any:
        return self.page.get_by_label(label, exact=True)

    def row(self, name: str) -> Any:
        """The row of the monitor in the list whose name begins so."""
        title = self.page.locator(".name", has_text=re.compile(f"^{re.escape(name)}"))
        return self.page.locator("li.row", has=title)

    def menu(self, name: str) -> None:
        """Choose what stands behind the dots of a monitor's page."""
        self.page.locator(".head .menu > summary").click()
        self.page.locator(".head .menu").get_by_text(name, exact=True).click()

    def see_state(self, name: str, state: str) -> None:
        """Wait until the row of a monitor says that it is up, down, …"""
        self.row(name).locator(".badge").get_by_text(state, exact=True).wait_for()

    def text(self) -> str:
        """All that the page shows."""
        shown: str = self.page.inner_text("body")
        return shown

    def close(self) -> None:
        """Leave nothing to the next tab: neither a page that goes on asking nor what it stored."""
        if self.is_alone:
            self.context.close()
            return
        self.page.evaluate("localStorage.clear()")
        self.page.close()


@contextmanager
def looking(browser: Any, live: Live, signed_in: bool = True, **options: Any) -> Iterator[Tab]:
    """Somebody who looks at the dashboard while the block runs, signed in or a stranger."""
    tab = Tab(browser, live, **options)
    try:
        if signed_in:
            tab.sign_in()
        yield tab
    finally:
        tab.close()


def violations(page: Any, *rules: str) -> list[str]:
    """What axe-core, which finds what keeps people out, says of a page, with the elements; by all
    its rules, or by these."""
    script = importlib.resources.files("axe_playwright_python") / "axe.min.js"
    page.evaluate(script.read_text())
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    answer = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in answer["violations"]
        for node in one["nodes"]
    ]
