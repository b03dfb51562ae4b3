// Global variables of Linux kernels and their types: BTF has none but per-CPU ones. Private to the reader.
#pragma once

#include <array>
#include <string_view>

namespace gcore::reader::linux_guest {

/// `type` as in C, of a type that BTF has, with stars and [] after it.
struct KnownVariable {
  std::string_view name, type;
};

inline constexpr std::array kKnownVariables{
    KnownVariable{"init_task", "struct task_struct"},
    KnownVariable{"init_mm", "struct mm_struct"},
    KnownVariable{"init_cred", "struct cred"},
    KnownVariable{"init_files", "struct files_struct"},
    KnownVariable{"init_fs", "struct fs_struct"},
    KnownVariable{"init_signals", "struct signal_struct"},
    KnownVariable{"init_sighand", "struct sighand_struct"},
    KnownVariable{"init_nsproxy", "struct nsproxy"},
    KnownVariable{"init_uts_ns", "struct uts_namespace"},
    KnownVariable{"init_pid_ns", "struct pid_namespace"},
    KnownVariable{"init_user_ns", "struct user_namespace"},
    KnownVariable{"init_ipc_ns", "struct ipc_namespace"},
    KnownVariable{"init_cgroup_ns", "struct cgroup_namespace"},
    KnownVariable{"init_net", "struct net"},
    KnownVariable{"init_css_set", "struct css_set"},
    KnownVariable{"cgrp_dfl_root", "struct cgroup_root"},
    KnownVariable{"root_task_group", "struct task_group"},
    KnownVariable{"modules", "struct list_head"},
    KnownVariable{"module_kset", "struct kset*"},
    KnownVariable{"devices_kset", "struct kset*"},
    KnownVariable{"prb", "struct printk_ringbuffer*"},
    KnownVariable{"printk_rb_static", "struct printk_ringbuffer"},
    KnownVariable{"console_drivers", "struct console*"},
    KnownVariable{"jiffies", "unsigned long"},
    KnownVariable{"jiffies_64", "u64"},
    KnownVariable{"loops_per_jiffy", "unsigned long"},
    KnownVariable{"avenrun", "unsigned long[]"},
    KnownVariable{"system_state", "enum system_states"},
    KnownVariable{"panic_cpu", "atomic_t"},
    KnownVariable{"panic_timeout", "int"},
    KnownVariable{"panic_on_oops", "int"},
    KnownVariable{"oops_in_progress", "int"},
    KnownVariable{"linux_banner", "char[]"},
    KnownVariable{"saved_command_line", "char*"},
    KnownVariable{"nr_cpu_ids", "unsigned int"},
    KnownVariable{"nr_threads", "int"},
    KnownVariable{"total_forks", "unsigned long"},
    KnownVariable{"__per_cpu_offset", "unsigned long[]"},
    KnownVariable{"__cpu_online_mask", "struct cpumask"},
    KnownVariable{"__cpu_possible_mask", "struct cpumask"},
    KnownVariable{"__cpu_present_mask", "struct cpumask"},
    KnownVariable{"__cpu_active_mask", "struct cpumask"},
    KnownVariable{"runqueues", "struct rq"},
    KnownVariable{"tasklist_lock", "rwlock_t"},
    KnownVariable{"workqueues", "struct list_head"},
    KnownVariable{"super_blocks", "struct list_head"},
    KnownVariable{"net_namespace_list", "struct list_head"},
    KnownVariable{"block_class", "struct class"},
    KnownVariable{"disk_type", "struct device_type"},
    KnownVariable{"slab_caches", "struct list_head"},
    KnownVariable{"slab_mutex", "struct mutex"},
    KnownVariable{"vmap_area_list", "struct list_head"},
    KnownVariable{"clocksource_list", "struct list_head"},
    KnownVariable{"iomem_resource", "struct resource"},
    KnownVariable{"ioport_resource", "struct resource"},
    KnownVariable{"contig_page_data", "struct pglist_data"},
    KnownVariable{"node_data", "struct pglist_data*[]"},
    KnownVariable{"mem_map", "struct page*"},
    KnownVariable{"mem_section", "struct mem_section**"},
    KnownVariable{"vmemmap_base", "unsigned long"},
    KnownVariable{"vmalloc_base", "unsigned long"},
    KnownVariable{"page_offset_base", "unsigned long"},
    KnownVariable{"phys_base", "unsigned long"},
    KnownVariable{"memstart_addr", "s64"},
    KnownVariable{"kimage_voffset", "u64"},
    KnownVariable{"high_memory", "void*"},
    KnownVariable{"max_pfn", "unsigned long"},
    KnownVariable{"max_low_pfn", "unsigned long"},
    KnownVariable{"_totalram_pages", "atomic_long_t"},
    KnownVariable{"vm_zone_stat", "atomic_long_t[]"},
    KnownVariable{"vm_node_stat", "atomic_long_t[]"},
    KnownVariable{"irq_desc", "struct irq_desc[]"},
    KnownVariable{"sysctl_sched_latency", "unsigned int"},
    KnownVariable{"pcpu_hot", "struct pcpu_hot"},
    KnownVariable{"current_task", "struct task_struct*"},
    KnownVariable{"cpu_number", "int"},
    KnownVariable{"cpu_info", "struct cpuinfo_x86"},
    KnownVariable{"boot_cpu_data", "struct cpuinfo_x86"},
    KnownVariable{"cpu_tlbstate", "struct tlb_state"},
    KnownVariable{"cpu_tss_rw", "struct tss_struct"},
    KnownVariable{"tick_cpu_device", "struct tick_device"},
    KnownVariable{"tick_cpu_sched", "struct tick_sched"},
    KnownVariable{"hrtimer_bases", "struct hrtimer_cpu_base"},
    KnownVariable{"kstat", "struct kernel_stat"},
    KnownVariable{"softnet_data", "struct softnet_data"},
    KnownVariable{"init_top_pgt", "pgd_t[]"},
    KnownVariable{"swapper_pg_dir", "pgd_t[]"},
};

/// Of these, what the kernel's own gdb scripts name as a static of its source file (`prb` of printk.c).
struct FileVariable {
  std::string_view file, name;
};

inline constexpr std::array kFileVariables{FileVariable{"kernel/printk/printk.c", "prb"}};

}  // namespace gcore::reader::linux_guest
