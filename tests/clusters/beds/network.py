"""A network of a bed's own: a bridge, and a network namespace for each node, with addresses that nothing else has."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from tests.clusters.beds.processes import command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.clusters.beds.processes import Keeper

_CONTROLLER, _FIRST_NODE = 1, 11


@dataclass(frozen=True)
class Network:
    """A bridge whose first address is the machine's, and one namespace for each node.

    Args:
        suffix: What tells its names from those of another bed, five characters at most.
        subnet: Its addresses.
        nodes: The names of the nodes.
    """

    suffix: str
    subnet: IPv4Network
    nodes: Sequence[str]

    @classmethod
    def make(cls, keeper: Keeper, suffix: str, nodes: Sequence[str]) -> Network:
        """Make it, and tell the keeper how to take it away."""
        network = cls(suffix, _unused_subnet(), nodes)
        bridge = network._bridge
        keeper.undo("link", bridge)
        lines = [
            f"link add {bridge} type bridge",
            f"addr add {network.controller}/{network.subnet.prefixlen} dev {bridge}",
            f"link set {bridge} up",
        ]
        for node in nodes:
            keeper.undo("namespace", network.namespace(node))
            lines += [
                f"netns add {network.namespace(node)}",
                f"link add {network.link(node)} type veth peer name eth0 netns {network.namespace(node)}",
                f"link set {network.link(node)} master {bridge} up",
            ]
        command("ip", "-batch", "-", text="\n".join(lines))
        for node in nodes:
            inside = [
                f"addr add {network.address(node)}/{network.subnet.prefixlen} dev eth0",
                "link set eth0 up",
                "link set lo up",
                f"route add default via {network.controller}",
            ]
            command("ip", "-n", network.namespace(node), "-batch", "-", text="\n".join(inside))
        # A Docker engine forbids forwarding, and some kernels put bridged packets through the same rules.
        rule = ["FORWARD", "-i", bridge, "-o", bridge, "-j", "ACCEPT"]
        keeper.undo("run", "iptables", "--wait", "-D", *rule)
        command("iptables", "--wait", "-I", *rule)
        return network

    @property
    def controller(self) -> str:
        return str(self.subnet[_CONTROLLER])

    @property
    def _bridge(self) -> str:
        return f"nemobr{self.suffix}"

    def address(self, node: str) -> str:
        return str(self.subnet[_FIRST_NODE + self.nodes.index(node)])

    def namespace(self, node: str) -> str:
        return f"nemo-{self.suffix}-{node}"

    def link(self, node: str) -> str:
        return f"nemo{self.suffix}{node}"

    def set_up(self, node: str, *, up: bool) -> None:
        """Plug a node's cable in, or pull it."""
        command("ip", "link", "set", self.link(node), "up" if up else "down")


def _unused_subnet() -> IPv4Network:
    routes = json.loads(command("ip", "-json", "route", "show", "table", "all"))
    taken = {
        IPv4Network(route["dst"], strict=False) for route in routes if route["dst"][0].isdigit() and "." in route["dst"]
    }
    while True:
        subnet = IPv4Network((f"10.{128 + secrets.randbelow(64)}.{secrets.randbelow(256)}.0", 24))
        if not any(subnet.overlaps(other) for other in taken):
            return subnet
