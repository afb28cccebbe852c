"""The texts of what any program may run, to begin with: a service, a telemetry, a command."""

SERVICE_FIELDS = """\
    every: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    \"\"\"Seconds between two beats.\"\"\"
"""

SERVICE = '''\
"""The service `$name`: a beat from time to time."""

from __future__ import annotations

import asyncio

from ghostwire import Context, Service


class $class_(Service):
    """Counts its beats, and logs them."""

    name = "$name"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._task: asyncio.Task[None] | None = None
        self.beats = 0
        name = "ghostwire_plugin_$name" + "_beats_total"
        context.metrics.counter(name, "Beats since the start", lambda: self.beats)

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._context.settings.every)
            self.beats += 1
            self._context.log.info("beat %d", self.beats)
'''

SERVICE_TESTS = '''\
"""When `$name` beats, in a second of simulated time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ghostwire import Context
from ghostwire.testing import simulate
from ghostwire.testing.contexts import make_context

from $package.implementation import $class_
from $package.plugin import Settings


def test_it_beats_as_often_as_it_is_set_to_until_it_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        service = $class_(make_context(Context, tmp_path, Settings(every=60.0)))
        await service.start()
        await asyncio.sleep(190)
        assert service.beats == 3
        await service.close()
        await service.close()
        await asyncio.sleep(190)
        assert service.beats == 3

    simulate(main)
'''

TELEMETRY_FIELDS = """\
    every: Annotated[float, msgspec.Meta(gt=0)] = 15.0
    \"\"\"Seconds between two writes.\"\"\"
"""

TELEMETRY = '''\
"""The telemetry `$name`: the metrics as a text file in the plugin's own folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ghostwire import Context, Metrics, Telemetry


class $class_(Telemetry):
    """Writes ``metrics.prom`` in Prometheus's text format, replacing it as a whole."""

    name = "$name"

    def __init__(self, context: Context) -> None:
        self._every: float = context.settings.every
        self._file = context.state / "metrics.prom"
        self._task: asyncio.Task[None] | None = None
        self._metrics: Metrics | None = None

    async def start(self, metrics: Metrics) -> None:
        """Begin to write."""
        self._metrics = metrics
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Write the last values and stop; harmless when called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            self.write()

    async def _run(self) -> None:
        while True:
            self.write()
            await asyncio.sleep(self._every)

    def write(self) -> None:
        """Write the values of now."""
        new = self._file.with_suffix(".new")
        new.write_text("\\n".join(lines(self._metrics or Metrics())) + "\\n")
        new.replace(self._file)


def lines(metrics: Metrics) -> Iterator[str]:
    """Each metric with its help and kind, as Prometheus reads them; one that raises costs only itself."""
    for metric in metrics:
        try:
            value = metric.read()
        except Exception:  # its part may be closed already
            continue
        yield f"# HELP {metric.name} {metric.help}"
        yield f"# TYPE {metric.name} {metric.kind}"
        yield f"{metric.name} {value}"
'''

TELEMETRY_CONFORMANCE = '''\
"""How the conformance kit tries `$name`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ghostwire import Context, Telemetry
from ghostwire.testing.contexts import make_context
from ghostwire.testing.contracts import $contract

from $package.implementation import $class_
from $package.settings import Settings


class ${stem}Contract($contract):
    """Reads the file that it writes."""

    async def make(self) -> $class_:
        self._folder = Path(self.cleanup.enter_context(TemporaryDirectory()))
        return $class_(make_context(Context, self._folder, Settings()))

    async def exported(self, telemetry: Telemetry) -> str:
        assert isinstance(telemetry, $class_)
        telemetry.write()
        return (self._folder / "metrics.prom").read_text()
'''

TELEMETRY_TESTS = '''\
"""What `$name` writes, and when."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ghostwire import Context, Metrics
from ghostwire.testing import simulate
from ghostwire.testing.contexts import make_context

from $package.conformance import ${stem}Contract
from $package.implementation import $class_
from $package.plugin import Settings


def test_the_file_has_the_values_of_now_and_of_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        metrics, count = Metrics(), [1]
        metrics.counter("cats_total", "Cats seen", lambda: count[0])
        telemetry = $class_(make_context(Context, tmp_path, Settings(every=15.0)))
        await telemetry.start(metrics)
        await asyncio.sleep(1)
        assert "# TYPE cats_total counter\\ncats_total 1\\n" in (tmp_path / "metrics.prom").read_text()
        count[0] = 2
        await telemetry.close()
        await telemetry.close()
        assert "cats_total 2\\n" in (tmp_path / "metrics.prom").read_text()

    simulate(main)


class Test$class_(${stem}Contract):
    """Every rule of the contract becomes a test."""
'''

COMMAND = '''\
"""The command `gwctl $name`."""

from __future__ import annotations

import click


@click.command()
@click.argument("text")
def $name(text: str) -> None:
    """Say TEXT quietly."""
    click.echo(text.lower())
'''

COMMAND_TESTS = '''\
"""What `gwctl $name` prints."""

from __future__ import annotations

from click.testing import CliRunner

from $package.plugin import ghostwire_commands


def test_it_says_its_text_quietly() -> None:
    (command,) = ghostwire_commands()
    done = CliRunner().invoke(command.load(), ["HELLO"])
    assert (done.exit_code, done.output) == (0, "hello\\n")
'''
