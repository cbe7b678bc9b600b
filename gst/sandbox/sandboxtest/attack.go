// Package sandboxtest tries from within a renderer process what somebody would who got hold of it by way of a stream.
package sandboxtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Target is what an attack is after.
type Target struct {
	Agent    int    // process id
	Password string // a file that the agent may read
	TCP, UDP string // addresses
	Folder   string // in which files may be made, if anywhere
}

// Attack tries everything and gives what came of each attempt: nil where it succeeded. No attempt does harm where
// nothing stops it.
func Attack(t Target) map[string]error {
	proc := fmt.Sprintf("/proc/%d/", t.Agent)
	return map[string]error{
		"read the agent's environment":   readFile(proc + "environ"),
		"read the agent's memory":        readFile(proc + "mem"),
		"read the agent's command line":  readFile(proc + "cmdline"),
		"read files by way of the agent": readFile(proc + "root/etc/hostname"),
		"read a password":                readFile(t.Password),
		"read the users of the box":      readFile("/etc/passwd"),
		"list the root folder":           list("/"),
		"list processes":                 list("/proc"),
		"write to a folder":              os.WriteFile(filepath.Join(t.Folder, "written"), nil, 0o600),
		"write to the kernel's settings": write("/sys/kernel/mm/transparent_hugepage/enabled"),
		"make a device node":             unix.Mknod(filepath.Join(t.Folder, "node"), unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))),
		"dial TCP":                       dial("tcp", t.TCP),
		"dial UDP":                       dial("udp", t.UDP),
		"open a raw socket":              socket(unix.AF_INET, unix.SOCK_RAW),
		"open a packet socket":           socket(unix.AF_PACKET, unix.SOCK_RAW),
		"open an io_uring":               call(unix.SYS_IO_URING_SETUP, 1, 0, 0),
		"trace the agent":                unix.PtraceSeize(t.Agent),
		"copy the agent's memory":        copyMemory(t.Agent),
		"make namespaces":                unix.Unshare(0),
		"mount":                          unix.Mount("none", filepath.Join(t.Folder, "missing"), "tmpfs", 0, ""),
		"set the clock":                  unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Sec: -1}),
		"have another program read":      exec.Command("/bin/cat", t.Password).Run(),
		"dump core":                      coreDump(),
	}
}

func readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Read(make([]byte, 1))
	return err
}

func list(name string) error {
	_, err := os.ReadDir(name)
	return err
}

func write(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func dial(network, address string) error {
	conn, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

func socket(family, kind int) error {
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func call(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// copyMemory tries to read at an address that no process has: what matters is whether it is allowed to try.
func copyMemory(pid int) error {
	buffer := make([]byte, 8)
	local := []unix.Iovec{{Base: &buffer[0], Len: 8}}
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0, Len: 8}}, 0)
	if errors.Is(err, unix.EFAULT) {
		return nil
	}
	return err
}

func coreDump() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Max > 1 {
		return err
	}
	return unix.EPERM
}
