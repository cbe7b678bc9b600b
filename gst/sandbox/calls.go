package sandbox

import (
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// denied are system calls that no decoder and no display needs: looking into other processes, changing the box, and
// ways to do what is denied by another door (io_uring opens sockets, user namespaces give capabilities back).
var denied = []string{
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
	"add_key", "request_key", "keyctl",
	"mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
	"setns", "unshare", "name_to_handle_at", "open_by_handle_at", "fanotify_init", "quotactl", "quotactl_fd", "acct", "swapon", "swapoff",
	"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog",
	"settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "sethostname", "setdomainname",
	"iopl", "ioperm", "vhangup", "modify_ldt", "personality", "lookup_dcookie",
}

// families are the kinds of sockets that are left: displays are reached over Unix sockets, and netlink tells of
// devices.
var families = []uint64{unix.AF_UNIX, unix.AF_NETLINK}

// restrictCalls denies system calls. What is denied fails with EPERM.
func (b box) restrictCalls() error {
	info, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	known := slices.DeleteFunc(slices.Clone(denied), func(name string) bool {
		_, ok := info.SyscallNames[name]
		return !ok // not on this kind of processor
	})
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync | seccomp.FilterFlag(unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW), // kernels before 5.16 would decode slower
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionAllow,
			Syscalls: []seccomp.SyscallGroup{{
				Action: seccomp.ActionErrno,
				Names:  known,
				NamesWithCondtions: []seccomp.NameWithConditions{
					{Name: "socket", Conditions: none(b.allowedFamilies())},
					{Name: "clone", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_NEWUSER}}},
				},
			}},
		},
	})
}

// allowedFamilies are those of sockets that may be made. An X server of another box needs TCP; landlock bounds the
// port.
func (b box) allowedFamilies() []uint64 {
	if tcpPort(b.getenv("DISPLAY")) != 0 {
		return append(slices.Clone(families), unix.AF_INET, unix.AF_INET6)
	}
	return families
}

// none is true where the first argument is none of some values.
func none(values []uint64) (c seccomp.ArgumentConditions) {
	for _, v := range values {
		c = append(c, seccomp.Condition{Argument: 0, Operation: seccomp.NotEqual, Value: v})
	}
	return c
}
