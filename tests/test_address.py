"""Whose address a request has: only what trusted proxies vouch for, whatever the headers hold."""

import ipaddress

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from intellicolab.proxies import ProxyHeaders
from ratelimit.address import UNKNOWN, TrustedProxies, group, normal, parse

PROXIES = TrustedProxies.parse(["10.0.0.0/8", "2001:db8:ffff::/48", "192.0.2.7"])
ALICE = "203.0.113.9"
PROXY = "10.0.0.1"

addresses = st.ip_addresses().map(str)
headers = st.lists(st.one_of(st.text(), addresses, st.lists(addresses).map(", ".join)), max_size=4)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (ALICE, [], ALICE),
        (ALICE, ["1.2.3.4"], ALICE),  # not a proxy: whatever it says is its own invention
        (PROXY, [], PROXY),
        (PROXY, [ALICE], ALICE),
        (PROXY, [f"1.2.3.4, {ALICE}"], ALICE),  # what stands further left, alice may have written
        (PROXY, ["1.2.3.4", ALICE], ALICE),  # the same in two header lines
        (PROXY, [f"1.2.3.4, {ALICE}, 10.9.9.9"], ALICE),  # two proxies in a row
        (PROXY, [f"{ALICE}, 192.0.2.7, 10.9.9.9"], ALICE),
        (PROXY, ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),  # from inside: everyone is trusted
        (PROXY, [f"{ALICE}:4711"], ALICE),
        (PROXY, ["[2001:db8::5]:4711"], "2001:db8::5"),
        (PROXY, ["2001:DB8:0::5"], "2001:db8::5"),
        (PROXY, ["fe80::1%eth0"], "fe80::1"),
        (PROXY, [f"::ffff:{ALICE}"], ALICE),
        (f"::ffff:{PROXY}", [ALICE], ALICE),
        ("2001:db8:ffff::1", ["2001:db8:5::1"], "2001:db8:5::1"),
        (PROXY, [f"{ALICE}, garbage"], PROXY),  # a proxy of ours passed on garbage: it is the last we know
        (PROXY, [f"{ALICE}, garbage, 10.9.9.9"], "10.9.9.9"),
        (PROXY, [""], PROXY),
        ("", [ALICE], ""),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy_of_ours(peer, forwarded, client):
    assert PROXIES.client(peer, forwarded) == client


def test_a_unix_socket_s_peer_is_believed_only_when_told():
    assert TrustedProxies.parse(["unix"]).client("", [ALICE]) == ALICE
    assert TrustedProxies.parse(["unix"]).client(PROXY, [ALICE]) == PROXY


@examples(deadline=None, max_examples=60)
@given(peer=st.one_of(addresses, st.text()), forwarded=headers)
def test_garbage_never_raises(peer, forwarded):
    for proxies in (PROXIES, TrustedProxies(), TrustedProxies.parse(["0.0.0.0/0", "::/0", "unix"])):
        assert isinstance(group(proxies.client(peer, forwarded)), str)


@examples(deadline=None, max_examples=60)
@given(peer=addresses, forwarded=headers, claimed=headers)
def test_nobody_chooses_an_address_by_writing_more_to_the_left(peer, forwarded, claimed):
    """What a client sends stands left of what the proxies append, so it changes nothing once a client is found."""
    assert PROXIES.client(PROXY, [*claimed, ALICE]) == ALICE
    assert PROXIES.client(PROXY, [*claimed, f"{ALICE}, 10.5.5.5"]) == ALICE
    assert TrustedProxies().client(peer, forwarded) == normal(peer)


@examples(deadline=None, max_examples=60)
@given(address=st.ip_addresses(v=6))
def test_addresses_of_one_ipv6_network_are_one_group(address):
    neighbour = ipaddress.IPv6Address(int(address) ^ 1)
    if address.ipv4_mapped is None:
        assert group(str(address)) == group(str(neighbour))
        assert ipaddress.ip_network(group(str(address))).prefixlen == 64


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (ALICE, ALICE),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (f"::ffff:{ALICE}", ALICE),
        ("", UNKNOWN),
        ("garbage", UNKNOWN),
        ("1.2.3.4.5", UNKNOWN),
        ("٣.٣.٣.٣", UNKNOWN),
    ],
)
def test_groups(address, expected):
    assert group(address) == expected


@pytest.mark.parametrize("word", ["nonsense", "10.0.0.0/40", "*"])
def test_a_wrong_setting_is_named(word):
    with pytest.raises(ImproperlyConfigured, match="TRUSTED_PROXIES"):
        TrustedProxies.parse([PROXY, word])


@examples(deadline=None, max_examples=60)
@given(text=st.text())
def test_parse_gives_an_address_or_nothing(text):
    address = parse(text)
    assert address is None or parse(str(address)) == address


# --- The ASGI wrapper ---


def settled(trusted, client, *headers, **scope):
    pairs = [(name, value) for name, value in headers]
    base = {"type": "http", "scheme": "http", "client": client, "headers": pairs, "root_path": "/evil", **scope}
    return ProxyHeaders(None, trusted).settled(base)


def test_a_stranger_s_forwarding_headers_go_no_further():
    headers = [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-proto", b"https"), (b"X-Real-IP", b"1.2.3.4")]
    scope = settled([PROXY], (ALICE, 5), *headers, (b"host", b"chat.example.org"))
    assert (scope["client"], scope["scheme"]) == ((ALICE, 5), "http")
    assert scope["headers"] == [(b"host", b"chat.example.org")]
    assert scope["root_path"] == ""


def test_a_proxy_of_ours_is_believed():
    headers = [(b"x-forwarded-for", b"1.2.3.4, " + ALICE.encode()), (b"x-forwarded-proto", b"https")]
    scope = settled([PROXY], (PROXY, 5), *headers)
    assert (scope["client"], scope["scheme"], scope["root_path"]) == ((ALICE, 0), "https", "/evil")


@pytest.mark.parametrize(
    ("scheme", "said", "result"),
    [("ws", b"https", "wss"), ("ws", b"wss", "wss"), ("wss", b"http", "ws"), ("http", b"nonsense", "http")],
)
def test_sockets_have_their_own_schemes(scheme, said, result):
    assert settled([PROXY], (PROXY, 5), (b"x-forwarded-proto", said), scheme=scheme)["scheme"] == result


def test_the_proto_that_counts_is_the_nearest_proxy_s():
    assert settled([PROXY], (PROXY, 5), (b"x-forwarded-proto", b"https, http"))["scheme"] == "http"


@pytest.mark.parametrize(("trusted", "client"), [([], None), (["unix"], (ALICE, 0))])
def test_a_unix_socket_s_peer(trusted, client):
    assert settled(trusted, None, (b"x-forwarded-for", ALICE.encode()))["client"] == client


@examples(deadline=None, max_examples=60)
@given(value=st.binary(), proto=st.binary())
def test_bytes_of_any_kind_do_no_harm(value, proto):
    scope = settled([PROXY], (PROXY, 5), (b"x-forwarded-for", value), (b"x-forwarded-proto", proto))
    assert parse(scope["client"][0])
    assert scope["scheme"] in ("http", "https")
