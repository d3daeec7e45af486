"""`unproject view`: files in an interactive viewer in the browser."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from ..errors import ArgumentError
from ..io.load import load
from .manners import Manners, Terminal


@dataclass(frozen=True, kw_only=True)
class Options:
    files: tyro.conf.Positional[tuple[Path, ...]]
    """Meshes and point clouds, shown in one scene."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 8080
    """First port to try."""
    seconds: float | None = None
    """Stop after this time instead of at Ctrl-C."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Serve the page until Ctrl-C."""
    from ..view.viewer import serve

    if not options.files:
        raise ArgumentError("name at least one file")
    server = serve({str(path): load(path) for path in options.files}, host=options.host, port=options.port)
    address = f"http://{server.get_host()}:{server.get_port()}"
    terminal.note(f"{address}  (Ctrl-C ends it)")
    begin = time.monotonic()
    try:
        while options.seconds is None or time.monotonic() - begin < options.seconds:
            time.sleep(0.1)
    except KeyboardInterrupt:
        terminal.note("ended")
    finally:
        server.stop()
    return {"address": address, "files": [str(path) for path in options.files]}
