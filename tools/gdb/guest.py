"""gdb commands for memory dumps of virtual machines.

    (gdb) source /usr/local/share/gcore/gdb/guest.py
    (gdb) guest open guest.gcore
    (gdb) guest vcpus

`guest open` starts gcore-serve on the dump and connects to it; the server ends with the connection. `help guest` lists the rest.
gdb's own commands, `gcore` among them, stay what they are. Needs gdb 12 or later with Python.
"""
import gzip
import os
import re
import runpy
import shlex
import shutil
import struct
import tempfile

import gdb
import gdb.unwinder
from gdb.FrameDecorator import FrameDecorator

# e_machine of a dump, and what gdb calls that machine.
MACHINES = {3: "i386", 6: "i386", 62: "i386:x86-64", 183: "aarch64"}
SERVER = "gcore-serve"
# PREFIX/share/gcore/gdb/guest.py and PREFIX/bin/gcore-serve. gdb sets __file__ only while it reads this file.
HERE = os.path.dirname(os.path.realpath(__file__))
BESIDE = os.path.normpath(os.path.join(HERE, "../../../bin", SERVER))


class GuestServer(gdb.Parameter):
    """The gcore-serve program that `guest open` starts.
Empty: the one installed beside this script, else the one in PATH."""

    set_doc = "Set the gcore-serve program that `guest open` starts."
    show_doc = "Show the gcore-serve program that `guest open` starts."

    def __init__(self):
        super().__init__("guest-server", gdb.COMMAND_FILES, gdb.PARAM_OPTIONAL_FILENAME)
        self.value = ""

    def get_set_string(self):
        return ""

    def get_show_string(self, value):
        return "The server is %s." % (value or "the one beside this script, else the one in PATH")


server_parameter = GuestServer()


def find_server():
    """Path of gcore-serve; an error says where it was looked for."""
    if server_parameter.value:
        path = os.path.expanduser(server_parameter.value)
        if not os.access(path, os.X_OK) or os.path.isdir(path):
            raise gdb.GdbError("guest open: %s, which guest-server names, is no program" % path)
        return path
    if os.access(BESIDE, os.X_OK):
        return BESIDE
    found = shutil.which(SERVER)
    if found:
        return found
    raise gdb.GdbError("guest open: %s is neither at %s nor in PATH; `set guest-server PATH` names it"
                       % (SERVER, BESIDE))


def machine_of(path):
    """What gdb calls the dump's machine; None where that cannot be told without unpacking it."""
    try:
        with open(path, "rb") as file:
            head = file.read(20)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                head = file.read(20)
    except (OSError, EOFError) as error:
        raise gdb.GdbError("guest open: cannot read %s: %s" % (path, getattr(error, "strerror", None) or error))
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    return MACHINES.get(struct.unpack((">" if head[5] == 2 else "<") + "H", head[18:20])[0])


def check_machine(path, symbols):
    machine = machine_of(path)
    if machine and symbols and os.path.isfile(symbols) and machine_of(symbols) not in (None, machine):
        raise gdb.GdbError("guest open: %s is a dump of an %s machine, %s is for %s: load the guest's own file, or none (`file`)"
                           % (path, machine, symbols, machine_of(symbols)))
    if machine and hasattr(gdb, "architecture_names") and machine not in gdb.architecture_names():
        raise gdb.GdbError("guest open: %s is a dump of an %s machine, which this gdb does not know: use gdb-multiarch"
                           % (path, machine))


def has_fixed_per_cpu(path):
    """Whether the per-CPU symbols of a 64-bit kernel's ELF file are distances, linked at 0, which must not move with it."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
                return False
            table, size, count, names = struct.unpack_from("<Q", head, 40) + struct.unpack_from("<3H", head, 58)
            file.seek(table)
            sections = [file.read(size) for _ in range(count)]
            if size < 64 or names >= count:
                return False
            file.seek(struct.unpack_from("<Q", sections[names], 24)[0])
            texts = file.read(struct.unpack_from("<Q", sections[names], 32)[0])
    except (OSError, struct.error):
        return False
    for section in sections:
        at, address = struct.unpack_from("<I", section)[0], struct.unpack_from("<Q", section, 16)[0]
        if texts[at:texts.find(b"\0", at)] == b".data..percpu":
            return address == 0
    return False


def move_symbols(path):
    """All of the kernel's symbols to where it was moved, but for the per-CPU ones: no packet can say that."""
    moved = re.search(r" -o (0x[0-9a-f]+) -s \.data\.\.percpu 0$", gdb.execute("monitor info", to_string=True), re.M)
    if moved is None:
        return
    gdb.execute("symbol-file", to_string=True)
    gdb.execute("add-symbol-file %s -o %s -s .data..percpu 0" % (shlex.quote(path), moved.group(1)), to_string=True)


def connection():
    """The connection of the selected inferior that `guest open` made, else an error."""
    current = getattr(gdb.selected_inferior(), "connection", None)
    if current is None or not current.is_valid() or current is not Open.made:
        raise gdb.GdbError("no dump is open: guest open FILE")
    return current


def monitor(command):
    """The server's answer, about the selected thread's vCPU."""
    connection()
    # gdb tells the server which thread is selected only when it reads something of it that it has not cached.
    thread = gdb.selected_thread()
    if thread is not None:
        gdb.execute("monitor cpu %d" % (thread.ptid[1] - 1), to_string=True)
    try:
        return gdb.execute("monitor " + command, to_string=True)
    finally:
        gdb.execute("monitor cpu off", to_string=True)


def address(text, command):
    """The value of an expression, as the monitor takes it."""
    if not text.strip():
        raise gdb.GdbError("%s: which address? Any expression will do: %s $pc" % (command, command))
    value = gdb.parse_and_eval(text)
    if value.type.strip_typedefs().code in (gdb.TYPE_CODE_FUNC, gdb.TYPE_CODE_ARRAY, gdb.TYPE_CODE_STRUCT):
        value = value.address
    return "%#x" % (int(value) & (1 << 64) - 1)


class Command(gdb.Command):
    """One whose errors are a line, also those of gdb."""

    def invoke(self, argument, from_tty):
        try:
            self.run(argument)
        except gdb.error as error:
            raise gdb.GdbError(str(error))


class Guest(gdb.Command):
    """Look at a memory dump of a virtual machine."""

    def __init__(self):
        super().__init__("guest", gdb.COMMAND_FILES, prefix=True)

    def invoke(self, argument, from_tty):
        if argument.strip():
            raise gdb.GdbError("there is no command \"guest %s\": help guest lists what there is" % argument.strip())
        gdb.execute("help guest")


class Open(Command):
    """Open a dump of a virtual machine: guest open [--symbols ELF] FILE

Starts gcore-serve on FILE and connects to it. Each vCPU is a thread. The server is given the guest's ELF file that --symbols
names, or the one that gdb has loaded, so that symbols of a kernel that was moved at boot land at the right place. gdb is told
that memory never changes (`mem 0 0 ro cache`), so that it reads each byte once. A dump that is already open is closed.

`set guest-server PATH` names the server."""

    made = None  # the connection
    moved = None  # the file whose symbols move_symbols() moved: gdb has none by itself then

    def __init__(self):
        super().__init__("guest open", gdb.COMMAND_FILES, gdb.COMPLETE_FILENAME)
        if hasattr(gdb.events, "connection_removed"):
            gdb.events.connection_removed.connect(self.removed)

    @classmethod
    def removed(cls, event):
        if event.connection is cls.made:
            cls.made = None
            gdb.execute("mem auto", to_string=True)  # the next target's memory may change

    def run(self, argument):
        self.dont_repeat()
        words = gdb.string_to_argv(argument)
        symbols = gdb.current_progspace().filename or Open.moved
        if words[:1] == ["--symbols"] and len(words) > 1:
            symbols = os.path.expanduser(words[1])
            words = words[2:]
        if len(words) != 1 or words[0].startswith("--"):
            raise gdb.GdbError("say guest open [--symbols ELF] FILE; quotation marks keep blanks in a name")
        path = os.path.expanduser(words[0])
        server = find_server()
        check_machine(path, symbols)
        self.leave_target()
        self.connect(server, path, symbols)

    @staticmethod
    def leave_target():
        inferior = gdb.selected_inferior()
        if inferior.pid == 0:
            return
        if Open.made is None or getattr(inferior, "connection", None) is not Open.made:
            raise gdb.GdbError("guest open: a program is being debugged: kill it or detach from it first, or say add-inferior")
        gdb.execute("disconnect", to_string=True)

    @staticmethod
    def connect(server, path, symbols):
        command = [server, "--stdio"]
        if symbols and os.path.isfile(symbols):
            command += ["--symbols", symbols]
        fixed = bool(symbols) and has_fixed_per_cpu(symbols)
        if fixed:
            command += ["--no-offsets"]
        # What the server has to say goes to a file: gdb looks at a child's standard error before every character that it reads,
        # and would show an error of the server among its own.
        with tempfile.NamedTemporaryFile("r", prefix="guest-open-", errors="replace") as said:
            line = " ".join(shlex.quote(word) for word in command + ["--", os.path.abspath(path)])
            try:
                # As text, since of a machine that it does not know gdb says more than what to do.
                gdb.write(gdb.execute("target remote | exec %s 2>%s" % (line, shlex.quote(said.name)), to_string=True))
            except gdb.error as error:
                if "reply is too long" in str(error):  # of a machine that machine_of() could not tell
                    raise gdb.GdbError("guest open: %s is a dump of a machine that this gdb does not know: use gdb-multiarch"
                                       % path)
                why = said.read().strip() or "%s (%s)" % (error, SERVER)
                raise gdb.GdbError("guest open: " + why.replace("\n", "; "))
            notes = said.read()
        Open.made = gdb.selected_inferior().connection
        Open.moved = symbols if fixed else None
        if fixed:
            move_symbols(symbols)
        gdb.invalidate_cached_frames()  # some were made without the unwinder below
        gdb.execute("mem auto", to_string=True)
        gdb.execute("mem 0 0 ro cache", to_string=True)
        gdb.write(notes)


class Vcpus(Command):
    """List the vCPUs: thread, name, program counter and what is there. `*` is the selected one."""

    def __init__(self):
        super().__init__("guest vcpus", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE)

    def run(self, argument):
        connection()
        selected, frame = gdb.selected_thread(), None
        try:
            frame = gdb.selected_frame()
        except gdb.error:
            pass  # a thread without registers has none
        try:
            for thread in sorted(gdb.selected_inferior().threads(), key=lambda each: each.num):
                thread.switch()
                gdb.write("%s %-4d %-28s %s\n" % ("*" if thread.num == selected.num else " ", thread.num, thread.name,
                                                  self.where()))
        finally:
            selected.switch()
            if frame is not None and frame.is_valid():
                frame.select()

    @staticmethod
    def where():
        try:
            pc = int(gdb.parse_and_eval("(unsigned long long) $pc"))
        except (gdb.error, ValueError):
            return "pc unavailable"
        symbol = gdb.execute("info symbol %#x" % pc, to_string=True).strip()
        return "%#018x %s" % (pc, "" if symbol.startswith("No symbol") else symbol)


class Vtop(Command):
    """Show how the selected vCPU translates an address, step by step: guest vtop EXPRESSION"""

    def __init__(self):
        super().__init__("guest vtop", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def run(self, argument):
        connection()
        gdb.write(monitor("vtop " + address(argument, "guest vtop")))


class Map(Command):
    """List what the selected vCPU's address space maps: guest map [START [LENGTH]]

START and LENGTH are expressions without blanks."""

    def __init__(self):
        super().__init__("guest map", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def run(self, argument):
        connection()
        words = [address(word, "guest map") for word in argument.split()]
        gdb.write(monitor(" ".join(["map"] + words)))


class Info(Command):
    """Show what the dump says about itself and its guest."""

    def __init__(self):
        super().__init__("guest info", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE)

    def run(self, argument):
        gdb.write(monitor("info"))


class Tasks(Command):
    """List the guest's tasks, or show all about one: guest tasks [PID]"""

    def __init__(self):
        super().__init__("guest tasks", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE)

    def run(self, argument):
        connection()
        gdb.write(monitor("task " + address(argument, "guest tasks") if argument.strip() else "ps"))


class Dmesg(Command):
    """Show the messages of the guest's kernel, of Linux as its own dmesg prints them."""

    def __init__(self):
        super().__init__("guest dmesg", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE)

    def run(self, argument):
        connection()
        gdb.write(monitor("dmesg"))


class Why(Command):
    """Say what went wrong in a Linux guest, with the evidence."""

    def __init__(self):
        super().__init__("guest why", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE)

    def run(self, argument):
        connection()
        gdb.write(monitor("why"))


class Scripts(Command):
    """Load the Linux kernel's own gdb scripts: guest scripts DIRECTORY

DIRECTORY is scripts/gdb in the sources of a kernel like the guest's. `apropos lx-` then lists their commands. What the kernel's
build would tell them (linux/constants.py) is made of the guest's names and types."""

    def __init__(self):
        super().__init__("guest scripts", gdb.COMMAND_FILES, gdb.COMPLETE_FILENAME)

    def run(self, argument):
        self.dont_repeat()
        words = gdb.string_to_argv(argument)
        if len(words) != 1:
            raise gdb.GdbError("guest scripts: which directory? That of the kernel's sources that has vmlinux-gdb.py: scripts/gdb")
        runpy.run_path(os.path.join(HERE, "linux_scripts.py"), {"__name__": "linux_scripts"})["load"](words[0])


class Choice(Command):
    """A monitor command after which gdb must forget the memory that it cached."""

    def run(self, argument):
        answer = monitor(("%s %s" % (self.monitor, argument)).strip())
        gdb.execute("maintenance flush dcache", to_string=True)
        gdb.write("".join(line for line in answer.splitlines(True) if "maint flush" not in line))


class Phys(Choice):
    """Let gdb read guest-physical memory, or virtual memory again: guest phys on|off"""

    monitor = "phys"

    def __init__(self):
        super().__init__("guest phys", gdb.COMMAND_DATA)

    def complete(self, text, word):
        return [each for each in ("on", "off") if each.startswith(word)]


class As(Choice):
    """Let gdb read memory through another root page table: guest as cr3=ADDRESS|ttbr0=ADDRESS|ttbr1=ADDRESS|off"""

    monitor = "as"

    def __init__(self):
        super().__init__("guest as", gdb.COMMAND_DATA)

    def complete(self, text, word):
        return [each for each in ("cr3=", "ttbr0=", "ttbr1=", "off") if each.startswith(text)]


# ---- signed return addresses (pointer authentication of aarch64), which gdb 13 and older take for the addresses themselves


def authentication_masks(frame):
    """The bits that are no part of a lower and of an upper address, as the server knows them; None where it does not."""
    if Open.made is None or frame.architecture().name() != "aarch64":
        return None
    try:
        return [int(frame.read_register(name)) & (1 << 64) - 1 for name in ("pauth_cmask", "pauth_cmask_high")]
    except (ValueError, gdb.error):
        return None


def without_signature(address, masks):
    """Bit 55 says which half of the address space an address is in."""
    return address | masks[1] if address >> 55 & 1 else address & ~masks[0]


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class SignedReturn(gdb.unwinder.Unwinder):
    """Of a signed return address gdb makes a frame of which it knows nothing. Its caller, says this unwinder, is the frame that
    is meant: the same registers, but for the signature. So gdb's own unwinder does all the rest, and knows variables."""

    def __init__(self):
        super().__init__("guest-signed-return")

    def __call__(self, frame):
        masks = authentication_masks(frame)
        if masks is None:
            return None
        pc = frame.read_register("pc")
        signed = int(pc) & (1 << 64) - 1
        address = without_signature(signed, masks)
        if address == signed:
            return None
        try:
            gdb.selected_inferior().read_memory(address - 4, 4)
        except gdb.MemoryError:
            return None  # no code that could have called
        info = frame.create_unwind_info(FrameId(frame.read_register("sp"), pc))
        for name in ["x%d" % number for number in range(31)] + ["sp", "cpsr", "pauth_cmask", "pauth_cmask_high"]:
            try:
                value = frame.read_register(name)
                value.fetch_lazy()  # of one that the dump lacks, gdb would drop all of this without a word
                info.add_saved_register(name, value)
            except (ValueError, gdb.error):
                pass
        info.add_saved_register("pc", gdb.Value(address).cast(pc.type))
        return info


class Unnamed(FrameDecorator):
    """What gdb itself prints of a function without a name, which it leaves out behind a filter."""

    def function(self):
        return "??"


class WithoutSigned:
    """Keeps the frames of signed return addresses out of backtraces."""

    name, priority = "guest-signed-return", 100

    def __init__(self):
        gdb.frame_filters[self.name] = self

    @property
    def enabled(self):
        return authentication_masks(gdb.newest_frame()) is not None

    def filter(self, frames):
        for each in frames:
            frame = each.inferior_frame()
            masks = authentication_masks(frame)
            if masks is not None and without_signature(frame.pc(), masks) != frame.pc():
                continue
            yield each if frame.name() else Unnamed(each)


if int(gdb.VERSION.split(".")[0]) < 14:
    gdb.unwinder.register_unwinder(None, SignedReturn(), replace=True)
    WithoutSigned()

for command in (Guest, Open, Vcpus, Vtop, Map, Info, Tasks, Dmesg, Why, Scripts, Phys, As):
    command()
