package main

import "testing"

// The technician reads which way pictures go, and why not the better one; other displays that were passed over do not belong there.
func TestPathText(t *testing.T) {
	others := []string{"x11: DISPLAY is not set", "plane: plane 33 cannot scale"}
	tests := []struct {
		path   string
		passed []string
		want   string
	}{
		{"", others, ""},
		{"plane", others[:1], ", path plane"},
		{"copy", nil, ", path copy"},
		{"copy", others, ", path copy (plane: plane 33 cannot scale)"},
	}
	for _, tc := range tests {
		if got := pathText(tc.path, tc.passed); got != tc.want {
			t.Errorf("%q, %q: %q, want %q", tc.path, tc.passed, got, tc.want)
		}
	}
}
