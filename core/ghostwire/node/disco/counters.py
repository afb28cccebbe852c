"""What disco did and refused, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ghostwire import Metrics


def _counts(help: str) -> Any:
    return field(default=0, metadata={"help": help})


@dataclass(slots=True)
class Counters:
    """One number for each thing that may become of a disco message."""

    pings: int = _counts("Disco pings received and answered.")
    pongs: int = _counts("Disco pongs received.")
    calls: int = _counts("Call-me-maybes received over relays.")
    sent_pings: int = _counts("Disco pings sent.")
    sent_calls: int = _counts("Call-me-maybes sent.")
    held_pings: int = _counts("Disco pings not sent, for no peer has answered there and there were too many.")
    strangers: int = _counts("Disco datagrams under a key that no peer has.")
    ambiguous: int = _counts("Disco datagrams under a key that several nodes of the map have.")
    misdirected: int = _counts("Disco datagrams in another node's name.")
    limited: int = _counts("Disco datagrams over the rate limits.")
    malformed: int = _counts("Disco datagrams that are malformed, or not their sender's.")
    ignored: int = _counts("Disco messages of unknown types or versions.")
    short_pings: int = _counts("Disco pings shorter than their answer.")
    direct_calls: int = _counts("Call-me-maybes that came over no relay.")
    frequent_calls: int = _counts("Call-me-maybes less than a second after the peer's last.")
    refused_endpoints: int = _counts("Endpoints in call-me-maybes that no peer can live at.")

    def register(self, metrics: Metrics) -> None:
        """Register each as ``ghostwire_node_disco_NAME_total``."""
        for each in fields(self):
            self._register(metrics, each.name, each.metadata["help"])

    def _register(self, metrics: Metrics, name: str, help: str) -> None:
        metrics.counter(f"ghostwire_node_disco_{name}_total", help, lambda: getattr(self, name))
