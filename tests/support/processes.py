"""What runs on this machine: the modules of an edge device, what a process has started, and what is left of it."""

import os
import pathlib
from collections import namedtuple

# The time a process started tells it from a later one with the same id.
Process = namedtuple("Process", "pid started")

STATE = "IRONBROOK_STATE_DIR"
MODULE = "IOTEDGE_MODULEID"


def _stat(pid):
    """(parent, started), or None for one that has ended."""
    try:
        # The name before it is in parentheses and may hold anything.
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (int(fields[1]), int(fields[19]))


def _living():
    found = {int(name): _stat(name) for name in os.listdir("/proc") if name.isdigit()}
    return {pid: stat for pid, stat in found.items() if stat}


def tree(pid):
    """A process with all that it started."""
    living = _living()
    found = {pid} & living.keys()
    while True:
        more = {child for child, (parent, _) in living.items() if parent in found} - found
        if not more:
            return {Process(pid, living[pid][1]) for pid in found}
        found |= more


def alive(processes):
    """Those of some processes that have not ended."""
    living = _living()
    return {process for process in processes if living.get(process.pid, (None, None))[1] == process.started}


def _environment(pid):
    try:
        raw = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in raw.split(b"\0"))
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, _, value in pairs}


def modules(data_dir):
    """The module processes of an edge device, found by what each was given: {module: {process, ...}}."""
    found = {}
    for pid, (_, started) in _living().items():
        variables = _environment(pid)
        if pathlib.Path(data_dir) in pathlib.Path(variables.get(STATE, "/")).parents:
            found.setdefault(variables.get(MODULE), set()).add(Process(pid, started))
    return found


def of_module(data_dir, name):
    """The one process of a module."""
    found = modules(data_dir).get(name, set())
    assert len(found) == 1, f"{name} has processes {found}"
    return next(iter(found))
