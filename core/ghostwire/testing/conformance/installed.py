"""What the contracts for installed plugins share."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ghostwire.testing.conformance.subject import Subject
from ghostwire.testing.conformance.surroundings import context
from ghostwire.testing.contracts.base import Contract


class OfInstalled(Contract):
    """What the kit's own contracts share; ``subject`` is set on the class that runs."""

    subject: Subject

    def folder(self) -> Path:
        """A folder for the rule that runs."""
        return Path(self.cleanup.enter_context(tempfile.TemporaryDirectory()))

    async def make(self) -> Any:
        """The object, with a context that holds for all kinds but transports and tunnels."""
        return self.subject.create(context(self.subject.settings, self.folder()))
