"""The Linux kernel's own gdb scripts (lx-ps, lx-dmesg, ...) for a kernel that was not built here: `guest scripts` of guest.py.

They are scripts/gdb of the kernel's sources. What they lack is linux/constants.py, which the kernel's build makes of a
recipe beside it (constants.py.in): values of macros, enumerators and options. Here these are made of what gdb knows of the
guest: its names, its types, and the VMCOREINFO in its memory.
"""
import os
import re
import runpy
import sys
import types

import gdb

# Macros that have been the same since the scripts name them.
MACROS = {
    "SB_RDONLY": 1, "SB_SYNCHRONOUS": 1 << 4, "SB_MANDLOCK": 1 << 6, "SB_DIRSYNC": 1 << 7, "SB_NOATIME": 1 << 10, "SB_NODIRATIME": 1 << 11,
    "MNT_NOSUID": 1, "MNT_NODEV": 2, "MNT_NOEXEC": 4, "MNT_NOATIME": 8, "MNT_NODIRATIME": 16, "MNT_RELATIME": 32,
    "OF_DT_HEADER": 0xd00dfeed, "CLK_GET_RATE_NOCACHE": 1 << 6, "RADIX_TREE_ENTRY_MASK": 3, "RADIX_TREE_INTERNAL_NODE": 2,
    "MAPLE_NODE_MASK": 255, "VM_IOREMAP": 1, "VM_ALLOC": 2, "VM_MAP": 4, "VM_USERMAP": 8, "VM_DMA_COHERENT": 16,
}

# How many members an array of a type has.
SLOTS = {
    "RADIX_TREE_MAP_SIZE": ("struct xa_node", "slots"), "MAPLE_NODE_SLOTS": ("struct maple_node", "slot"),
    "MAPLE_RANGE64_SLOTS": ("struct maple_range_64", "slot"), "MAPLE_ARANGE64_SLOTS": ("struct maple_arange_64", "slot"),
}

# What only a kernel with the option has: functions and variables, or members of a type.
EVIDENCE = {
    "ARM64": "cpu_do_switch_mm", "COMMON_CLK": "clk_hw_register", "DEBUG_VIRTUAL": "__phys_addr_symbol __virt_to_phys",
    "GENERIC_CLOCKEVENTS": "clockevents_register_device", "GENERIC_CLOCKEVENTS_BROADCAST": "tick_broadcast_control",
    "GENERIC_IRQ_SHOW_LEVEL": "cpu_do_switch_mm", "HAVE_KVM": "sysvec_kvm_posted_intr_ipi kvm_arm_init",
    "HIGH_RES_TIMERS": "hrtimer_run_queues struct:hrtimer_cpu_base.hres_active", "KASAN": "kasan_report", "KASAN_GENERIC": "__asan_load8_noabort",
    "KASAN_SW_TAGS": "__hwasan_tag_memory", "KASAN_HW_TAGS": "kasan_enable_hw_tags kasan_init_hw_tags", "KVM_COMMON": "sysvec_kvm_posted_intr_ipi kvm_arm_init",
    "MMU": "handle_mm_fault", "NUMA": "node_data",
    "OF": "of_find_node_by_phandle", "PAGE_OWNER": "__set_page_owner", "SLAB_FREELIST_HARDENED": "struct:kmem_cache.random",
    "SLUB_DEBUG": "slab_debugfs_init validate_slab_cache",
    "SMP": "smp_call_function_single", "SPARSEMEM": "sparse_init mem_section", "SPARSEMEM_EXTREME": "sparse_index_alloc mem_section",
    "SPARSEMEM_VMEMMAP": "vmemmap_populate", "STACKDEPOT": "stack_depot_save stack_depot_save_flags", "TICK_ONESHOT": "tick_oneshot_notify",
    "VMAP_STACK": "cached_stacks free_vm_stack_cache", "X86_IO_APIC": "mp_map_gsi_to_irq", "X86_LOCAL_APIC": "setup_local_APIC apic_timer_irqs",
    "X86_MCE": "do_machine_check", "X86_MCE_AMD": "sysvec_deferred_error", "X86_MCE_THRESHOLD": "sysvec_threshold",
    "X86_THERMAL_VECTOR": "sysvec_thermal",
}

FIRST_TASK = 10_000_000  # from there on the server's threads are tasks; below, vCPUs, from 1 on


def number(expression):
    """None where gdb has no such thing."""
    try:
        return int(gdb.parse_and_eval(expression))
    except gdb.error:
        return None


def is_there(what):
    if what.startswith("struct:"):
        kind, member = what[len("struct:"):].split(".")
        try:
            return member in gdb.lookup_type("struct " + kind)
        except gdb.error:
            return False
    return number("(unsigned long) &" + what) is not None


def find_member(kind, name):
    """Its type, also in a struct or union without a name; None where there is none."""
    for field in kind.fields():
        if field.name == name:
            return field.type
        if not field.name and field.type.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
            found = find_member(field.type, name)
            if found is not None:
                return found
    return None


def slots_of(kind, member):
    """How many members that array has; None where gdb has no such type."""
    try:
        array = find_member(gdb.lookup_type(kind), member)
    except gdb.error:
        return None
    return None if array is None else array.range()[1] + 1


def read_vmcoreinfo():
    """Its lines, by what stands before the equals sign; of a kernel without one: none."""
    try:
        text = gdb.parse_and_eval("*(char **) &vmcoreinfo_data").string("latin-1", "replace", number("*(unsigned long *) &vmcoreinfo_size"))
    except (gdb.error, TypeError):
        return {}
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


class Unknown:
    """A value that nothing tells. A script may hand it on; what computes with it says so, to the command that wanted it."""

    def __init__(self, name):
        self.name = name


def complain(unknown, *_):
    raise gdb.GdbError("%s is not known: it comes from the kernel's build, and neither the guest's names and types nor its VMCOREINFO tell it"
                       % unknown.name)


for operation in ("bool int index str format hash eq ne lt le gt ge add radd sub rsub mul rmul and rand or ror xor lshift rlshift rshift rrshift "
                  "floordiv rfloordiv truediv rtruediv mod rmod neg invert").split():
    setattr(Unknown, "__%s__" % operation, complain)


class Constants(types.ModuleType):
    """The module linux.constants."""

    def __init__(self, recipe):
        super().__init__("linux.constants")
        self._vmcoreinfo = read_vmcoreinfo()
        lines = recipe.partition("end-c-headers")[2]
        for kind, name in re.findall(r"^ *LX_(VALUE|GDBPARSED|CONFIG)\((\w+)\)", lines, re.M):
            value = self._value(name)
            setattr(self, "LX_" + name, Unknown(name) if value is None else gdb.Value(value) if kind == "GDBPARSED" else value)
        for name, option in re.findall(r"^ *LX_(\w+) *= *IS_BUILTIN\((\w+)\)", lines, re.M):
            value = self._value(option)
            setattr(self, "LX_" + name, Unknown(option) if value is None else value)

    def _info(self, key):
        try:
            return int(self._vmcoreinfo[key], 0)
        except (KeyError, ValueError):
            return None

    def _value(self, name):
        """Of a macro, an enumerator or an option; None: not known."""
        if name in SLOTS:
            return slots_of(*SLOTS[name])
        if name in ("RADIX_TREE_MAP_SHIFT", "RADIX_TREE_MAP_MASK"):
            slots = slots_of(*SLOTS["RADIX_TREE_MAP_SIZE"])
            return slots and (slots.bit_length() - 1 if name.endswith("SHIFT") else slots - 1)
        if name.startswith("SLAB_"):  # since 6.9 bits that are enumerators
            bit = number("_" + name)
            return None if bit is None else 1 << bit
        if name == "hrtimer_resolution":
            return number("*(unsigned int *) &hrtimer_resolution")
        if name in ("NR_CPUS", "CONFIG_NR_CPUS"):
            return gdb.lookup_type("struct cpumask").sizeof * 8
        if not name.startswith("CONFIG_"):
            return MACROS.get(name, number(name))
        return self._option(name[len("CONFIG_"):])

    def _option(self, name):
        page, nodes, orders = self._info("PAGESIZE"), self._info("LENGTH(node_data)"), self._info("LENGTH(zone.free_area)")
        numbers = {
            "PAGE_SHIFT": page and page.bit_length() - 1, "NODES_SHIFT": nodes and nodes.bit_length() - 1,
            "ARCH_FORCE_MAX_ORDER": orders and orders - 1,
            "DEBUG_INFO_REDUCED": 0,  # what is there of types is whole
        }
        if name.startswith("ARM64_"):
            numbers.update({
                "ARM64_4K_PAGES": page == 4096, "ARM64_16K_PAGES": page == 16384, "ARM64_64K_PAGES": page == 65536,
                "ARM64_PAGE_SHIFT": numbers["PAGE_SHIFT"], "ARM64_VA_BITS": self._info("NUMBER(VA_BITS)"),
                "ARM64_PA_BITS": self._info("NUMBER(MAX_PHYSMEM_BITS)"),
            } if is_there("cpu_do_switch_mm") else {name: 0})
        if name in numbers:
            return None if numbers[name] is None else int(numbers[name])
        if name in EVIDENCE:
            return int(any(is_there(what) for what in EVIDENCE[name].split()))
        return None


def current_cpu():
    """In place of the scripts' own, which takes gdb's number of the thread: the vCPU of a fault comes first here."""
    thread = gdb.selected_thread()
    if thread is None or thread.ptid[1] > FIRST_TASK:
        raise gdb.GdbError("the selected thread is no vCPU: say which CPU, as in $lx_current(0)")
    return thread.ptid[1] - 1


def load(folder):
    """`folder`: scripts/gdb of the kernel's sources, or the sources' own."""
    folder = os.path.abspath(os.path.expanduser(folder))
    for place in (folder, os.path.join(folder, "scripts/gdb")):
        if os.path.isfile(os.path.join(place, "vmlinux-gdb.py")):
            folder = place
            break
    else:
        raise gdb.GdbError("guest scripts: %s has no vmlinux-gdb.py: give scripts/gdb of the kernel's sources" % folder)
    if not is_there("init_task"):
        raise gdb.GdbError("guest scripts: gdb knows no variable init_task: open the dump of a Linux guest first (or its kernel has names of "
                           "functions only, and the scripts start from variables)")
    for name in [name for name in sys.modules if name == "linux" or name.startswith("linux.")]:
        del sys.modules[name]  # of another kernel
    sys.path[:] = [folder] + [path for path in sys.path if path != folder]
    if not os.path.exists(os.path.join(folder, "linux/constants.py")):
        with open(os.path.join(folder, "linux/constants.py.in"), encoding="utf-8") as file:
            constants = Constants(file.read())
        import linux  # pylint: disable=import-error,import-outside-toplevel
        linux.constants = sys.modules["linux.constants"] = constants
    # The loader puts its own folder's scripts/gdb into the path, as a build of the kernel has it; and takes gdb and sys as there.
    runpy.run_path(os.path.join(folder, "vmlinux-gdb.py"), {"gdb": gdb, "sys": sys})
    if "linux.cpus" in sys.modules:
        sys.modules["linux.cpus"].get_current_cpu = current_cpu
