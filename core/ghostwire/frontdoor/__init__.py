"""One port for everything: TLS, HTTP, and raw streams after an Upgrade."""

from ghostwire.frontdoor.door import FrontDoor

__all__ = ["FrontDoor"]
