"""Where outgoing requests may go, against real sockets and a resolver that changes its mind."""

import asyncio
import contextlib
import datetime
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from aft_api.notify.delivery import DeliveryStatus
from aft_api.notify.outgoing import (
    GuardedTransport,
    TargetRefused,
    WebhookTargetRefused,
    address_fault,
    guarded_client,
    refuse_targets,
)
from aft_api.notify.parcel import Parcel
from aft_api.notify.webhook import WebhookSender
from aft_api.notify.webhook_secrets import WebhookSecrets

LOOPBACK = (ip_network("127.0.0.0/8"),)
PUBLIC = "93.184.216.34"
NOT_PUBLIC = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::",
    "fe80::1", "fe80::1%2", "fc00::1", "fd12:3456::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "2002:7f00:1::", "64:ff9b::7f00:1", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_address_inside_is_refused_unless_its_network_is_allowed(address: str) -> None:
    inside = ip_address(address)
    assert address_fault(inside, ()) is not None
    assert address_fault(inside, [ip_network(f"{address.split('%')[0]}")]) is None or "%" in address


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::5db8:d822"])
def test_public_address_is_let_through(address: str) -> None:
    assert address_fault(ip_address(address), ()) is None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_dress(address) -> None:
    dressed = [ip_address(f"::ffff:{address}"), ip_address((0x64FF9B << 96) | int(address))]
    if address_fault(address, ()) is not None:
        assert all(address_fault(one, ()) is not None for one in dressed)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
        "https://[::1]:8800/", "https://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest/meta-data",
        "ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "nowhere", "", "http://",
        "http://[bad]/", "https://user:word@example.org/",
    ],
)  # fmt: skip
def test_target_is_refused_at_submission(url: str) -> None:
    with pytest.raises(WebhookTargetRefused, match=r"notify\.webhooks"):
        refuse_targets([url], ())


def test_names_and_public_addresses_are_accepted_at_submission() -> None:
    refuse_targets(["https://example.org/hook", f"http://{PUBLIC}:8080/"], ())
    refuse_targets(["http://127.0.0.1:9/"], LOOPBACK)
    with pytest.raises(WebhookTargetRefused):  # what the setting has let through
        refuse_targets(["http://127.0.0.1:9/"], ())


@given(st.text(max_size=40) | st.text(max_size=20).map("http://{}/".format))
def test_any_text_is_accepted_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(WebhookTargetRefused):
        refuse_targets([text], ())
        assert text.lower().startswith(("http://", "https://"))


def answers_with(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have the loop's resolver answer so, one answer a question, the last one for ever; the names it was asked for."""
    asked: list[str] = []

    async def getaddrinfo(_, host: str, port: int, **how: object) -> list[tuple[object, ...]]:
        asked.append(host)
        given_now = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in given_now]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


def get(url: str, allowed=()) -> httpx.Response:
    async def once() -> httpx.Response:
        async with guarded_client(allowed) as client:
            return await client.post(url, timeout=5)

    return asyncio.run(once())


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["10.0.0.7"], [PUBLIC, "169.254.169.254"]])
def test_name_that_resolves_inside_is_refused_before_anything_is_sent(
    receiver, monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    answers_with(monkeypatch, answer)
    with pytest.raises(TargetRefused, match="no public address"):
        get(receiver.url.replace("127.0.0.1", "innocent.example"))
    assert receiver.received == []


def test_the_address_that_was_judged_is_the_one_connected_to(receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answer is what a rebinding server would give; it is never asked for."""
    asked = answers_with(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    response = get(receiver.url.replace("127.0.0.1", "hook.example"), LOOPBACK)
    assert (response.status_code, asked) == (200, ["hook.example"])
    assert receiver.received[0].headers["host"].startswith("hook.example:")


def test_the_next_address_is_tried_where_one_takes_no_connection(receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    answers_with(monkeypatch, ["127.0.0.9", "127.0.0.1"])  # the receiver listens on the second alone
    assert get(receiver.url.replace("127.0.0.1", "hook.example"), LOOPBACK).status_code == 200


def test_redirect_is_not_followed(receiver) -> None:
    receiver.status, receiver.headers = 302, {"location": receiver.url + "elsewhere"}
    assert get(receiver.url, LOOPBACK).status_code == 302
    assert len(receiver.received) == 1


def test_proxy_of_the_environment_is_not_asked(receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert get(receiver.url, LOOPBACK).status_code == 200


def test_refused_webhook_is_not_tried_again(receiver, notification: Callable) -> None:
    async def send():
        async with guarded_client(()) as client:
            parcel = Parcel(address=receiver.url, message=notification())
            return await WebhookSender(client, WebhookSecrets()).send(parcel)

    delivery = asyncio.run(send())
    assert delivery.status is DeliveryStatus.REFUSED
    assert "AFT_OUTGOING_ALLOW" in delivery.reason
    assert receiver.received == []


@pytest.mark.anyio
async def test_certificate_is_checked_against_the_name_not_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_side = certificate(tmp_path, "hook.example")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_side) as server:
        port = server.sockets[0].getsockname()[1]
        client_side = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
        answers_with(monkeypatch, ["127.0.0.1"])
        async with httpx.AsyncClient(transport=GuardedTransport(LOOPBACK, verify=client_side)) as client:
            assert (await client.post(f"https://hook.example:{port}/", timeout=5)).status_code == 204
            with pytest.raises(httpx.ConnectError, match=r"other\.example"):
                await client.post(f"https://other.example:{port}/", timeout=5)


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's side of TLS with a certificate for `name`, which lies in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context
