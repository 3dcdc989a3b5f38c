"""The process that decodes a spool, which a test fills."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retis_py.cli.outputs import Outputs
from retis_py.collect.channel import Channel, Go, Ready
from retis_py.collect.decoder_process import DecoderProcess
from retis_py.collect.decoding import Decoding
from retis_py.collect.drain import Drainer
from retis_py.collect.json_decode import JsonDecoder
from retis_py.collect.known_probes import KnownProbes
from retis_py.collect.own_symbols import OwnSymbols
from retis_py.collect.plan import Plan
from retis_py.collect.spool import Spool
from unit.collect.spools import Ring, new_spool, record


class Decoder:
    """A decoder of a spool whose ring the test fills."""

    def __init__(self, path: Path, spool: Spool, plan: Plan, options: dict[str, Any]) -> None:
        self.path, self.spool = path, spool
        self.ring = Ring()
        self.drainer = Drainer(spool, [self.ring], 1 << 20, KnownProbes(()))

        def decode(channel: Channel) -> int:
            symbols = OwnSymbols(hex)
            outputs = Outputs(path, None, None)
            decoder = JsonDecoder(plan.program.parts, plan.probes, symbols.resolve)
            Decoding(
                spool,
                channel,
                decoder,
                outputs,
                symbols=symbols,
                give_up_privileges=lambda: None,
                **options,
            ).run()
            outputs.close()
            return 0

        self.process = DecoderProcess(decode, [spool.descriptor])

    def start(self) -> None:
        self.process.channel.send(Go())
        assert isinstance(self.process.receive(10), Ready)

    def add(self, *numbers: int) -> None:
        # Times in the past, or they would have to wait.
        self.ring.add(*[record(number, number) for number in numbers])
        self.drainer.round()

    def finish(self) -> None:
        self.spool.control.finished = True
        while not self.process.done:
            self.process.receive(10)
        self.process.close()

    @property
    def lines(self) -> int:
        return self.path.read_bytes().count(b"\n") - 1


@contextmanager
def decoding(path: Path, plan: Plan, *, started: bool = True, **options: Any) -> Iterator[Decoder]:
    with new_spool(path, plan, 1, 8 << 20) as spool:
        decoder = Decoder(path, spool, plan, options)
        try:
            if started:
                decoder.start()
            yield decoder
        finally:
            decoder.process.close()
