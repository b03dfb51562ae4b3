"""What the benchmark scripts share: timing ours and the peer's in turns, the table, and the Linux guest."""
import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from qmp import Qmp  # noqa: E402

MIB = 1 << 20
GIB = 1 << 30


class Timed:
    """One run of a program: wall clock and processor time in seconds, peak resident set in bytes, its standard output."""

    def __init__(self, command, status=(0,), **options):
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, **options)
        self.output = process.stdout.read()
        _, code, usage = os.wait4(process.pid, 0)
        self.wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(code)
        self.cpu = usage.ru_utime + usage.ru_stime
        self.resident = usage.ru_maxrss * 1024
        if process.returncode not in status:
            raise SystemExit(f"{' '.join(map(str, command))}: exit status {process.returncode}")


class Table:
    """Rows in Markdown, written as they come to standard error, and at the end as a table to standard output."""

    def __init__(self, rounds, ours="gcore"):
        self.rounds, self.ours = rounds, ours
        self.rows, self.loads = [], [os.getloadavg()[0]]

    def row(self, work, ours, theirs, ratio, target, met=None):
        """`met` None: a figure without a target."""
        self.loads.append(os.getloadavg()[0])
        word, said = {None: ("-", ""), True: ("yes", "; met"), False: ("**no**", "; MISSED")}[met]
        self.rows.append((work, ours, theirs, ratio, target, word))
        print(f"{work}: {ours}; {theirs}; {ratio}{said}", file=sys.stderr, flush=True)

    def turns(self, *works):
        """Runs each work once a round, in turns, so that all meet the same noise. Lists of their results."""
        results = [[] for _ in works]
        for _ in range(self.rounds):
            for work, result in zip(works, results):
                result.append(work())
        return results

    def compare(self, work, peer, ours, theirs, least=None, unit="s", note=""):
        """Medians of two functions that return seconds (or ms, or ns): ours is at least `least` times as fast."""
        own, other = (statistics.median(r) for r in self.turns(ours, theirs))
        digits = 3 if unit == "s" else 2
        self.row(work, f"{own:.{digits}f} {unit}{note}", f"{peer}: {other:.{digits}f} {unit}", f"{other / own:.2f} x as fast",
                 f">= {least} x" if least else "-", other / own >= least if least else None)
        return own, other

    def limit(self, work, value, unit, most, peer="-"):
        """A figure with an upper bound."""
        self.row(work, f"{value:.3g} {unit}", peer, "-", f"<= {most} {unit}", value <= most)

    def print(self):
        model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
        kernel = ".".join(os.uname().release.split(".")[:2])
        print(f"{os.cpu_count()} cores, {model}, Linux {kernel}, {time.strftime('%Y-%m-%d')}, "
              f"load {min(self.loads):.1f} to {max(self.loads):.1f}, medians of {self.rounds}\n")
        print(f"| work | {self.ours} | peer | ratio | target | met |\n|---|---|---|---|---|---|")
        for row in self.rows:
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")


class Folders:
    """A folder in memory and one on disk, removed at the end."""

    def __init__(self, memory="/dev/shm", scratch=None):
        self.memory = tempfile.mkdtemp(prefix="gcore-bench-", dir=memory)
        self.scratch = tempfile.mkdtemp(prefix="gcore-bench-", dir=scratch or os.environ.get("TMPDIR", "/tmp"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.memory, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)


class Qemu:
    """The Linux guest of tests/guests/linux, x86_64, emulated, its RAM in a file of `folder`, or `private`, as QEMU has it by default.
    It has one more `program` in /bin."""

    def __init__(self, folder, memory="1G", *options, private=False, program=None):
        subprocess.run(["tests/guests/linux", "x86_64"], check=True)
        self.ram, self.socket = os.path.join(folder, "ram"), os.path.join(folder, "qmp")
        files = "build/guests/linux-x86_64/"
        initrd = files + "initrd.gz"
        if program:
            initrd = os.path.join(folder, "initrd")
            os.makedirs(os.path.join(folder, "bin"))
            shutil.copy(program, os.path.join(folder, "bin"))
            pack = 'cd "$1" && { cat "$2"; find bin | cpio --create --format=newc --quiet | gzip -1; } >initrd'
            subprocess.run(["sh", "-c", pack, "pack", folder, os.path.abspath(files + "initrd.gz")], check=True)
        backend = ["-machine", "q35"] if private else [
            "-machine", "q35,memory-backend=mem", "-object", f"memory-backend-file,id=mem,size={memory},mem-path={self.ram},share=on"]
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", *backend, "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", memory,
             "-kernel", files + "vmlinuz", "-initrd", initrd, "-append", "console=ttyS0", "-nographic", "-nodefaults",
             "-no-user-config", "-serial", "stdio", "-qmp", f"unix:{self.socket},server=on,wait=off",
             "-device", "vmcoreinfo", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.wait_for(b"gcore-guest-ready")

    def wait_for(self, text):
        """Reads the guest's console up to the next line with this text."""
        for line in self.process.stdout:
            if text in line:
                return
        raise SystemExit(f"the Linux guest did not say {text.decode()}")

    def type(self, line):
        """A line of shell for the guest."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.process.kill()
        self.process.wait()

    def command(self, name, **arguments):
        """One command on a connection of its own: QEMU serves one client at a time."""
        with contextlib.closing(Qmp(self.socket)) as connection:
            return connection.command(name, **arguments)
