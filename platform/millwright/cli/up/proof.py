"""Step: proof that it controls: level over Modbus and OPC UA, the valve cycling, scans in Prometheus.

Asked from this machine's own address in the cell, as an engineering station would, with clients that are
not the vPLC's own code.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import httpx
from asyncua import Client, ua
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from millwright.cli.client import wait_for
from millwright.cli.errors import CliError

from .steps import Done, Plan

#: Holding registers of the example: level, valve, bottles, set-point.
LEVEL, VALVE, BOTTLES, SETPOINT = range(4)
#: The valve cycles once a bottle; several fillings fit into this.
CYCLE_LIMIT_S = 180.0


def read_registers(address: str, port: int, count: int = 4) -> list[int]:
    """Holding registers from 0.

    Raises:
        CliError: no answer, or a refusal.
    """
    client = ModbusTcpClient(address, port=port, timeout=3, retries=1)
    try:
        if not client.connect():
            raise CliError(f"Modbus at {address}:{port}: no connection")
        answer = client.read_holding_registers(0, count=count, device_id=1)
        if answer.isError():
            raise CliError(f"Modbus at {address}:{port}: {answer}")
        return list(answer.registers)
    except ModbusException as error:
        raise CliError(f"Modbus at {address}:{port}: {error}") from None
    finally:
        client.close()


# It warns of every session that lasts shorter than it asked for, which is of no use to people here.
logging.getLogger("asyncua").setLevel(logging.ERROR)


async def find_tag(url: str, tag: str) -> tuple[str, Any]:
    """Browse the server for a variable whose id or name ends with the tag; its node id and value."""
    async with Client(url, timeout=10) as client:
        waiting = [client.nodes.objects]
        seen = 0
        while waiting and seen < 5000:
            node = waiting.pop(0)
            for child in await node.get_children():
                seen += 1
                if child.nodeid.NamespaceIndex == 0:
                    continue
                kind = await child.read_node_class()
                if kind == ua.NodeClass.Variable:
                    if str(child.nodeid.Identifier).lower().endswith(tag.lower()):
                        return child.nodeid.to_string(), await child.read_value()
                else:
                    waiting.append(child)
    raise CliError(f"OPC UA at {url}: no variable {tag}")


def prove(plan: Plan) -> Done:
    """Ask; every answer must fit the others."""
    machine = plan.facts["machine"]
    address, _, port = machine["modbus"].rpartition(":")

    def level_is_there() -> list[int] | None:
        try:
            found = read_registers(address, int(port))
        except CliError:
            return None
        return found if found[LEVEL] > 0 else None

    registers = wait_for(
        level_is_there, limit_s=120, what=f"a level over Modbus at {machine['modbus']}"
    )
    plan.say(
        f"Modbus {machine['modbus']}: level {registers[LEVEL] / 100:.2f} %, valve {'open' if registers[VALVE] else 'closed'}, "
        f"{registers[BOTTLES]} bottles, set-point {registers[SETPOINT] / 100:.2f} %"
    )
    try:
        node, value = asyncio.run(_with_patience(machine["opcua"], "level"))
    except (OSError, TimeoutError, ua.UaError) as error:
        raise CliError(f"OPC UA at {machine['opcua']}: {error or type(error).__name__}") from None
    plan.say(f"OPC UA {machine['opcua']}: {node} = {value}")
    states, seconds = _valve_cycle(address, int(port))
    plan.say(
        f"the valve went {' → '.join('open' if state else 'closed' for state in states)} in {seconds:.1f} s"
    )
    rate = _scans(plan)
    plan.say(f"Prometheus: {rate:.0f} scans a second")
    return Done.of(detail="level, valve and scans agree")


async def _with_patience(url: str, tag: str, limit_s: float = 90.0) -> tuple[str, Any]:
    """OPC UA starts after Modbus: try until it answers."""
    end = time.monotonic() + limit_s
    while True:
        try:
            return await asyncio.wait_for(find_tag(url, tag), 30)
        except (OSError, TimeoutError, ua.UaError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(1)


def _valve_cycle(address: str, port: int) -> tuple[list[int], float]:
    """Watch the valve until it has been in both states and back."""
    started = time.monotonic()
    states: list[int] = []

    def cycled() -> bool:
        state = int(read_registers(address, port)[VALVE] != 0)
        if not states or states[-1] != state:
            states.append(state)
        return len(states) >= 3

    wait_for(cycled, limit_s=CYCLE_LIMIT_S, what="the valve to open and close", every_s=0.2)
    return states, time.monotonic() - started


def _scans(plan: Plan) -> float:
    """Scans a second, as Prometheus counted them.

    Raises:
        CliError: it has none.
    """
    url = f"http://127.0.0.1:{plan.settings.prometheus_port}/api/v1/query"
    query = f'sum(rate(vplc_scans_total{{environment="{plan.environment}"}}[30s]))'

    def rate() -> float | None:
        try:
            rows = httpx.get(url, params={"query": query}, timeout=5, trust_env=False).json()[
                "data"
            ]["result"]
        except (httpx.HTTPError, ValueError, KeyError):
            return None
        found = float(rows[0]["value"][1]) if rows else 0.0
        return found or None

    return float(wait_for(rate, limit_s=90, what="the scan counter in Prometheus", every_s=1.0))
