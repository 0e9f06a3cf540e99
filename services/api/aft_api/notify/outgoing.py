"""Outgoing requests to addresses that users name: only http(s), and only to machines that they may make us talk to.

Whoever may start a run may name a webhook, and the API would call it from inside its own network. So a target's
addresses are looked at after its name is resolved, and the very address that was looked at is connected to: a name
that answers differently a moment later (DNS rebinding) is not asked again.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from aft_api.errors import AftError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
SCHEMES = ("http", "https")
RESOLVE_WITHIN_S = 5.0
_NAT64 = IPv6Network("64:ff9b::/96")


class TargetRefused(httpx.RequestError):
    """A request would go where none may go; another attempt makes no sense."""


class WebhookTargetRefused(AftError):
    """A webhook may not be sent there."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"notify.webhooks: {url!r} is refused: {why}", url=url)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests to public addresses, and to others only inside the networks in `allowed`.

    The request goes to the address that was judged, with the name in its Host header and in TLS. Connections are not
    kept: one that was opened for a name must not carry a request for another name at the same address. Proxies of the
    environment are not used, since the name would be resolved there, out of sight.
    """

    def __init__(self, allowed: Sequence[Network] = (), *, verify: ssl.SSLContext | bool = True) -> None:
        self._allowed = tuple(allowed)
        limits = httpx.Limits(max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Resolve, judge, and send to the first address that takes the connection.

        Raises:
            TargetRefused: the scheme or one of the addresses is not allowed.
        """
        if (wrong := scheme_fault(request.url)) is not None:
            raise TargetRefused(wrong, request=request)
        addresses = await _resolve(request)
        for address in addresses:  # all of them: a name with one private address is up to something
            if (wrong := address_fault(address, self._allowed)) is not None:
                raise TargetRefused(wrong, request=request)
        for address in addresses[:-1]:
            try:
                return await self._inner.handle_async_request(_pinned(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(_pinned(request, addresses[-1]))

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()


def guarded_client(allowed: Sequence[Network]) -> httpx.AsyncClient:
    """A client for addresses that users name: guarded, without redirects and without credentials of the environment."""
    return httpx.AsyncClient(transport=GuardedTransport(allowed), follow_redirects=False, trust_env=False)


def refuse_targets(urls: Sequence[str], allowed: Sequence[Network]) -> None:
    """Refuse early what can be judged without resolving a name: schemes, and addresses that are written out.

    Raises:
        WebhookTargetRefused: one of `urls` may not be posted to.
    """
    for text in urls:
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise WebhookTargetRefused(text, f"it is no URL: {error}") from error
        wrong = scheme_fault(url)
        address = _literal(url.host)
        if wrong is None and address is not None:
            wrong = address_fault(address, allowed)
        if wrong is not None:
            raise WebhookTargetRefused(text, wrong)


def scheme_fault(url: httpx.URL) -> str | None:
    """Why a URL cannot be posted to at all, in words; None when it can."""
    if url.scheme not in SCHEMES or not url.host:
        return f"{str(url)!r} must begin with http:// or https:// and name a host"
    if url.userinfo:
        return "a URL must not carry a name and password"
    return None


def address_fault(address: Address, allowed: Sequence[Network]) -> str | None:
    """Why an address may not be talked to, in words; None when it may."""
    if any(address.version == network.version and address in network for network in allowed):
        return None
    for one in _carried(address) or [address]:
        if not one.is_global or one.is_multicast or one.is_reserved:
            return f"{address} is no public address; AFT_OUTGOING_ALLOW can name the networks that may be talked to"
    return None


def _carried(address: Address) -> list[Address]:
    """IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def _literal(host: str) -> Address | None:
    """The address that a host is written as, in any of the spellings that a resolver takes; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433
    except (OSError, UnicodeError, ValueError):
        return None


async def _resolve(request: httpx.Request) -> list[Address]:
    url = request.url
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    limit_s = request.extensions.get("timeout", {}).get("connect") or RESOLVE_WITHIN_S
    try:
        async with asyncio.timeout(min(limit_s, RESOLVE_WITHIN_S)):
            found = await asyncio.get_running_loop().getaddrinfo(
                url.raw_host.decode(), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
    except TimeoutError as error:
        raise httpx.ConnectTimeout(f"{url.host} was not resolved in time", request=request) from error
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"{url.host} cannot be resolved: {error}", request=request) from error
    return list(dict.fromkeys(ip_address(address[0]) for *_, address in found))


def _pinned(request: httpx.Request, address: Address) -> httpx.Request:
    """The same request to an address; the Host header was written from the name, and TLS is told the name."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.raw_host.decode()},
    )
