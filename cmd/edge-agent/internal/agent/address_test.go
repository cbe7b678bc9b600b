package agent

import (
	"net/netip"
	"testing"
)

func TestAddressText(t *testing.T) {
	at := func(device, ip string) hostAddress { return hostAddress{device, netip.MustParseAddr(ip)} }
	for name, c := range map[string]struct {
		list  []hostAddress
		route string
		want  string
	}{
		"none":              {nil, "", "no network address"},
		"only loopback":     {[]hostAddress{at("lo", "127.0.0.1"), at("lo", "::1")}, "", "no network address"},
		"one":               {[]hostAddress{at("lo", "127.0.0.1"), at("eth0", "10.0.0.7"), at("eth0", "fe80::1")}, "eth0", "10.0.0.7 (eth0)"},
		"default route":     {[]hostAddress{at("eth0", "10.0.0.7"), at("wlan0", "192.168.1.9")}, "wlan0", "192.168.1.9 (wlan0), 10.0.0.7 (eth0)"},
		"containers":        {[]hostAddress{at("docker0", "172.17.0.1"), at("veth12", "172.17.0.2"), at("eth0", "10.0.0.7")}, "eth0", "10.0.0.7 (eth0)"},
		"no lease":          {[]hostAddress{at("eth0", "169.254.3.4")}, "", "169.254.3.4 (eth0)"},
		"lease beside none": {[]hostAddress{at("eth0", "169.254.3.4"), at("wlan0", "10.0.0.8")}, "", "10.0.0.8 (wlan0), 169.254.3.4 (eth0)"},
		"IPv6 alone":        {[]hostAddress{at("eth0", "2001:db8::7"), at("eth0", "fe80::1")}, "", "2001:db8::7 (eth0)"},
		"at most two":       {[]hostAddress{at("a", "10.0.0.1"), at("b", "10.0.1.1"), at("c", "10.0.2.1")}, "c", "10.0.2.1 (c), 10.0.0.1 (a)"},
	} {
		if got := addressText(c.list, c.route); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestRouteDevice(t *testing.T) {
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	for table, want := range map[string]string{
		"": "", head: "",
		head + "eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n":                                                                     "",
		head + "eth0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\nwlan0\t00000000\t0100A8C0\t0003\t0\t0\t1002\t00000000\t0\t0\t0\n":     "eth0",
		head + "wwan0\t00000000\t0100A8C0\t0003\t0\t0\t1002\t00000000\t0\t0\t0\neth1\t00000000\t0100A8C0\t0003\t0\t0\t20\t00000000\t0\t0\t0\ncut\t": "eth1",
	} {
		if got := routeDevice(table); got != want {
			t.Errorf("%q, want %q in\n%s", got, want, table)
		}
	}
}
