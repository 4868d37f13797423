"""The README's proxies in front of a real server: its own text, with other ports and files."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import finish
from live_server import LIMIT_SECONDS, Live, Reply, environment, serving, wait_for

README = Path(__file__).resolve().parent.parent / "README.md"
PATHS = f"{os.environ['PATH']}:/usr/sbin"  # Debian has nginx there, out of a user's path
HOST = "cron.example.org"
CLIENT = "127.0.0.2"  # where the requests come from; the proxy is 127.0.0.1


def blocks(language: str) -> list[str]:
    """The README's examples in a language, below the title of the proxies."""
    section = README.read_text().partition("\n### Behind Caddy or nginx\n")[2]
    section = section.partition("\n### ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def swap(text: str, changes: Mapping[str, str]) -> str:
    """The text with parts of it replaced, each of which must be there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class Ports(NamedTuple):
    http: int
    https: int


def free_ports() -> Ports:
    """Two ports where nothing listens."""
    with socket.socket() as one, socket.socket() as other:
        for peer in (one, other):
            peer.bind(("127.0.0.1", 0))
        return Ports(one.getsockname()[1], other.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as peer:
        return peer.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Proxied:
    """A server, and the proxy that stands before it."""

    live: Live
    ports: Ports
    certificate: Path
    prefix: str = ""

    def add(self, key: str) -> str:
        """The token of a new monitor."""
        token: str = self.live.add(key)["token"]
        return token

    def curl(self, path: str, *flags: str, scheme: str = "https", host: str = HOST) -> Reply:
        """A request to the proxy by a host's name, from another address than the proxy's own.
        The path begins after the prefix, and is sent as it is."""
        port = self.ports.https if scheme == "https" else self.ports.http
        words = shlex.split("curl --silent --show-error --max-time 20 --path-as-is")
        words += ["--write-out", "\n%{http_code}", "--cacert", str(self.certificate)]
        words += ["--interface", CLIENT, "--connect-to", f"{host}::127.0.0.1:{port}", *flags]
        url = f"{scheme}://{host}{self.prefix}{path}"
        done = finish([*words, url], self.live.folder, environment())
        assert done.returncode == 0, done
        body, _, status = done.stdout.rpartition("\n")
        return Reply(int(status), body)


def make_certificate(folder: Path) -> Path:
    """The one that the README makes."""
    (line,) = (text for text in blocks("sh") if text.startswith("openssl"))
    assert finish(["bash", "-c", line], folder, environment()).returncode == 0
    return folder / "cronwatch.pem"


def flags_of(prefix: str) -> list[str]:
    """How the README starts the server, at a host of its own or below a path of another."""
    (line,) = (
        text
        for text in blocks("sh")
        if text.startswith("cronwatch serve") and ("--url-prefix" in text) == bool(prefix)
    )
    return line.split()[2:]


@contextmanager
def running(folder: Path, *command: str, port: int) -> Iterator[None]:
    """A proxy while the block runs, from when it listens on."""
    with open(folder / "proxy.err", "w") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(HOME=str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )
    try:
        wait_for(lambda: listens(port) or process.poll() is not None, "a proxy")
        assert process.poll() is None, (folder / "proxy.err").read_text()
        yield
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


def nginx(folder: Path, live: Live, ports: Ports, prefix: str, end: str = "") -> list[str]:
    """The command that runs the README's nginx on other ports, with all its files in a folder.
    With an `end` of / behind the server's address it takes the prefix away."""
    changes = {
        "listen 80;": f"listen 127.0.0.1:{ports.http};",
        "listen 443 ssl;": f"listen 127.0.0.1:{ports.https} ssl;",
        "/etc/ssl/private": str(folder),
        "http://127.0.0.1:8080;": f"{origin(live)}{end};",
        "location / {": f"location {prefix}/ {{",
    }
    server = swap(blocks("nginx")[0], changes)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log {folder}/access.log;\n{temporary}{server}}}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def caddy(folder: Path, live: Live, ports: Ports, prefix: str) -> list[str]:
    """The command that runs the README's Caddy on other ports, with a certificate that is here."""
    (below,) = re.findall(r"`(reverse_proxy /cronwatch\S* \S+)`", README.read_text())
    (tls,) = re.findall(r"`(tls /etc/ssl/private/\S+ \S+)`", README.read_text())
    passed_on = below if prefix else "reverse_proxy 127.0.0.1:8080"
    address = {"127.0.0.1:8080": origin(live).removeprefix("http://")}
    head = "\nhttps://cron.example.org {\n"
    changes = {
        "    reverse_proxy 127.0.0.1:8080": "bind 127.0.0.1\n" + swap(passed_on, address),
        head: head + swap(tls, {"/etc/ssl/private": str(folder)}) + "\n",
    }
    (folder / "Caddyfile").write_text(
        f"{{\nadmin off\nauto_https off\nhttp_port {ports.http}\nhttps_port {ports.https}\n}}\n"
        + swap(blocks("caddy")[0], changes)
    )
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def origin(live: Live) -> str:
    """Where the server itself listens."""
    found = re.match(r"http://[0-9.]+:[0-9]+", live.url)
    assert found
    return found[0]


pytestmark = [pytest.mark.slow, pytest.mark.proof]
PROXIES: dict[str, Callable[[Path, Live, Ports, str], list[str]]] = {
    "nginx": nginx,
    "caddy": caddy,
}
STRIPS = {"nginx": partial(nginx, end="/")}


@contextmanager
def proxied(
    folder: Path, name: str, prefix: str, proxies: Mapping[str, Callable[..., list[str]]] = PROXIES
) -> Iterator[Proxied]:
    if not shutil.which(name, path=PATHS):
        pytest.skip(f"needs {name} (apt install {name})")
    ports, certificate = free_ports(), make_certificate(folder)
    with ExitStack() as stack:
        live = stack.enter_context(serving(folder, *flags_of(prefix)))
        program, *words = proxies[name](folder, live, ports, prefix)
        found = shutil.which(program, path=PATHS)
        assert found
        stack.enter_context(running(folder, found, *words, port=ports.https))
        yield Proxied(live, ports, certificate, prefix)


@pytest.fixture(
    scope="module",
    params=[(name, prefix) for name in PROXIES for prefix in ("", "/cronwatch")],
    ids=str,
)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    name, prefix = request.param
    with proxied(tmp_path_factory.mktemp(name), name, prefix) as made:
        yield made


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_ping_arrives(site: Proxied, scheme: str) -> None:
    token = site.add(f"by-{scheme}")

    reply = site.curl(f"/{token}", scheme=scheme)

    assert reply.status == 200
    assert [ping["kind"] for ping in site.live.pings(f"by-{scheme}")] == ["success"]


def test_the_url_of_a_ping_is_the_proxys(site: Proxied) -> None:
    made = site.live.add("its-url")

    assert re.fullmatch(
        rf"https://[a-z.]*example\.org{site.prefix}/[0-9a-f-]{{36}}", made["pingUrl"]
    )


def test_the_one_who_pings_is_known_by_his_own_address(site: Proxied) -> None:
    token = site.add("whose")

    site.curl(f"/{token}", "--header", "X-Forwarded-For: 203.0.113.9")

    assert [ping["address"] for ping in site.live.pings("whose")] == [CLIENT]


def test_a_slash_within_a_key_stays_one(site: Proxied) -> None:
    key = site.live.key

    reply = site.curl(f"/ping/jobs%2Fnightly/{key}?schedule=0%203%20*%20*%20*")

    assert reply.status in (200, 201)
    assert site.live.monitor("jobs/nightly")["status"] == "up"


def test_a_long_log_arrives_whole(site: Proxied, tmp_path: Path) -> None:
    token = site.add("log")
    (tmp_path / "log.txt").write_text("x" * 5_000_000)

    reply = site.curl(f"/ping/{token}/log", "--data-binary", f"@{tmp_path}/log.txt")

    assert (reply.status, reply.body) == (200, "OK")


def test_a_long_message_in_the_address_is_no_reason_to_refuse(site: Proxied) -> None:
    token = site.add("long")

    reply = site.curl(f"/{token}/fail?msg={'x' * 30_000}")

    assert reply.status == 200


def test_the_page_and_what_belongs_to_it_are_found(site: Proxied) -> None:
    assert "<!doctype html>" in site.curl("/").body
    assert ":root" in site.curl("/static/style.css").body


def test_the_cookie_of_who_signs_in_is_for_this_path_and_tls_alone(site: Proxied) -> None:
    link = site.live.quick("user", "link").split()[-1]

    reply = site.curl(
        "/api/v1/session", "--include", "--json", f'{{"link": "{link.rpartition("/")[2]}"}}'
    )

    cookie = re.search(r"(?i)^set-cookie: (.*)$", reply.body, re.MULTILINE)
    assert cookie
    assert f"; Path={site.prefix}/;" in cookie[1]
    assert "; Secure" in cookie[1]


def test_nothing_of_a_ping_is_written_down(site: Proxied) -> None:
    token = site.add("secret")

    site.curl(f"/{token}")

    written = [
        path
        for path in site.live.folder.rglob("*")
        if path.is_file() and not path.name.startswith("cronwatch.db")
    ]
    assert [path for path in written if token.encode() in path.read_bytes()] == []


def test_a_proxy_may_take_the_prefix_away(tmp_path: Path) -> None:
    with proxied(tmp_path, "nginx", "/cronwatch", STRIPS) as site:
        token = site.add("bare")

        reply = site.curl(f"/{token}")

        assert reply.status == 200
        assert site.live.monitor("bare")["status"] == "up"


@pytest.mark.parametrize("host", ["cronitor.link", "cronitor.io"])
def test_a_client_with_a_host_built_in_comes_here_by_name(tmp_path: Path, host: str) -> None:
    with proxied(tmp_path, "nginx", "") as site:
        reply = site.curl(f"/p/{site.live.key}/nightly?state=complete", host=host)

    assert (reply.status, reply.body) == (200, "OK")
