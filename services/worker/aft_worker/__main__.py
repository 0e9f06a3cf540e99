"""`python -m aft_worker`."""

from aft_worker.main import serve
from aft_worker.settings import WorkerSettings

if __name__ == "__main__":
    serve(WorkerSettings())
