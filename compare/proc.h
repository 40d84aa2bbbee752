/* SPDX-License-Identifier: BSD-2-Clause */
/* proc: what /proc tells of processes, threads and interfaces (proc(5)). */
#ifndef TRIVM_COMPARE_PROC_H
#define TRIVM_COMPARE_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_thread {
	pid_t pid, tid;
	char name[16];
	uint64_t cpu_us;   /* on a processor, exact where the kernel keeps it */
	uint64_t guest_us; /* of these, in a guest; in ticks */
	uint64_t switches; /* context switches of either kind */
};

typedef void proc_thread_fn(void *opaque, const struct proc_thread *t);

/* Call @fn for each thread of @pid. How many there were; -ESRCH: the process is gone. */
int proc_threads(pid_t pid, proc_thread_fn *fn, void *opaque);

/* User and system time of all threads that @pid has or had, by /proc/PID/stat; 0: it is gone. */
uint64_t proc_cpu_us(pid_t pid);

/* The process whose name is @name (up to 15 bytes), or 0. */
pid_t proc_find(const char *name);

/* What all processors of the host were busy, in microseconds since it started. */
uint64_t proc_busy_us(void);

struct proc_net {
	uint64_t rx_bytes, rx_packets, tx_bytes, tx_packets, tx_dropped;
};

/* The counters of interface @name in this network namespace. -ENODEV. */
int proc_net(const char *name, struct proc_net *net);
int proc_parse_net(const char *text, const char *name, struct proc_net *net);

/* From the text of /proc/PID/task/TID/stat: name, and user + system and guest time in ticks. */
bool proc_parse_stat(const char *text, uint64_t *cpu_ticks, uint64_t *guest_ticks);

#endif
