"""From a URL to the processes behind it."""

from __future__ import annotations

import asyncio

import pytest

from services.common.peer.addresses import Address, Origin
from tests.support.own_names import NAME, Names, with_own_names


def resolve(url: str) -> list[Address]:
    return asyncio.run(Origin.parse(url).resolve())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://10.1.2.3:4002", Address("10.1.2.3", 4002, "10.1.2.3:4002")),
        ("http://10.1.2.3", Address("10.1.2.3", 80, "10.1.2.3")),
        ("http://10.1.2.3:443", Address("10.1.2.3", 443, "10.1.2.3:443")),
        ("http://[fd00::1]:4002", Address("fd00::1", 4002, "[fd00::1]:4002")),
        ("http://[fd00::1]", Address("fd00::1", 80, "[fd00::1]")),
    ],
)
def test_an_ip_is_its_own_address(url: str, expected: Address) -> None:
    assert resolve(url) == [expected]


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://inference.invalid", "inference.invalid", 443),
        ("https://inference.invalid:4002", "inference.invalid:4002", 4002),
    ],
)
def test_with_tls_the_name_itself_is_the_address(url: str, host: str, port: int) -> None:
    """The certificate is for the name; that it does not exist is found when connecting."""
    assert resolve(url) == [Address("inference.invalid", port, host, "inference.invalid")]


def test_what_cannot_be_a_host_name_is_not_found() -> None:
    with pytest.raises(OSError, match="cannot be a host name"):
        resolve(f"http://{'a' * 70}:4002")


@with_own_names
async def test_a_name_has_all_its_addresses_each_once(names: Names) -> None:
    """The Host header is that of the URL, whatever the address."""
    names.put("127.0.0.3", "127.0.0.2", "127.0.0.3")
    found = await Origin.parse(f"http://{NAME}:4002").resolve()

    host = f"{NAME}:4002"
    assert found == [Address("127.0.0.2", 4002, host), Address("127.0.0.3", 4002, host)]


@with_own_names
async def test_a_process_with_both_families_counts_once(names: Names) -> None:
    names.put("127.0.0.2", "fd00::2")
    found = await Origin.parse(f"http://{NAME}:4002").resolve()

    assert [address.ip for address in found] == ["127.0.0.2"]


@with_own_names
async def test_ipv6_alone_is_taken(names: Names) -> None:
    names.put("fd00::2", "fd00::3")
    found = await Origin.parse(f"http://{NAME}:4002").resolve()

    assert [address.ip for address in found] == ["fd00::2", "fd00::3"]


@with_own_names
async def test_a_name_without_addresses_is_an_error(names: Names) -> None:
    names.put()
    with pytest.raises(OSError, match="not known"):
        await Origin.parse(f"http://{NAME}:4002").resolve()
