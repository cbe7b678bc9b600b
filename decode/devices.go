package decode

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/system"
)

// deviceNode is one by which decoders reach their hardware.
type deviceNode struct {
	path   string
	closed bool // this user may not open it: GStreamer then knows of no decoder behind it
}

// devicePatterns are below /dev: stateless codecs, all of Video4Linux, and graphics.
var devicePatterns = []string{"media*", "video*", "dri/renderD*"}

// deviceNodes lists the nodes below a folder that is /dev, in order of their names.
func deviceNodes(dev string) []deviceNode {
	var nodes []deviceNode
	for _, pattern := range devicePatterns {
		paths, _ := filepath.Glob(filepath.Join(dev, pattern)) // the only error is one of the pattern
		for _, path := range paths {
			nodes = append(nodes, deviceNode{path, !system.MayUse(path)})
		}
	}
	slices.SortFunc(nodes, func(a, b deviceNode) int { return cmp.Compare(a.path, b.path) })
	return nodes
}

// groupOf gives the name of the group that owns a file, its number when it has no name.
func groupOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	_, gid := system.OwnerOf(info)
	number := strconv.FormatUint(uint64(gid), 10)
	group, err := user.LookupGroupId(number)
	if err != nil {
		return number
	}
	return group.Name
}

// closedNodes are those of the device nodes that this user may not open.
func closedNodes(nodes []deviceNode) []deviceNode {
	return slices.DeleteFunc(slices.Clone(nodes), func(n deviceNode) bool { return !n.closed })
}

// ClosedDevices lists the device nodes below /dev that may lead to decoders and that this user may not open.
func ClosedDevices() []string {
	paths := []string{}
	for _, n := range closedNodes(deviceNodes("/dev")) {
		paths = append(paths, n.path)
	}
	return paths
}

// access says which nodes are closed and what to do about it; group gives the name of a file's group.
func access(closed []deviceNode, group func(path string) string) report.Report {
	var paths, groups []string
	for _, n := range closed {
		paths, groups = append(paths, n.path), append(groups, group(n.path))
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	return report.Report{
		Code: report.CodeAccess,
		Message: fmt.Sprintf("this user may not open %s: decoders behind them are not seen; they belong to the group %s, which the user has to be in, and the agent to be started anew",
			strings.Join(paths, ", "), strings.Join(groups, " or ")),
		Detail: map[string]any{"devices": paths, "groups": groups},
	}
}
