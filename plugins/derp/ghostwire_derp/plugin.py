"""What derp offers."""

from __future__ import annotations

from ghostwire_derp.settings import Settings

__all__ = ["Settings"]
