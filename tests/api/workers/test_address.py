"""Addresses of workers: what cannot be one is refused where it is given."""

import pytest
from pydantic import ValidationError

from aft_api.settings import Settings
from aft_api.workers.address import address_fault

NO_HOSTS = ("http://a..b", "http://.", f"http://{'a' * 64}", "http://a\x00b")
"""Hosts that no resolver can look up."""


@pytest.mark.parametrize(
    ("url", "why"),
    [
        *((url, "no host name") for url in NO_HOSTS[:3]),
        (NO_HOSTS[3], "like http://host:port"),
        ("", "like http://host:port"),
        ("worker:8801", "like http://host:port"),
        ("ftp://worker", "like http://host:port"),
        ("http://:8801", "like http://host:port"),
        ("http://[::1", "like http://host:port"),
        ("http://worker:88O1", "like http://host:port"),
        ("http://worker:70000", "like http://host:port"),
    ],
)
def test_an_address_that_cannot_be_one_has_a_fault_in_words(url: str, why: str) -> None:
    assert why in (address_fault(url) or "")
    with pytest.raises(ValidationError) as caught:
        Settings(worker_urls=("http://worker:8801", url))
    [error] = caught.value.errors()
    assert error["loc"] == ("worker_urls",)
    assert repr(url) in error["msg"]
    assert "Correct AFT_WORKER_URLS." in error["msg"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8801", "https://worker.example.org/", "http://worker.:8801", "http://a_b", "http://[::1]:8801",
        "http://[fe80::1%25eth0]:8801", "http://b\u00fccher.example", "HTTP://worker/below", f"http://{'a' * 63}.b",
    ],
)  # fmt: skip
def test_an_address_has_none(url: str) -> None:
    assert address_fault(url) is None
    assert Settings(worker_urls=(url,)).worker_urls == (url,)
