/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a table of checks, each of which looks at one thing of the host and says
 * what it found and, where something is missing, the one command that mends it. Nothing is changed.
 */
#include "vmm/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "arch/x86/probe.h"
#include "devices/net/user_host.h"
#include "vmm/device_access.h"
#include "vmm/exit_status.h"
#include "vmm/fd.h"
#include "vmm/guest_image.h"
#include "vmm/kvm.h"
#include "vmm/log.h"
#include "vmm/util.h"

enum verdict {
	OK,
	MISSING, /* something that trivm can do without */
	BAD,     /* no guest without it */
};

struct finding {
	enum verdict verdict;
	char what[ERR_MSG_MAX];
	const char *remedy;    /* a command or a short advice; NULL: none needed */
	char buf[ERR_MSG_MAX]; /* for a remedy that is made */
};

#define REMEDY "; remedy: " /* in the messages of kvm_open() */

#define SAY(f, v, r, ...)                                            \
	do {                                                         \
		(f)->verdict = (v);                                  \
		(f)->remedy = (r);                                   \
		snprintf((f)->what, sizeof((f)->what), __VA_ARGS__); \
	} while (0)

static void check_kernel(struct finding *f)
{
	struct utsname u;

	uname(&u);
	SAY(f, OK, NULL, "%s %s", u.sysname, u.release);
}

static void check_kvm(struct finding *f)
{
	struct err err;
	struct kvm kvm;

	if (kvm_open(&kvm, KVM_DEVICE, &err) < 0) {
		/* The remedy in the message gets a line of its own, as all have here. */
		char *remedy = strstr(err.msg, REMEDY);

		if (remedy) {
			snprintf(f->buf, sizeof(f->buf), "%s", remedy + strlen(REMEDY));
			*remedy = '\0';
		}
		SAY(f, BAD, remedy ? f->buf : NULL, "%s", err.msg);
		return;
	}
	SAY(f, OK, NULL, "%s can be used, up to %u vCPUs", KVM_DEVICE, kvm.max_vcpus);
	kvm_close(&kvm);
}

static void check_hardware(struct finding *f)
{
	if (probe_cpu_has_virtualization())
		SAY(f, OK, NULL, "the CPU has VMX or SVM");
	else
		SAY(f, MISSING,
		    "in a virtual machine: turn on nested virtualization in its monitor; on a "
		    "computer: turn on VT-x or SVM in the firmware",
		    "the CPU shows neither VMX nor SVM");
}

static void check_linux(struct finding *f)
{
	switch (probe_kvm(KVM_DEVICE)) {
	case PROBE_HARDWARE:
	case PROBE_FULL:
		SAY(f, OK, NULL, "an ordinary kernel can be run");
		break;
	case PROBE_PARTIAL:
		SAY(f, BAD, "lab/run -- trivm run",
		    "KVM emulates the guest's kernel code here and lacks instructions that every "
		    "distribution's kernel uses; bare-metal guests run, others in the lab");
		break;
	case PROBE_FAILED:
		SAY(f, BAD, NULL, "not known: KVM cannot be used");
		break;
	}
}

static void check_device(struct finding *f, const char *path, const char *remedy_absent,
                         const char *purpose)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int e = errno;

	if (fd >= 0)
		SAY(f, OK, NULL, "%s can be opened (%s)", path, purpose);
	else if (e == EACCES || e == EPERM)
		SAY(f, MISSING, device_access_remedy(path, f->buf, sizeof(f->buf)),
		    "%s may not be opened by this user (%s)", path, purpose);
	else
		SAY(f, MISSING, remedy_absent, "%s: %s (%s)", path, strerror(e), purpose);
	fd_close(&fd);
}

/* CAP_NET_ADMIN, by /proc: what TUNSETIFF asks for to make an interface. */
static bool may_make_interfaces(void)
{
	FILE *in = fopen("/proc/self/status", "re");
	unsigned long long caps = 0;
	char line[128];

	while (in && fgets(line, sizeof(line), in))
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	if (in)
		fclose(in);
	return caps >> CAP_NET_ADMIN & 1;
}

/* The name of a tap that belongs to this user. */
static bool own_tap(char *name, size_t size)
{
	glob_t all;
	bool found = false;

	if (glob("/sys/class/net/*/owner", 0, NULL, &all) != 0)
		return false;
	for (size_t i = 0; i < all.gl_pathc && !found; i++) {
		FILE *in = fopen(all.gl_pathv[i], "re");
		long owner = -1;

		found = in && fscanf(in, "%ld", &owner) == 1 && owner == (long)geteuid();
		if (in)
			fclose(in);
		if (found)
			snprintf(name, size, "%.*s",
			         (int)strcspn(all.gl_pathv[i] + strlen("/sys/class/net/"), "/"),
			         all.gl_pathv[i] + strlen("/sys/class/net/"));
	}
	globfree(&all);
	return found;
}

static void check_tun(struct finding *f)
{
	char tap[64];

	check_device(f, "/dev/net/tun", "sudo modprobe tun", "tap devices");
	if (f->verdict != OK || may_make_interfaces())
		return;
	/* To open the node is not enough: TUNSETIFF wants CAP_NET_ADMIN, or an interface of the
	 * user's. */
	if (own_tap(tap, sizeof(tap)))
		SAY(f, OK, NULL, "%s is this user's (--net tap:%s)", tap, tap);
	else
		SAY(f, MISSING,
		    "sudo ip tuntap add tap0 mode tap user $USER && sudo ip link set tap0 up",
		    "this user has no tap interface and may not make one (CAP_NET_ADMIN)");
}

static void check_vhost_net(struct finding *f)
{
	check_device(f, "/dev/vhost-net", "sudo modprobe vhost_net", "the host kernel's datapath");
}

static void check_vhost_vsock(struct finding *f)
{
	check_device(f, "/dev/vhost-vsock", "sudo modprobe vhost_vsock", "--vsock");
}

static void check_user_network(struct finding *f)
{
	struct user_host h;
	char why[400];

	user_host_look(&h, USER_HOST_RESOLV);
	if (!user_host_resolves(&h, USER_HOST_RESOLV, why, sizeof(why)))
		SAY(f, MISSING, NULL, "%s", why);
	else if (!h.ping)
		SAY(f, MISSING, "sudo sysctl net.ipv4.ping_group_range='0 2147483647'",
		    "--net user: the guest can ping the host (10.0.2.2) only");
	else
		SAY(f, OK, NULL, "--net user: names (%s) and pings pass%s", h.dns4,
		    h.ipv6 ? "" : ", IPv6 does not: this host has no address for it");
}

static void check_memlock(struct finding *f)
{
	struct rlimit r;

	getrlimit(RLIMIT_MEMLOCK, &r);
	if (r.rlim_cur == RLIM_INFINITY)
		SAY(f, OK, NULL, "any amount of memory may be locked");
	else
		SAY(f, MISSING, "ulimit -l unlimited",
		    "%llu KiB may be locked: enough but for VFIO and vDPA",
		    (unsigned long long)r.rlim_cur >> 10);
}

static void check_hugepages(struct finding *f)
{
	FILE *in = fopen("/proc/meminfo", "re");
	unsigned long long total = 0, free_pages = 0, value;
	char line[128];

	while (in && fgets(line, sizeof(line), in)) {
		if (sscanf(line, "HugePages_Total: %llu", &value) == 1)
			total = value;
		if (sscanf(line, "HugePages_Free: %llu", &value) == 1)
			free_pages = value;
	}
	if (in)
		fclose(in);
	if (total)
		SAY(f, OK, NULL, "%llu huge pages, %llu free (--hugepages)", total, free_pages);
	else
		SAY(f, MISSING, "sudo sysctl vm.nr_hugepages=256",
		    "no huge pages set aside: --hugepages will not work");
}

static void check_guest(struct finding *f)
{
	struct guest_image image;
	struct err err;

	if (guest_image_find(&image, &err) == 0)
		SAY(f, OK, NULL, "%.200s", image.kernel);
	else
		SAY(f, MISSING, "make guest", "not built: only -k KERNEL can be run");
}

static const struct {
	const char *name;
	void (*check)(struct finding *f);
} checks[] = {
	{"host kernel", check_kernel},        {"KVM", check_kvm},
	{"virtualization", check_hardware},   {"Linux guests", check_linux},
	{"default guest", check_guest},       {"tap", check_tun},
	{"vhost-net", check_vhost_net},       {"vhost-vsock", check_vhost_vsock},
	{"user network", check_user_network}, {"locked memory", check_memlock},
	{"huge pages", check_hugepages},
};

void doctor_help(void)
{
	printf("Usage: trivm doctor\n"
	       "Say what this host can do for a guest, what not, and the command that mends it.\n"
	       "Exit status: 0 if an ordinary kernel can be run here, else 1.\n");
}

int doctor_main(int argc, char **argv)
{
	static const char *const marks[] = {"ok", "--", "NO"};
	enum verdict worst = OK;

	if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
		doctor_help();
		return 0;
	}
	if (argc > 0) {
		log_error("doctor %s: takes no argument", argv[0]);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		struct finding f = {.verdict = OK};

		checks[i].check(&f);
		printf("%s  %-14s %s\n", marks[f.verdict], checks[i].name, f.what);
		if (f.remedy)
			printf("    %-14s remedy: %s\n", "", f.remedy);
		worst = f.verdict > worst ? f.verdict : worst;
	}
	return worst == BAD;
}
