"""`python -m benchmarks.simulated_worker --port N`: serves a simulated worker in the foreground."""

import argparse
import sys

import uvicorn

from benchmarks.simulated_worker.server import SimulatedApp
from benchmarks.simulated_worker.worker import SimulatedWorker


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulated_worker", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--window-s", type=float, nargs=2, default=(0.5, 2.0), metavar=("SHORTEST", "LONGEST"))
    arguments = parser.parse_args()
    app = SimulatedApp(SimulatedWorker(window_s=tuple(arguments.window_s)))
    uvicorn.run(
        app, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False, lifespan="off", backlog=4096
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
