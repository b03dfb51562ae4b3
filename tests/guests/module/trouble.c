// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * A kernel module that makes the troubles which gcore's diagnosis has to find: for test guests only.
 *
 *   insmod trouble.ko; echo SCENARIO >/proc/trouble
 *
 *   mutex       two threads that want each other's mutex, and a third that waits for one of the two
 *   rwsem       a writer that waits for a reader that sleeps, and a reader that waits behind the writer
 *   rwsem-held  a reader that waits for a writer that sleeps
 *   rt-mutex    a thread that waits for an rt_mutex which another one has
 *   semaphore   a thread that waits for a semaphore which another one has taken
 *   completion  a thread that waits for what never comes
 *   busy        threads that pass a mutex, an rwsem and a completion around without end: nothing is wrong
 *   soft        a CPU that never schedules, interrupts on
 *   rcu         a reader that never leaves its critical section
 *   rcu-asleep  a reader that sleeps in its critical section, which stalls RCU where readers can be preempted
 *   rcu-starved a thread of real-time priority that keeps RCU's own thread from running
 *   spin        a CPU that spins on a spinlock with interrupts off, and the one that holds it: the guest is dead
 *   oops        a thread that writes to a null pointer
 *   panic       a panic
 *   leak        takes all memory until the out-of-memory killer comes
 *   release     ends busy, soft, rcu, rcu-asleep, rcu-starved
 *
 * The write returns when what was asked for is so: threads that are to be blocked are blocked. Only of spin and panic
 * it does not return.
 */
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/rtmutex.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/semaphore.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 14, 0)
#define STATE_OF(task) READ_ONCE((task)->state)
#else
#define STATE_OF(task) READ_ONCE((task)->__state)
#endif

static bool released;
/* Threads of soft and of rcu's scenarios, which a release waits for. */
static atomic_t to_release = ATOMIC_INIT(0);

/* Something that never returns, so that what is held stays held; the task sleeps as one that waits for work does. */
static noinline void trouble_sleep(void)
{
	for (;;)
		schedule_timeout_interruptible(MAX_SCHEDULE_TIMEOUT);
}

static struct task_struct *start(int (*body)(void *), const char *name)
{
	struct task_struct *task = kthread_run(body, NULL, "%s", name);

	if (IS_ERR(task))
		pr_err("trouble: cannot start %s\n", name);
	return task;
}

/* A thread says where it is right before it does the last thing. */
static void wait_until_asleep(struct task_struct *task, bool *arrived)
{
	while (!smp_load_acquire(arrived) || STATE_OF(task) == TASK_RUNNING)
		msleep(10);
}

/* mutex */
static DEFINE_MUTEX(trouble_first);
static DEFINE_MUTEX(trouble_second);
static DECLARE_COMPLETION(first_is_held);
static DECLARE_COMPLETION(second_is_held);
static bool one_arrived, two_arrived, three_arrived;

static noinline int trouble_first_then_second(void *unused)
{
	mutex_lock(&trouble_first);
	complete(&first_is_held);
	wait_for_completion(&second_is_held);
	smp_store_release(&one_arrived, true);
	mutex_lock(&trouble_second);
	trouble_sleep();
	return 0;
}

static noinline int trouble_second_then_first(void *unused)
{
	mutex_lock(&trouble_second);
	complete(&second_is_held);
	wait_for_completion(&first_is_held);
	smp_store_release(&two_arrived, true);
	mutex_lock(&trouble_first);
	trouble_sleep();
	return 0;
}

static noinline int trouble_wants_first(void *unused)
{
	smp_store_release(&three_arrived, true);
	mutex_lock(&trouble_first);
	trouble_sleep();
	return 0;
}

static void make_mutex(void)
{
	struct task_struct *one = start(trouble_first_then_second, "mutex-one");
	struct task_struct *two = start(trouble_second_then_first, "mutex-two");
	struct task_struct *three;

	wait_until_asleep(one, &one_arrived);
	wait_until_asleep(two, &two_arrived);
	three = start(trouble_wants_first, "mutex-three");
	wait_until_asleep(three, &three_arrived);
}

/* rwsem */
static DECLARE_RWSEM(trouble_rwsem);
static DECLARE_COMPLETION(rwsem_is_read);
static bool writer_arrived, second_reader_arrived;

static noinline int trouble_reads(void *unused)
{
	down_read(&trouble_rwsem);
	complete(&rwsem_is_read);
	trouble_sleep();
	return 0;
}

static noinline int trouble_writes(void *unused)
{
	smp_store_release(&writer_arrived, true);
	down_write(&trouble_rwsem);
	trouble_sleep();
	return 0;
}

static noinline int trouble_reads_behind(void *unused)
{
	smp_store_release(&second_reader_arrived, true);
	down_read(&trouble_rwsem);
	trouble_sleep();
	return 0;
}

static void make_rwsem(void)
{
	struct task_struct *task;

	start(trouble_reads, "rwsem-reader");
	wait_for_completion(&rwsem_is_read);
	task = start(trouble_writes, "rwsem-writer");
	wait_until_asleep(task, &writer_arrived);
	task = start(trouble_reads_behind, "rwsem-behind");
	wait_until_asleep(task, &second_reader_arrived);
}

static DECLARE_RWSEM(trouble_held_rwsem);
static DECLARE_COMPLETION(rwsem_is_written);
static bool held_reader_arrived;

static noinline int trouble_holds_rwsem(void *unused)
{
	down_write(&trouble_held_rwsem);
	complete(&rwsem_is_written);
	trouble_sleep();
	return 0;
}

static noinline int trouble_reads_held(void *unused)
{
	smp_store_release(&held_reader_arrived, true);
	down_read(&trouble_held_rwsem);
	trouble_sleep();
	return 0;
}

static void make_rwsem_held(void)
{
	struct task_struct *task;

	start(trouble_holds_rwsem, "held-writer");
	wait_for_completion(&rwsem_is_written);
	task = start(trouble_reads_held, "held-reader");
	wait_until_asleep(task, &held_reader_arrived);
}

/* rt-mutex */
static DEFINE_RT_MUTEX(trouble_rt_mutex);
static DECLARE_COMPLETION(rt_mutex_is_held);
static bool rt_mutex_arrived;

static noinline int trouble_holds_rt_mutex(void *unused)
{
	rt_mutex_lock(&trouble_rt_mutex);
	complete(&rt_mutex_is_held);
	trouble_sleep();
	return 0;
}

static noinline int trouble_wants_rt_mutex(void *unused)
{
	smp_store_release(&rt_mutex_arrived, true);
	rt_mutex_lock(&trouble_rt_mutex);
	trouble_sleep();
	return 0;
}

static void make_rt_mutex(void)
{
	struct task_struct *task;

	start(trouble_holds_rt_mutex, "rt-holder");
	wait_for_completion(&rt_mutex_is_held);
	task = start(trouble_wants_rt_mutex, "rt-waiter");
	wait_until_asleep(task, &rt_mutex_arrived);
}

/* semaphore */
static DEFINE_SEMAPHORE(trouble_semaphore
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
			, 1
#endif
);
static DECLARE_COMPLETION(semaphore_is_down);
static bool semaphore_arrived;

static noinline int trouble_holds_semaphore(void *unused)
{
	down(&trouble_semaphore);
	complete(&semaphore_is_down);
	trouble_sleep();
	return 0;
}

static noinline int trouble_wants_semaphore(void *unused)
{
	smp_store_release(&semaphore_arrived, true);
	down(&trouble_semaphore);
	trouble_sleep();
	return 0;
}

static void make_semaphore(void)
{
	struct task_struct *task;

	start(trouble_holds_semaphore, "sema-holder");
	wait_for_completion(&semaphore_is_down);
	task = start(trouble_wants_semaphore, "sema-waiter");
	wait_until_asleep(task, &semaphore_arrived);
}

/* completion */
static DECLARE_COMPLETION(trouble_never);
static bool completion_arrived;

static noinline int trouble_waits_for_never(void *unused)
{
	smp_store_release(&completion_arrived, true);
	wait_for_completion(&trouble_never);
	trouble_sleep();
	return 0;
}

static void make_completion(void)
{
	wait_until_asleep(start(trouble_waits_for_never, "never"), &completion_arrived);
}

/* busy */
static DEFINE_MUTEX(busy_mutex);
static DECLARE_RWSEM(busy_rwsem);
static DEFINE_SPINLOCK(busy_lock);
static unsigned long busy_turns;

static noinline int busy_works(void *unused)
{
	while (!READ_ONCE(released)) {
		mutex_lock(&busy_mutex);
		busy_turns++;
		usleep_range(100, 300);
		mutex_unlock(&busy_mutex);
		if (busy_turns % 4) {
			down_read(&busy_rwsem);
			usleep_range(50, 100);
			up_read(&busy_rwsem);
		} else {
			down_write(&busy_rwsem);
			usleep_range(50, 100);
			up_write(&busy_rwsem);
		}
		spin_lock(&busy_lock);
		busy_turns++;
		spin_unlock(&busy_lock);
		cond_resched();
	}
	return 0;
}

static noinline int busy_sleeps(void *unused)
{
	while (!READ_ONCE(released))
		msleep(20); /* not interruptible */
	return 0;
}

static void make_busy(void)
{
	int i;

	for (i = 0; i < 4; i++)
		start(busy_works, "busy-worker");
	start(busy_sleeps, "busy-sleeper");
}

/* soft, rcu, spin: on CPUs of their own */
static struct task_struct *start_on(int (*body)(void *), const char *name, unsigned int cpu)
{
	struct task_struct *task = kthread_create(body, NULL, "%s", name);

	if (IS_ERR(task)) {
		pr_err("trouble: cannot start %s\n", name);
		return task;
	}
	kthread_bind(task, cpu);
	wake_up_process(task);
	return task;
}

static noinline int trouble_never_schedules(void *unused)
{
	preempt_disable();
	while (!READ_ONCE(released))
		cpu_relax();
	preempt_enable();
	atomic_dec(&to_release);
	return 0;
}

static noinline int trouble_sleeps_in_rcu(void *unused)
{
	rcu_read_lock();
	while (!READ_ONCE(released))
		msleep(100);
	rcu_read_unlock();
	atomic_dec(&to_release);
	return 0;
}

static noinline int trouble_stays_in_rcu(void *unused)
{
	rcu_read_lock();
	while (!READ_ONCE(released))
		cpu_relax();
	rcu_read_unlock();
	atomic_dec(&to_release);
	return 0;
}

static noinline int trouble_wants_grace_period(void *unused)
{
	synchronize_rcu();
	return 0;
}

/* The low bits say whether a grace period is going on. It is exported for RCU's own tests, and in no public header. */
unsigned long rcu_get_gp_seq(void);

/*
 * A grace period is to have begun when RCU's thread comes to the CPU that this one does not leave: its last step never
 * comes then, and none begins after it.
 */
static noinline int trouble_starves_rcu(void *unused)
{
	struct task_struct *task, *thread = NULL;

	rcu_read_lock();
	for_each_process(task)
		if (!strcmp(task->comm, "rcu_preempt") || !strcmp(task->comm, "rcu_sched"))
			thread = task;
	rcu_read_unlock();
	if (!thread)
		pr_err("trouble: RCU has no thread\n");
	sched_set_fifo(current);
	while (thread && !READ_ONCE(released)) {
		set_cpus_allowed_ptr(thread, cpumask_of(0));
		while (!(rcu_get_gp_seq() & 3) && !READ_ONCE(released))
			cond_resched();
		set_cpus_allowed_ptr(thread, cpumask_of(1));
		if (rcu_get_gp_seq() & 3)
			break;
	}
	while (!READ_ONCE(released))
		schedule(); /* which says that this is no reader, and comes back at once */
	if (thread)
		set_cpus_allowed_ptr(thread, cpu_possible_mask);
	atomic_dec(&to_release);
	return 0;
}

static noinline int trouble_wants_grace_periods(void *unused)
{
	while (!READ_ONCE(released))
		synchronize_rcu();
	atomic_dec(&to_release);
	return 0;
}

static DEFINE_SPINLOCK(trouble_spinlock);
static bool spinlock_is_held;

/* Hidden from the compiler, which otherwise (5.10) makes a function of this lock alone: no other code then names it. */
static __always_inline spinlock_t *the_spinlock(void)
{
	spinlock_t *lock = &trouble_spinlock;

	OPTIMIZER_HIDE_VAR(lock);
	return lock;
}

static noinline int trouble_holds_spinlock(void *unused)
{
	spinlock_t *lock = the_spinlock();
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	pr_emerg("trouble: CPU %d holds the spinlock\n", smp_processor_id());
	smp_store_release(&spinlock_is_held, true);
	for (;;)
		cpu_relax();
	spin_unlock_irqrestore(lock, flags);
	return 0;
}

static noinline int trouble_spins(void *unused)
{
	spinlock_t *lock = the_spinlock();
	unsigned long flags;

	while (!smp_load_acquire(&spinlock_is_held))
		msleep(10);
	pr_emerg("trouble: CPU %d is about to spin\n", smp_processor_id());
	spin_lock_irqsave(lock, flags);
	spin_unlock_irqrestore(lock, flags);
	return 0;
}

/* oops, panic, leak */
static noinline int trouble_writes_to_null(void *unused)
{
	int *volatile nowhere = NULL;

	nowhere[2] = 1;
	return 0;
}

static bool killer_came;
static LIST_HEAD(leaked);
static DEFINE_SPINLOCK(leaked_lock);

/*
 * Called right before the killer chooses. Some memory is given back without a word, so that it kills one and not a
 * second one because the first is slow in dying: the rest of the guest is to go on.
 */
static int on_out_of_memory(struct notifier_block *block, unsigned long action, void *freed)
{
	unsigned long pages;

	spin_lock(&leaked_lock);
	for (pages = 0; !killer_came && pages < (16 << 20) / PAGE_SIZE && !list_empty(&leaked); pages++) {
		struct page *page = list_first_entry(&leaked, struct page, lru);

		list_del(&page->lru);
		__free_page(page);
	}
	WRITE_ONCE(killer_came, true);
	spin_unlock(&leaked_lock);
	return NOTIFY_OK;
}

static struct notifier_block out_of_memory_block = { .notifier_call = on_out_of_memory };

static noinline int trouble_leaks(void *unused)
{
	register_oom_notifier(&out_of_memory_block);
	while (!READ_ONCE(killer_came)) {
		struct page *page = alloc_page(GFP_KERNEL);

		spin_lock(&leaked_lock);
		if (page)
			list_add(&page->lru, &leaked);
		spin_unlock(&leaked_lock);
	}
	unregister_oom_notifier(&out_of_memory_block);
	pr_info("trouble: the leak has ended\n");
	return 0;
}

static void make_panic(void)
{
	panic("trouble: as it was told");
}

static void make(const char *scenario)
{
	if (!strcmp(scenario, "mutex"))
		make_mutex();
	else if (!strcmp(scenario, "rwsem"))
		make_rwsem();
	else if (!strcmp(scenario, "rwsem-held"))
		make_rwsem_held();
	else if (!strcmp(scenario, "rt-mutex"))
		make_rt_mutex();
	else if (!strcmp(scenario, "semaphore"))
		make_semaphore();
	else if (!strcmp(scenario, "completion"))
		make_completion();
	else if (!strcmp(scenario, "busy"))
		make_busy();
	else if (!strcmp(scenario, "soft")) {
		atomic_inc(&to_release);
		start_on(trouble_never_schedules, "soft-lockup", 1);
	} else if (!strcmp(scenario, "rcu")) {
		atomic_inc(&to_release);
		start_on(trouble_stays_in_rcu, "rcu-reader", 1);
		start(trouble_wants_grace_period, "rcu-waiter");
	} else if (!strcmp(scenario, "rcu-asleep")) {
		if (IS_ENABLED(CONFIG_PREEMPT_RCU)) {
			atomic_inc(&to_release);
			start(trouble_sleeps_in_rcu, "rcu-sleeper");
			start(trouble_wants_grace_period, "rcu-waiter");
		} else {
			pr_info("trouble: a reader of RCU cannot be preempted here\n");
		}
	} else if (!strcmp(scenario, "rcu-starved")) {
		atomic_add(2, &to_release);
		start_on(trouble_wants_grace_periods, "rcu-waiter", 0);
		start_on(trouble_starves_rcu, "rcu-starver", 1); /* the last one: nothing else comes to that CPU then */
	} else if (!strcmp(scenario, "spin")) {
		start_on(trouble_spins, "spin-waiter", 0);
		start_on(trouble_holds_spinlock, "spin-holder", 1);
	} else if (!strcmp(scenario, "oops"))
		start(trouble_writes_to_null, "oops-maker");
	else if (!strcmp(scenario, "panic"))
		make_panic();
	else if (!strcmp(scenario, "leak"))
		start(trouble_leaks, "leaker");
	else if (!strcmp(scenario, "release")) {
		WRITE_ONCE(released, true);
		while (atomic_read(&to_release))
			msleep(10);
	} else
		pr_err("trouble: unknown scenario %s\n", scenario);
}

static ssize_t trouble_write(struct file *file, const char __user *text, size_t size, loff_t *position)
{
	char scenario[32];

	if (size >= sizeof(scenario))
		return -EINVAL;
	if (copy_from_user(scenario, text, size))
		return -EFAULT;
	scenario[size] = 0;
	WRITE_ONCE(released, false);
	make(strim(scenario));
	return size;
}

static const struct proc_ops trouble_ops = { .proc_write = trouble_write };

static int __init trouble_init(void)
{
	return proc_create("trouble", 0200, NULL, &trouble_ops) ? 0 : -ENOMEM;
}

module_init(trouble_init);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Troubles for test guests");
