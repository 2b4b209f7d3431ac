"""The age of a headless Service's addresses, from the Corefiles of a cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.doctor.dns import DEFAULT_TTL_S, name_age, parse_corefile
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest

LOCAL = """
cluster.local:53 {
    errors
    cache {
        success 9984 30
        denial 9984 5
    }
    forward . 10.96.0.10
}
.:53 {
    cache 300
}
"""


def corefile(ttl: str = "", cache: str = "") -> str:
    """Return a Corefile as kubeadm, minikube and microk8s have it."""
    return f"""
    .:53 {{
        errors  # and no log
        kubernetes cluster.local in-addr.arpa ip6.arpa {{
           pods insecure
           {ttl}
        }}
        forward . /etc/resolv.conf {{
           max_concurrent 1000
        }}
        {cache}
        loop
    }}
    """


def age(corefile: str | None, local: str | None = None) -> int:
    maps = {"coredns": corefile, "node-local-dns": local}
    objects = [
        Manifest(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"namespace": "kube-system", "name": name},
                "data": {"Corefile": content},
            }
        )
        for name, content in maps.items()
        if content is not None
    ]
    return name_age(ManifestSet([], live=True, elsewhere=objects)).seconds


UNCACHED = "cache 30 {\ndisable success cluster.local\ndisable denial cluster.local\n}"


@pytest.mark.parametrize(
    ("ttl", "cache", "expected"),
    [
        pytest.param("", "cache 30", 5, id="microk8s: the default TTL"),
        pytest.param("ttl 30", "cache 30", 30, id="kubeadm until the end of 2024"),
        pytest.param("ttl 30", UNCACHED, 0, id="kubeadm since then"),
        pytest.param("ttl 30", "", 0, id="no cache"),
        pytest.param("ttl 60", "cache 30", 30, id="a cache that is shorter"),
        pytest.param("ttl 60", "cache", 60, id="a cache without a limit"),
        pytest.param("ttl 30", "cache 20 example.org", 0, id="a cache of another zone"),
        pytest.param("ttl 30", "cache 20 cluster.local", 20, id="a cache of the zone"),
        pytest.param("ttl 30", "cache {\nsuccess 9984 10\n}", 10, id="a limit inside"),
        pytest.param("ttl 0", "cache 30", 5, id="the least TTL of the cache"),
        pytest.param("ttl 0", "cache {\nsuccess 9984 30 0\n}", 0, id="a least TTL of 0"),
        pytest.param("ttl 30", "cache 30 {\ndisable success\n}", 0, id="disabled for all zones"),
        pytest.param("ttl 30", "cache 30 {\ndisable denial\n}", 30, id="disabled for failures"),
    ],
)
def test_coredns_caches_as_long_as_ttl_and_cache_say(ttl: str, cache: str, expected: int) -> None:
    assert age(corefile(ttl, cache)) == expected


def test_without_a_corefile_it_is_the_default_of_coredns() -> None:
    assert age(None) == age("") == DEFAULT_TTL_S


def test_a_cache_on_the_nodes_keeps_what_coredns_does_not() -> None:
    assert age(corefile("ttl 30", UNCACHED), LOCAL) == 30
    assert age(corefile("", UNCACHED), LOCAL) == 5


def test_two_caches_keep_an_answer_longer_than_one() -> None:
    """CoreDNS gives away an answer in its last second, and the node keeps it for 5 s more."""
    assert age(corefile("ttl 30", "cache 30"), LOCAL) == 35


def test_the_most_specific_block_of_the_node_counts() -> None:
    only_the_rest = LOCAL.replace("cluster.local:53", "example.org:53")

    assert age(corefile("ttl 300", UNCACHED), only_the_rest) == 300


@given(st.text(alphabet="{}# \n.ca:53kubernetesttl0"))
def test_any_text_is_read(content: str) -> None:
    parse_corefile(content)
    assert age(content, content) >= 0
