"""A labelling station that speaks OPC UA, as a process: `python -m tests.support.opcua_station HOST PORT FOLDER`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from asyncua import Server, ua

from industrial.security import ensure_identity


async def serve(host: str, port: int, folder: Path) -> None:
    """Serve until told to stop; labels are counted up while `run` is true."""
    own = ensure_identity(folder, "labelling-station")
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://{host}:{port}/")
    await server.load_certificate(str(own.certificate))
    await server.load_private_key(str(own.key))
    await server.set_application_uri(own.uri)
    # As most are delivered: whoever asks may look without protection; a controller insists on it.
    server.set_security_policy(
        [
            ua.SecurityPolicyType.NoSecurity,
            ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
        ]
    )
    index = await server.register_namespace("urn:sample-works:labelling")
    station = await server.nodes.objects.add_object(ua.NodeId("station", index), "Labelling")
    labels = await station.add_variable(
        ua.NodeId("labels", index), "labels", ua.Variant(0, ua.VariantType.Int16)
    )
    run = await station.add_variable(
        ua.NodeId("run", index), "run", ua.Variant(False, ua.VariantType.Boolean)
    )
    await run.set_writable()
    async with server:
        count = 0
        while True:
            await asyncio.sleep(0.2)
            if await run.read_value():
                count = (count + 1) % 30_000
                await labels.write_value(ua.Variant(count, ua.VariantType.Int16))


def main() -> None:
    """The process."""
    host, port, folder = sys.argv[1:]

    async def until_told() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await serve(host, int(port), Path(folder))

    asyncio.run(until_told())


if __name__ == "__main__":
    main()
