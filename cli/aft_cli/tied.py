"""`python tied.py PARENT COMMAND…` becomes COMMAND and ends when PARENT does; run as a file, it starts at once.

The parent cannot arrange this between fork and exec: running Python there is unsafe once the parent has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask Linux for SIGTERM at the parent's death, then hand the process over."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we could ask
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the command is our parent's own


if __name__ == "__main__":
    main()
