"""Run one command and print its seconds and peak memory as JSON: `python -I -S launch.py WORD...`

A separate, small program, because Linux counts the memory of the parent process
as the first memory of that process: less than about 15 MB of a peak may be this launcher's.
Processes that the command leaves behind, such as the server that forks its workers, become
children of this one, so that their memory counts too. They end outside the timed window.
"""

import ctypes
import json
import os
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main(command: list[str]) -> None:
    adopt_orphans()
    silence = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    begin = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[silence])
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin

    usages = [usage]  # each includes the children for which that process has waited
    while True:
        try:
            usages.append(os.wait3(0)[2])
        except ChildProcessError:
            break
    unit = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss
    result = {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu": sum(usage.ru_utime + usage.ru_stime for usage in usages),
        "peak": max(usage.ru_maxrss for usage in usages) * unit,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
