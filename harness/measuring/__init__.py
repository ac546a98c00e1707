"""Latency, memory, operations and machine state: figures that survive a hostile reader."""
