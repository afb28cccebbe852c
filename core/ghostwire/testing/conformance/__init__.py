"""The rules of a capability for plugins as they are installed: ``pytest --ghostwire-conformance=transport NAME``.

NAME is a provider's name, or a plugin's that provides one of that kind. Transports run over loopback sockets that give
each object a port of its own; tunnels on a simulated network; platforms on Linux in a network namespace.

A plugin may help with two names in its module (the entry point's), neither of which is needed:

    CANNOT = {"transport": {"a_full_burst_of_full_datagrams_arrives_whole": "a pigeon carries one letter"}}

    def conformance(capability):
        \"\"\"The contract to run for this capability; None for the kit's own.\"\"\"
        if capability == "transport":
            from ghostwire_pigeon.conformance import PigeonContract  # a subclass of TransportContract

            return PigeonContract
        return None

Authenticators, and platforms elsewhere than on Linux, need it, since the kit can't know how a secret is made. The class
may use ``self.subject`` (a `Subject`): its ``settings``, and ``create(context)``.
"""

from __future__ import annotations

from ghostwire.testing.conformance.subject import Subject, find

__all__ = ["Subject", "find"]
