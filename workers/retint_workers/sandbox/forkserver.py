"""The process that children are forked from.

It has what they need (modules loaded, code compiled) and nothing else: the environment that it is started with holds no
secrets, it has left the networks where it may, and its only open descriptor is the socket of the process that started
it. It ends when that socket is closed, and ends its children.

A message on the socket is a pickle: the number and the access of a new child, a module that it needs, and a folder for
its temporary files, with the descriptors of its connection, its output and its status; or the number of a child to
kill. As a child ends, its exit code is written to its status.
"""

import importlib
import os
import pickle
import select
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress

from retint_workers.sandbox import compiled, confinement, serving
from retint_workers.sandbox.access import Access

REQUEST_BYTES = 1 << 18
STATUS = struct.Struct("=i")
FIRST_DESCRIPTOR = 3
"""Those before are the standard ones."""


class ForkServer:
    """The server's loop."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, tuple[int, int]] = {}
        """Number and status descriptor by process id."""
        self._woken, wake = socket.socketpair()
        for end in (self._woken, wake):
            end.setblocking(False)
        self._wake = wake
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Fork children until the control socket is closed, then kill those that are left."""
        while self._take_request():
            pass
        for process_id in self._children:
            os.kill(process_id, signal.SIGKILL)

    def _take_request(self) -> bool:
        """Wait for a request or for the end of a child; return whether to go on."""
        ready, _, _ = select.select([self._control, self._woken], [], [])
        if self._woken in ready:
            self._woken.recv(1 << 12)
            self._reap()
        if self._control not in ready:
            return True
        message, descriptors, _, _ = socket.recv_fds(self._control, REQUEST_BYTES, 3)
        if not message:
            return False
        request = pickle.loads(message)  # noqa: S301  from the process that started this one
        if isinstance(request, int):
            for process_id, (number, _) in self._children.items():
                if number == request:
                    os.kill(process_id, signal.SIGKILL)
        else:
            self._fork(request, descriptors)
        return True

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                _, status = self._children.pop(ended[0])
                with suppress(OSError):  # nobody waits for it any more
                    os.write(status, STATUS.pack(os.waitstatus_to_exitcode(ended[1])))
                os.close(status)

    def _fork(self, request: tuple[int, Access, str, str], descriptors: list[int]) -> None:
        number, access, module, folder = request
        connection, output, status = descriptors
        try:
            importlib.import_module(module)
            compiled.warm_up()
            process_id = os.fork()
        except Exception:  # noqa: BLE001  the parent reads why, and that the child ended
            os.write(output, traceback.format_exc().encode())
            os.close(status)
        else:
            if process_id == 0:
                _become_child(connection, output, access, folder)
            self._children[process_id] = number, status
        os.close(connection)
        os.close(output)


def _become_child(connection: int, output: int, access: Access, folder: str) -> None:
    """Run in the forked process; never returns."""
    code = 1
    try:
        confinement.die_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for standard in (1, 2):
            os.dup2(output, standard)
        os.dup2(connection, FIRST_DESCRIPTOR)
        os.closerange(FIRST_DESCRIPTOR + 1, os.sysconf("SC_OPEN_MAX"))
        serving.serve(socket.socket(fileno=FIRST_DESCRIPTOR), access, folder)
        code = 0
    except BaseException:  # noqa: BLE001  whatever it is, no code of the server's may run in this process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Serve the process that started this one."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # they reach whole groups; the parent decides
        signal.signal(number, signal.SIG_IGN)
    confinement.leave_network()
    ForkServer(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
