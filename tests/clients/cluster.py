"""Three real nodes as child processes, on free ports, in a directory of their own."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time


def free_ports(count):
    """Ports that were free a moment ago; held together, so that all differ."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """`with Cluster(binary) as cluster:` starts it and leaves nothing behind."""

    SIZE = 3

    def __init__(self, binary):
        self.binary = binary
        ports = free_ports(2 * self.SIZE)
        self.raft = [f"127.0.0.1:{port}" for port in ports[: self.SIZE]]
        self.endpoints = [f"127.0.0.1:{port}" for port in ports[self.SIZE :]]
        self.nodes = []

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="raftkv-clients-")
        for number in range(self.SIZE):
            self.nodes.append(self.start(number))
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            # SIGTERM waits while a process is stopped.
            node.send_signal(signal.SIGCONT)
            node.terminate()
        for node in self.nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(timeout=10)
            node.kill()
            node.wait()
        self.directory.cleanup()

    def start(self, number):
        peers = ",".join(f"{i}@{address}" for i, address in enumerate(self.raft))
        directory = os.path.join(self.directory.name, str(number))
        with open(directory + ".log", "ab") as log:
            return subprocess.Popen(
                [
                    self.binary,
                    *("--node-id", str(number), "--peers", peers),
                    *("--raft-listen", self.raft[number]),
                    *("--kv-listen", self.endpoints[number], "--data-dir", directory),
                ],
                stdout=log,
                stderr=log,
            )

    def await_leader(self, put):
        """Asks each node to put until one does, and gives its number."""
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            for number, endpoint in enumerate(self.endpoints):
                if self.nodes[number].poll() is None and put(endpoint):
                    return number
            time.sleep(0.05)
        raise AssertionError(f"no leader within 20 s; logs: {self.logs()}")

    def logs(self):
        texts = []
        for number in range(self.SIZE):
            path = os.path.join(self.directory.name, f"{number}.log")
            with open(path, encoding="utf-8", errors="replace") as log:
                texts.append(f"node {number}: {log.read()[-2000:]}")
        return "\n".join(texts)
