"""No connections but to this machine: Python imports this file when it starts.

`conftest.py` puts this folder at the front of PYTHONPATH, so that every Python that the tests start
(notebook kernels, pytest's workers, other commands) stands offline, as a student on a train does.
Connections made by Python's own sockets are refused; a library that opens its own is not seen.
It also looks for garbage less often: torch's imports make millions of objects, and each of the
suite's many processes imports it; that saves a sixth of the time.
"""

import gc
import ipaddress
import os
import socket
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def is_local(host):
    """Whether `host`, a name or an address, is this machine."""
    if isinstance(host, bytes):
        host = host.decode()
    if not host or host.lower() in ("localhost", "localhost.localdomain", socket.gethostname()):
        return True  # an empty host means "any address of mine"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name
        return False
    return address.is_loopback or address.is_unspecified


def refuse(host):
    raise OSError(f"the tests run without a network: {host!r} is not this machine")


def block():
    """Refuse names and addresses of other machines, in this process from now on."""
    if hasattr(socket, "blocked_by_the_tests"):
        return
    socket.blocked_by_the_tests = True

    def guard_lookup(lookup):
        def guarded(host, *args, **kwargs):
            return lookup(host, *args, **kwargs) if is_local(host) else refuse(host)

        return guarded

    def guard_connect(connect):
        def guarded(self, address):
            # Other families, such as AF_UNIX, stay on this machine.
            if self.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address[0]):
                refuse(address[0])
            return connect(self, address)

        return guarded

    # socket.create_connection looks its host up first, so it is guarded too.
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        setattr(socket, name, guard_lookup(getattr(socket, name)))
    for name in ("connect", "connect_ex"):
        setattr(socket.socket, name, guard_connect(getattr(socket.socket, name)))


def run_hidden_one():
    """Run the sitecustomize that Python would have found without this one, if there is one."""
    here = os.path.realpath(os.path.dirname(__file__))
    others = [folder for folder in sys.path if os.path.realpath(folder) != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None:
        spec.loader.exec_module(module_from_spec(spec))


block()
gc.set_threshold(50_000, 20, 20)
if __name__ == "sitecustomize":  # and not loaded by conftest.py, in a Python that runs already
    run_hidden_one()
