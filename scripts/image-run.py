"""Runs a program of an unpacked image as a container runtime would: image-run.py ROOT CONFIG [ARGUMENT...]

CONFIG is the image's configuration (JSON, OCI), of which user, environment, entry point and folder are taken. The root
is read-only, the working folder an empty one in memory, /dev has what every container has; no capability, no new
privileges. The network is this machine's. Needs root, in a mount and process namespace of its own:

    unshare --mount --pid --fork --kill-child python3 scripts/image-run.py …
"""

import ctypes
import json
import os
import subprocess
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_CAPBSET_DROP = 24
CAPABILITIES = 64


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def main(root, config, arguments):
    user, _, group = config["User"].partition(":")
    folder = config.get("WorkingDir") or "/"
    environment = dict(pair.split("=", 1) for pair in config["Env"])

    mount("--bind", root, root)
    mount("-o", "remount,bind,ro", root)
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/dev")
    for device in ["null", "zero", "random", "urandom"]:
        open(f"{root}/dev/{device}", "w", encoding="utf-8").close()
        mount("--bind", f"/dev/{device}", f"{root}/dev/{device}")
    mount("-t", "tmpfs", "-o", f"mode=755,uid={user},gid={group}", "tmpfs", root + folder)

    os.chroot(root)
    os.chdir(folder)
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(CAPABILITIES):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
    command = [*config["Entrypoint"], *arguments]
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    _, place, said, *rest = sys.argv
    main(os.path.realpath(place), json.loads(said), rest)
