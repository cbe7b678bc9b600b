package agent

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// addressEvery is how often it is looked which addresses the box has.
const addressEvery = 5 * time.Second

// mostAddresses is how many of them are of interest.
const mostAddresses = 2

// boxAddress is under which addresses the box is found in its network. It may be used from any goroutine.
type boxAddress struct {
	mu     sync.Mutex
	text   string
	looked time.Time
}

// now gives the addresses for people, as of the last look.
func (b *boxAddress) now(now time.Time) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.text == "" || now.Sub(b.looked) >= addressEvery {
		b.text, b.looked = addressText(hostAddresses(), defaultRoute()), now
	}
	return b.text
}

// hostAddress is an address of this machine.
type hostAddress struct {
	device string // such as eth0
	ip     netip.Addr
}

// addressText is what is shown of a machine's addresses: those that others can reach, first that of the device with the
// default route.
func addressText(list []hostAddress, route string) string {
	list = slices.DeleteFunc(slices.Clone(list), func(a hostAddress) bool {
		return a.ip.IsLoopback() || a.ip.Is6() && a.ip.IsLinkLocalUnicast() || isLocalBridge(a.device)
	})
	slices.SortStableFunc(list, func(a, b hostAddress) int { return cmp.Compare(a.rank(route), b.rank(route)) })
	var devices, texts []string
	for _, a := range list {
		if slices.Contains(devices, a.device) || len(texts) == mostAddresses {
			continue
		}
		devices = append(devices, a.device)
		texts = append(texts, fmt.Sprintf("%s (%s)", a.ip, a.device))
	}
	if len(texts) == 0 {
		return "no network address"
	}
	return strings.Join(texts, ", ")
}

// rank orders addresses by how likely others reach the box there.
func (a hostAddress) rank(route string) int {
	rank := 0
	if a.device != route {
		rank += 4
	}
	if a.ip.IsLinkLocalUnicast() { // it got no other one
		rank += 2
	}
	if a.ip.Is6() {
		rank++
	}
	return rank
}

// isLocalBridge says that a device leads to containers or virtual machines on this box.
func isLocalBridge(device string) bool {
	for _, prefix := range []string{"docker", "br-", "veth", "virbr", "cni", "flannel", "cali"} {
		if strings.HasPrefix(device, prefix) {
			return true
		}
	}
	return false
}

// hostAddresses are those of the devices that are up; none where they cannot be read.
func hostAddresses() (list []hostAddress) {
	devices, _ := net.Interfaces()
	for _, d := range devices {
		if d.Flags&net.FlagUp == 0 || d.Flags&net.FlagRunning == 0 {
			continue
		}
		addresses, _ := d.Addrs()
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				list = append(list, hostAddress{d.Name, prefix.Addr().Unmap()})
			}
		}
	}
	return list
}

// defaultRoute is the device of the default route of IPv4, or "".
func defaultRoute() string {
	table, _ := os.ReadFile("/proc/net/route")
	return routeDevice(string(table))
}

// routeDevice finds the device of the default route with the least metric in a table as /proc/net/route has it.
func routeDevice(table string) (device string) {
	best := -1
	for line := range strings.Lines(table) {
		f := strings.Fields(line) // Iface Destination Gateway Flags RefCnt Use Metric Mask …
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		if metric, err := strconv.Atoi(f[6]); err == nil && (best < 0 || metric < best) {
			device, best = f[0], metric
		}
	}
	return device
}
