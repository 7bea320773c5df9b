"""The program that `evals.sandbox.runner` starts: it locks itself in, then runs the code.

Standard input is one JSON object: {"code", "limits", "token", "root"}. The steps, in this order,
because each needs the rights that the next ones take away:

    namespaces         own users, mounts, network, processes
    root               a read-only copy of the system's libraries and a small /tmp; the rest is gone
    first process      everything started later dies with it
    limits             CPU, memory, files, threads
    no rights          every capability dropped
    system-call filter no new process, socket, mount or namespace
    the code           and, if it ends without an exception, the token on descriptor 3

The code cannot know the token, so it cannot claim to have passed by printing or by leaving early.
Standard library only, and no import of ours: nothing else may be open when the code runs.

Exit status: 0 the cell was made (whatever the code did); 70 it could not be made, with the reason
on standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

NO_CELL = 70
_TOKEN_FD = 3
# Numbers of the Linux kernel: include/uapi/linux/sched.h, mount.h, seccomp.h, and the system calls
# of asm/unistd.h.
_NEW_MOUNT, _NEW_UTS, _NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NET = (
    *(0x00020000, 0x04000000, 0x08000000),
    *(0x10000000, 0x20000000, 0x40000000),
)
_BIND, _RECURSIVE, _PRIVATE, _DETACH = 0x1000, 0x4000, 0x40000, 2
_NO_SUID, _NO_DEV = 2, 4
_ATTR_READ_ONLY, _ATTR_NO_SUID, _ATTR_NO_DEV = 1, 2, 4
_AT_CWD, _AT_RECURSIVE = -100, 0x8000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin")

# System calls that are refused, by number: they would start a process, open a socket, change a
# mount or a namespace, or reach into the kernel.
_DENIED = {
    "x86_64": (
        *(41, 53, 57, 58, 59, 322),  # socket, socketpair, fork, vfork, execve, execveat
        *(101, 165, 166, 155, 161, 272, 308),  # ptrace, mount, umount2, pivot_root, chroot, ...
        *(321, 323, 298, 248, 249, 250, 246, 175, 313),  # bpf, userfaultfd, perf, keys, modules
        *(425, 428, 429, 430, 442, 310, 311),  # io_uring, new mount calls, process memory
    ),
    "aarch64": (
        *(198, 199, 221, 281, 117, 40, 39, 41, 51, 97, 268),
        *(280, 282, 241, 217, 218, 219, 104, 105, 273),
        *(425, 428, 429, 430, 442, 270, 271),
    ),
}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3, _CLONE_THREAD = 435, 0x00010000
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP_FILTER, _SET_SECCOMP, _NO_NEW_PRIVS, _DROP_BOUND = 2, 22, 38, 24
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Makes the cell and runs the code in a process inside it."""
    job = json.loads(sys.stdin.buffer.read())
    machine = platform.machine()
    try:
        if machine not in _ARCH:
            raise OSError(f"no system-call filter for {machine}")
        _enter_namespaces()
        _make_root(job["root"], machine)
        init = os.fork()  # the first process of the new namespace
    except OSError as error:
        print(error, file=sys.stderr)
        return NO_CELL
    if init == 0:
        os._exit(_be_init(job, machine))
    status = os.waitstatus_to_exitcode(os.waitpid(init, 0)[1])
    return NO_CELL if status == NO_CELL else 0


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _enter_namespaces() -> None:
    """Leaves the host's users, mounts, network and processes. Inside, the caller is root; outside
    it stays who it was.
    """
    user, group = os.getuid(), os.getgid()
    flags = _NEW_USER | _NEW_MOUNT | _NEW_NET | _NEW_PID | _NEW_IPC | _NEW_UTS
    _check(_libc.unshare(flags), "unshare")
    # The kernel demands this before an unprivileged process may map its group; older ones lack it.
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    names = (ctypes.c_char_p(text.encode() or None) for text in (source, target, kind))
    result = _libc.mount(*names, ctypes.c_ulong(flags), options.encode() or None)
    _check(result, f"mount {target}")


def _make_root(root: str, machine: str) -> None:
    """Makes a root with the system's libraries and the interpreter, read-only, and a /tmp of its
    own; then makes it the only root there is.
    """
    _mount("", "/", "", _RECURSIVE | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NO_SUID | _NO_DEV, "size=16m,mode=755")
    for path in dict.fromkeys((*_SYSTEM, os.path.realpath(sys.base_prefix), sys.base_prefix)):
        inside = Path(root + path)
        inside.parent.mkdir(parents=True, exist_ok=True)
        if Path(path).is_symlink():
            inside.symlink_to(os.readlink(path))
        elif Path(path).is_dir() and not inside.exists():
            inside.mkdir()
            _mount(path, str(inside), "", _BIND | _RECURSIVE)
    (Path(root) / "tmp").mkdir()
    attributes = struct.pack("=QQQQ", _ATTR_READ_ONLY | _ATTR_NO_SUID | _ATTR_NO_DEV, 0, 0, 0)
    result = _libc.syscall(
        *(_MOUNT_SETATTR, _AT_CWD, root.encode(), _AT_RECURSIVE),
        *(attributes, ctypes.c_size_t(len(attributes))),
    )
    _check(result, "read-only root")
    _mount("tmpfs", f"{root}/tmp", "tmpfs", _NO_SUID | _NO_DEV, "size=16m,mode=700")
    os.chdir(root)
    # pivot_root(".", ".") puts the old root on top of the new one, and umount takes it off: no
    # folder for the old root is needed (pivot_root(2), "NOTES").
    _check(_libc.syscall(_PIVOT_ROOT[machine], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount the old root")
    os.chdir("/tmp")


def _be_init(job: Mapping[str, object], machine: str) -> int:
    """The first process of the new process namespace: runs the code in a child. When it ends, the
    kernel kills every process that the code left behind.
    """
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: ends with its parent
    child = os.fork()
    if child == 0:
        try:
            _limit(job["limits"])  # type: ignore[arg-type]
            _drop_rights()
            _filter_calls(machine)
        except (OSError, ValueError) as error:
            os.write(2, f"{error}\n".encode())
            os._exit(NO_CELL)
        os._exit(_run(str(job["code"]), str(job["token"])))
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            return NO_CELL if os.waitstatus_to_exitcode(status) == NO_CELL else 0


def _limit(limits: Mapping[str, int]) -> None:
    """Sets the resource limits; a hard limit that is lower already stays."""
    for name, value in (
        ("RLIMIT_CPU", limits["cpu_s"]),
        ("RLIMIT_AS", limits["memory_bytes"]),
        ("RLIMIT_FSIZE", limits["file_bytes"]),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_NPROC", limits["threads"]),
        ("RLIMIT_CORE", 0),
    ):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _drop_rights() -> None:
    """Drops every capability, so that no later call can get one back."""
    for capability in range(64):
        _libc.prctl(
            _DROP_BOUND, capability, 0, 0, 0
        )  # beyond the last capability it fails, which is fine
    _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    _check(_libc.capset(header, none), "capset")


def _filter_calls(machine: str) -> None:
    """Installs the system-call filter (classic BPF: code, jump if true, jump if false, value)."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    program = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, _ARCH[machine]),
        (give, 0, 0, _ERRNO | _EPERM),
        (load, 0, 0, 0),  # the call's number
        (at_least, 0, 1, 0x40000000),  # x32 calls
        (give, 0, 0, _ERRNO | _EPERM),
        (equal, 0, 1, _CLONE3),  # its flags cannot be seen: libc falls back on clone
        (give, 0, 0, _ERRNO | _ENOSYS),
        (equal, 0, 4, _CLONE[machine]),
        (load, 0, 0, 16),  # the low half of the flags
        (any_bit, 1, 0, _CLONE_THREAD),
        (give, 0, 0, _ERRNO | _EPERM),
        (give, 0, 0, _ALLOW),
    ]
    for number in _DENIED[machine]:
        program += [(equal, 0, 1, number), (give, 0, 0, _ERRNO | _EPERM)]
    program.append((give, 0, 0, _ALLOW))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    _check(_libc.prctl(_SET_SECCOMP, _SECCOMP_FILTER, head, 0, 0), "system-call filter")


def _run(code: str, token: str) -> int:
    """Runs the code, and writes the token only if it ended without an exception."""
    silence = os.memfd_create("output")
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    try:
        exec(compile(code, "<answer>", "exec"), {"__name__": "__main__"})
    except BaseException:
        return 0
    os.write(_TOKEN_FD, token.encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
