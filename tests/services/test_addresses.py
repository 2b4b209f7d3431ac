"""From a URL to the addresses of its endpoints."""

from __future__ import annotations

import pytest

from services.common.peer.addresses import Address, Origin
from tests.support.hosts_file import NAME, HostsFile, with_own_hosts_file

pytestmark = pytest.mark.anyio


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
async def test_an_ip_address_resolves_to_itself(url: str, expected: Address) -> None:
    assert await Origin.parse(url).resolve() == [expected]


@with_own_hosts_file
async def test_an_https_name_resolves_to_addresses_whose_certificates_have_the_name(
    hosts: HostsFile,
) -> None:
    """Connections go to the addresses; the name of the URL is what a certificate must have."""
    hosts.set("127.0.0.3", "127.0.0.2")
    ips = ("127.0.0.2", "127.0.0.3")

    for url, port, host in (
        (f"https://{NAME}:4002", 4002, f"{NAME}:4002"),
        (f"https://{NAME}", 443, NAME),
    ):
        found = await Origin.parse(url).resolve()
        assert found == [Address(ip, port, host, NAME) for ip in ips]


async def test_an_invalid_host_name_is_an_error() -> None:
    with pytest.raises(OSError, match="invalid host name"):
        await Origin.parse(f"http://{'a' * 70}:4002").resolve()


@with_own_hosts_file
async def test_a_name_resolves_to_each_of_its_addresses_once(hosts: HostsFile) -> None:
    """The Host header is that of the URL, whatever the address."""
    hosts.set("127.0.0.3", "127.0.0.2", "127.0.0.3")
    found = await Origin.parse(f"http://{NAME}:4002").resolve()

    host = f"{NAME}:4002"
    assert found == [Address("127.0.0.2", 4002, host), Address("127.0.0.3", 4002, host)]


@with_own_hosts_file
async def test_an_endpoint_with_ipv4_and_ipv6_counts_once(hosts: HostsFile) -> None:
    hosts.set("127.0.0.2", "fd00::2")
    found = await Origin.parse(f"http://{NAME}:4002").resolve()

    assert [address.ip for address in found] == ["127.0.0.2"]


@with_own_hosts_file
async def test_a_name_with_ipv6_only_resolves_to_ipv6(hosts: HostsFile) -> None:
    hosts.set("fd00::2", "fd00::3")
    found = await Origin.parse(f"http://{NAME}:4002").resolve()

    assert [address.ip for address in found] == ["fd00::2", "fd00::3"]


@with_own_hosts_file
async def test_a_name_without_addresses_is_an_error(hosts: HostsFile) -> None:
    hosts.set()
    with pytest.raises(OSError, match="not known"):
        await Origin.parse(f"http://{NAME}:4002").resolve()
