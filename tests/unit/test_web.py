"""What the lab fetches from the web, and where it does not go."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address, ip_address
from itertools import chain, repeat
from pathlib import Path
from socket import AF_INET

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from psutil._ntuples import snicaddr

from lab.errors import (
    BlockedAddressError,
    ConfigError,
    DocumentTooLargeError,
    FetchError,
    MediaTypeError,
)
from lab.schemas.web_config import WebConfig
from lab.web import Fetcher, Guard, guarded_client
from lab.web.addresses import SPECIAL, Address, not_public
from tests.web_server import WebServer, redirect, response, web_server

ANYTHING = ("*/*",)
PUBLIC = "93.184.215.14"
MAPPED = bytes(10) + b"\xff\xff"


class Names:
    """A resolver: each name leads to its lists of addresses one after the other, and stays."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name: chain(lists, repeat(lists[-1])) for name, lists in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self._answers:
            raise OSError(f"{host} is unknown")
        return next(self._answers[host])


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with web_server() as web:
        yield web


def fetcher(names: Names | None = None, *allowed: str, **limits: float) -> Fetcher:
    config = WebConfig.model_validate({"allowed": list(allowed or ["127.0.0.1"]), **limits})
    return Fetcher(config, Guard(config.allowed, names) if names else None)


async def found(guard: Guard, url: str) -> list[str]:
    """Return where a client goes for an address."""
    checked = guard.check_url(url)
    return await guard.resolve(checked.raw_host.decode(), checked.port or 80)


# Spellings


@st.composite
def spellings(draw: st.DrawFn, addresses: st.SearchStrategy[Address]) -> tuple[str, str]:
    """Return an IPv4 address, and a host that spells it."""
    address = draw(addresses)
    n_parts = draw(st.integers(1, 4))
    octets = address.packed
    numbers = [*octets[: n_parts - 1], int.from_bytes(octets[n_parts - 1 :])]
    form = st.sampled_from(["{}", "0{:o}", "0x{:x}", "0X{:X}", "000{:o}"])
    host = ".".join(draw(form).format(number) for number in numbers)
    wide = str.maketrans("0123456789.", "０１２３４５６７８９。")
    host = draw(st.sampled_from([host, host + ".", host.translate(wide)]))
    six = f"[{IPv6Address(MAPPED + octets)}]"
    dotted = f"[::ffff:{address}]"
    return str(address), draw(st.sampled_from([host, six, dotted, dotted.upper()]))


FOUR = [network for network in SPECIAL if network.version == 4]
INSIDE = st.sampled_from(FOUR).flatmap(lambda n: st.ip_addresses(network=n))
OUTSIDE = st.ip_addresses(v=4).filter(lambda address: not_public(address) is None)


@given(spellings(INSIDE))
async def test_no_spelling_of_an_address_inside_passes(spelt: tuple[str, str]) -> None:
    names = Names()
    with pytest.raises(BlockedAddressError, match="LAB_WEB_ALLOWED"):
        await found(Guard((), names), f"http://{spelt[1]}/")
    assert names.asked == []  # and none is taken for a name, for somebody else to read


@given(spellings(OUTSIDE))
async def test_every_spelling_of_a_public_address_is_that_address(spelt: tuple[str, str]) -> None:
    assert await found(Guard(), f"http://{spelt[1]}/") == [spelt[0]]


@pytest.mark.parametrize(
    "host",
    [
        "[::]",
        "[::1]",
        "[::127.0.0.1]",  # IPv4-compatible
        "[fe80::1]",
        "[fec0::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[2002:7f00:1::]",  # 6to4
        "[2001:0:7f00:1::]",  # Teredo
        "[64:ff9b::7f00:1]",  # NAT64
        "[64:ff9b:1::1]",
        "[2600::5efe:10.0.0.1]",  # ISATAP
        "[4000::1]",
        "localhost",
        "LOCALHOST.",
    ],
)
async def test_what_is_not_public_is_blocked(host: str) -> None:
    with pytest.raises(BlockedAddressError):
        await found(Guard(), f"http://{host}/")


@pytest.mark.parametrize("address", ["2606:4700::1111", "64:ff9b::101:101", "1.1.1.1"])
async def test_public_addresses_pass(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    assert await found(Guard(), f"https://{host}/x") == [address]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "http://"),
        ("gopher://127.0.0.1:6379/_x", "http://"),
        ("data:image/png;base64,AAAA", "http://"),
        ("javascript:alert(1)", "http://"),
        ("ftp://example.org/a.png", "http://"),
        ("unix:/run/docker.sock", "http://"),
        ("//example.org/a.png", "http://"),
        ("example.org/a.png", "http://"),
        ("", "http://"),
        ("http://", "no host"),
        ("http:///a.png", "no host"),
        ("http://ann:secret@example.org/", "passwords"),
        ("http://example.org@127.0.0.1/", "passwords"),
        ("http://127.0.0.1\\@example.org/", "passwords"),
        ("http://127.0.0.1\\.example.org/", "host"),
        ("http://127.0.0.1 .example.org/", "host"),
        ("http://%31%32%37.0.0.1/", "host"),
        ("http://[fe80::1%25eth0]/", "host"),
        ("http://exa\nmple.org/", "control"),
        ("http://example.org:0/", "port"),
        ("http://example.org:65536/", "[Pp]ort"),
        ("http://example.org:x/", "[Pp]ort"),
        ("http://1.2.3.4.5/", "IPv4"),
        ("http://256.1.1.1/", "IPv4"),
        ("http://08.1.1.1/", "IPv4"),
        ("http://0xg.1/", "IPv4"),
        ("http://a.0x/", "IPv4"),
        ("http://[::1/", "IPv6"),
        ("http://[1::2::3]/", "1::2::3"),
        ("http://a..b/", "name"),
        (f"http://{'a' * 64}.org/", "name"),
        ("http://xn--a/", "xn--a"),
    ],
)
def test_what_is_no_address_of_the_web_is_refused(url: str, why: str) -> None:
    with pytest.raises(FetchError, match=why) as refused:
        Guard().check_url(url)
    assert "secret" not in str(refused.value)


def test_a_host_has_one_spelling() -> None:
    check = Guard().check_url
    assert str(check("HTTP://Bücher.Example.:80/ä b?q=1#part")) == (
        "http://xn--bcher-kva.example/%C3%A4%20b?q=1"
    )
    assert str(check("https://[2606:4700:0::1111]:8443")) == "https://[2606:4700::1111]:8443"


# Names


async def test_one_address_inside_blocks_a_name() -> None:
    names = Names(mixed=[[PUBLIC, "10.0.0.1"]], fine=[[PUBLIC, PUBLIC, "2606:4700::1111"]])
    guard = Guard((), names)
    with pytest.raises(BlockedAddressError):
        await guard.resolve("mixed", 80)
    assert await guard.resolve("fine", 80) == [PUBLIC, "2606:4700::1111"]


async def test_names_inside_stay_unknown() -> None:
    guard = Guard((), Names(payroll=[["10.0.0.1"]], empty=[[]]))
    messages = set()
    for name in ("payroll", "nobody", "empty"):
        with pytest.raises(BlockedAddressError) as blocked:
            await guard.resolve(name, 80)
        messages.add(str(blocked.value).replace(name, "NAME"))
    assert len(messages) == 1
    assert "10.0.0.1" not in messages.pop()


@pytest.mark.parametrize(
    ("entry", "url", "lets"),
    [
        ("127.0.0.1", "http://0x7f.1:8080/", True),
        ("127.1:8080", "http://127.0.0.1:8080/", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8081/", False),
        ("127.0.0.1:8080", "http://inside:8080/", True),
        ("10.1.0.0/16", "http://inside/", False),
        ("127.0.0.0/8", "http://inside:22/", True),
        ("Inside.", "http://inside/", True),
        ("inside:80", "http://inside/", True),
        ("inside:80", "http://inside:81/", False),
        ("inside", "http://127.0.0.1/", False),
        ("[::1]:80", "http://[::1]/", True),
        ("fc00::/7", "http://[fd00::1]/", True),
    ],
)
async def test_operators_let_hosts_and_networks_through(entry: str, url: str, lets: bool) -> None:
    guard = Guard([entry], Names(inside=[["127.0.0.1"]]))
    if lets:
        assert await found(guard, url)
    else:
        with pytest.raises(BlockedAddressError):
            await found(guard, url)


@pytest.mark.parametrize("entry", ["", "10.0.0.1/8", "http://inside", "inside:x", "a b", "[::1"])
def test_what_is_let_through_is_checked(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"web\.allowed"):
        Guard([entry])


async def test_ports_of_other_services_are_closed() -> None:
    guard = Guard(["93.184.215.14:25"])
    with pytest.raises(BlockedAddressError, match="port 22"):
        await guard.resolve(PUBLIC, 22)
    for port in (25, 80, 443, 8080):
        assert await guard.resolve(PUBLIC, port) == [PUBLIC]


async def test_this_machine_is_not_on_the_web(monkeypatch: pytest.MonkeyPatch) -> None:
    own = snicaddr(AF_INET, "93.184.215.14", None, None, None)
    monkeypatch.setattr("psutil.net_if_addrs", lambda: {"eth0": [own]})
    with pytest.raises(BlockedAddressError, match="this machine"):
        await Guard().resolve(PUBLIC, 443)
    assert await Guard([PUBLIC]).resolve(PUBLIC, 443) == [PUBLIC]


# Fetching


async def test_a_name_that_leads_elsewhere_the_next_moment_leads_nowhere(web: WebServer) -> None:
    async with web_server(port=web.port, host="127.0.0.3") as inside:
        inside.answers["/"] = inside.answers["/next"] = response(b"secret")
        web.answers["/"] = response(b"fine")
        names = Names(rebinding=[["127.0.0.1"], ["127.0.0.3"]])
        fetch = fetcher(names, "127.0.0.1").fetch
        assert (await fetch(web.url("/", "rebinding"), ANYTHING)).content == b"fine"
        assert names.asked == ["rebinding"]  # what was checked is what it went to
        with pytest.raises(BlockedAddressError):
            await fetch(web.url("/", "rebinding"), ANYTHING)

        web.answers["/"] = redirect("/next")
        names = Names(rebinding=[["127.0.0.1"], ["127.0.0.3"]])
        with pytest.raises(BlockedAddressError):
            await fetcher(names, "127.0.0.1").fetch(web.url("/", "rebinding"), ANYTHING)
        assert inside.asked == []


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://0x7f000003/",
        "//127.0.0.3/",
    ],
)
async def test_redirects_inside_are_blocked(web: WebServer, to: str) -> None:
    web.answers["/"] = redirect(to)
    with pytest.raises(BlockedAddressError):
        await fetcher().fetch(web.url(), ANYTHING)


async def test_redirects_are_followed_within_limits(web: WebServer) -> None:
    web.answers |= {"/a": redirect("b?x=1"), "/b?x=1": redirect("/c"), "/c": response(b"here")}
    web.answers |= {"/round": redirect("/round"), "/file": redirect("file:///etc/passwd")}
    arrived = await fetcher().fetch(web.url("/a"), ANYTHING)
    assert (arrived.url, arrived.content) == (web.url("/c"), b"here")
    with pytest.raises(FetchError, match="LAB_WEB_MAX_REDIRECTS"):
        await fetcher(max_redirects=1).fetch(web.url("/a"), ANYTHING)
    with pytest.raises(FetchError, match="more than 5 redirects"):
        await fetcher().fetch(web.url("/round"), ANYTHING)
    with pytest.raises(FetchError, match="http://"):
        await fetcher().fetch(web.url("/file"), ANYTHING)


async def test_a_name_is_reached_by_the_address_that_answers(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # of no concern here
    web.answers["/"] = response(b"fine", set_cookie="who=ann")
    fetch = fetcher(Names(two=[["127.0.0.9", "127.0.0.1"]]), "127.0.0.0/8").fetch
    for _ in range(2):
        assert (await fetch(web.url("/", "two"), ANYTHING)).content == b"fine"
    assert all(f"host: two:{web.port}" in request.lower() for request in web.asked)
    assert not any("cookie" in request.lower() for request in web.asked)
    with pytest.raises(FetchError, match="could not be fetched"):
        await fetch(web.url("/", "127.0.0.9"), ANYTHING)


async def test_sizes_are_bounded(web: WebServer) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(2**16))
            await writer.drain()

    web.answers |= {
        "/told": response(bytes(5000)),
        "/endless": endless,
        "/bomb": response(gzip.compress(bytes(2**24)), content_encoding="gzip"),
        "/fits": response(gzip.compress(bytes(4096)), content_encoding="gzip"),
    }
    fetch = fetcher(max_bytes=4096).fetch
    for path in ("/told", "/endless"):
        with pytest.raises(DocumentTooLargeError, match="4,096"):
            await fetch(web.url(path), ANYTHING)
    with pytest.raises(DocumentTooLargeError, match="20,000"):  # packed it is smaller
        await fetcher(max_bytes=20_000).fetch(web.url("/bomb"), ANYTHING)
    assert (await fetch(web.url("/fits"), ANYTHING)).content == bytes(4096)
    with pytest.raises(DocumentTooLargeError, match="100 bytes"):
        await fetch(web.url("/fits"), ANYTHING, max_bytes=100)


async def test_time_is_bounded(web: WebServer) -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.01)

    web.answers["/"] = slow
    with pytest.raises(FetchError, match="LAB_WEB_TIMEOUT_S"):
        await fetcher(timeout_s=0.2).fetch(web.url(), ANYTHING)


async def test_kinds_are_asked_for(web: WebServer) -> None:
    web.answers |= {
        "/png": response(b"x", "image/PNG; q=1"),
        "/html": response(b"x", "text/html"),
        "/untold": response(b"x", None),
    }
    fetch = fetcher().fetch
    assert (await fetch(web.url("/png"), ["image/*"])).content_type == "image/PNG; q=1"
    assert (await fetch(web.url("/untold"), ["application/octet-stream"])).content_type == ""
    for path in ("/html", "/untold"):
        with pytest.raises(MediaTypeError, match=r"expected image/\* or text/plain"):
            await fetch(web.url(path), ["image/*", "text/plain"])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (response(b"no", status="404 Not Found"), "404"),
        (response(b"no", status="500 Broken"), "500"),
        (response(b"", status="304 Same"), "304"),
        (response(b"x", content_encoding="br"), "packed as `br`"),
        (response(b"x", content_encoding="gzip"), "broken"),
        (response(gzip.compress(b"hello")[:-4], content_encoding="gzip"), "too early"),
        (b"no HTTP at all\r\n\r\n", "could not be fetched"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "could not be fetched"),
        (b"", "could not be fetched"),
    ],
)
async def test_what_does_not_come_is_said(web: WebServer, answer: bytes, why: str) -> None:
    web.answers["/a?key=secret"] = answer
    with pytest.raises(FetchError, match=why) as failed:
        await fetcher().fetch(web.url("/a?key=secret"), ANYTHING)
    assert "secret" not in str(failed.value)


async def test_servers_are_known_by_their_own_name(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "pictures.test")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    names = Names(**{"pictures.test": [["127.0.0.1"]], "other.test": [["127.0.0.1"]]})
    trusting = ssl.create_default_context(cafile=certificate)
    async with (
        web_server({"/": response(b"fine")}, tls=serving) as web,
        guarded_client(Guard(["127.0.0.1"], names), trusting) as client,
    ):
        answer = await client.get(f"https://pictures.test:{web.port}/")
        assert (answer.content, answer.url.host) == (b"fine", "pictures.test")
        with pytest.raises(httpx.ConnectError, match=r"other\.test"):
            await client.get(f"https://other.test:{web.port}/")
        with pytest.raises(BlockedAddressError):
            await client.get("https://127.0.0.2/")


def make_certificate(folder: Path, name: str) -> Path:
    """Return a file with a key and its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


def test_special_addresses_are_public_in_no_release_of_python() -> None:
    assert all(not_public(ip_address(network[0])) for network in SPECIAL)
