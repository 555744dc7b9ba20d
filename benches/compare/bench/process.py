"""A proxy or an API as a process: started on a core, and what it takes."""

import pathlib
import random
import resource
import signal
import socket
import subprocess
import time


class Failed(Exception):
    """Why nothing can be measured."""


def free_port():
    """One below those that the system gives to outgoing connections, so that none of them takes it meanwhile."""
    while True:
        port = random.randrange(16_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


class Process:
    """A process and its children. Ends with `stop`."""

    def __init__(self, command, folder, core, port):
        self.command = [str(part) for part in command]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < 8192:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
        self.log = folder / "output.log"
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                ["taskset", "-c", str(core), *self.command], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.wait_for(port)

    def wait_for(self, port):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.01)
        self.stop()
        raise Failed(f"{' '.join(self.command)} doesn't listen:\n{self.told()}")

    def told(self):
        """The last of what it wrote."""
        return self.log.read_text(errors="replace")[-2000:]

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(3)
        except subprocess.TimeoutExpired:
            for pid in self.pids()[::-1]:
                subprocess.run(["kill", "-9", str(pid)], check=False)
            self.child.wait()

    def pids(self):
        """It and all below it."""
        found = [self.child.pid]
        for pid in found:
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
        return found

    def cpu(self):
        """Nanoseconds that its threads have been on a CPU, in the kernel and out of it."""
        total = 0
        for pid in self.pids():
            for statistics in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                total += int(statistics.read_text().split()[0])
        return total

    def memory(self):
        """KiB resident, pages that processes share counted once, and KiB that are its own."""
        wanted = {"Pss:": 0, "Private_Clean:": 0, "Private_Dirty:": 0}
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, *value = line.split()
                if name in wanted:
                    wanted[name] += int(value[0])
        return wanted["Pss:"], wanted["Private_Clean:"] + wanted["Private_Dirty:"]


def busy():
    """Nanoseconds that all cores have been busy, and those that a hypervisor took."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, soft, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + soft) * 10_000_000, steal * 10_000_000
