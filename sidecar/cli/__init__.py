"""The command `sidecar`: one file a verb, no logic beyond arguments and printing.

Exit codes: 0 done, 1 failed while running, 2 wrong usage, 3 looked and found a difference, 78 bad configuration
(EX_CONFIG of sysexits.h), 130 and 143 ended at once by SIGINT and SIGTERM. Data goes to standard output, talk to
standard error.
"""

from sidecar.cli.command import main

__all__ = ["main"]
