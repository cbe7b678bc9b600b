#!/bin/sh
# Makes sure that this machine has what a make target needs.
#
#   packaging/setup.sh GROUP...     groups: build demo test bench
#
# Checks Go, then installs the Debian packages of the groups that are missing,
# with sudo when the user is not root. Does nothing when all is there.
set -eu

# group, package, what it is for
packages() {
	cat <<-'LIST'
		build  gcc                             compiles the binding to GStreamer
		build  libc6-dev                       C headers for that
		build  pkg-config                      finds GStreamer's headers
		build  libgstreamer1.0-dev             GStreamer's headers
		build  libgstreamer-plugins-base1.0-dev  headers to feed frames into GStreamer
		build  ca-certificates                 downloads Go modules over HTTPS
		demo   gstreamer1.0-plugins-base       converts and scales pictures
		demo   gstreamer1.0-plugins-good       writes the snapshot
		demo   gstreamer1.0-plugins-bad        parses H.264 and H.265, decodes in hardware, shows on HDMI and Wayland
		demo   gstreamer1.0-libav              decodes in software
		demo   gstreamer1.0-x                  shows in an X11 window
		demo   mosquitto                       the MQTT broker of the demo and the tests
		test   xvfb                            an X server without a screen, to look at the picture
		test   ffmpeg                          makes clips and decodes them, to compare with
		test   gstreamer1.0-tools              gst-launch-1.0, to take screenshots and to compare with
	LIST
}

# Tests run what the demo runs, and benchmarks what the tests run.
groups() {
	for group; do
		case $group in
		build | demo) echo "$group" ;;
		test) echo demo test ;;
		bench) echo demo test bench ;;
		*)
			echo "setup: no group $group; there are build, demo, test and bench" >&2
			exit 2
			;;
		esac
	done
}

# check_go wants the version of go.mod. A Go from 1.21 on fetches a newer one by itself.
check_go() {
	need=$(sed -n 's/^go //p' "$(dirname "$0")/../go.mod")
	# Asked inside the module, go answers with the version it will use, or says why it cannot.
	if have=$("${GO:-go}" env GOVERSION 2>&1); then
		have=${have#go}
		[ "$(printf '%s\n%s\n' "$need" "${have%% *}" | sort -V | head -n 1)" = "$need" ] && return
	else
		have="none, or one that does not work: $have"
	fi
	cat >&2 <<-MESSAGE
		setup: Go $need or newer is needed; found: $have
		Debian's own package is too old. As root:
		  curl -fL https://go.dev/dl/go$need.linux-$(dpkg --print-architecture 2>/dev/null || echo amd64).tar.gz | tar -xz -C /usr/local
		and again make. /usr/local/go is found without being in PATH.
	MESSAGE
	exit 1
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# missing prints those packages of the groups that are not installed.
missing() {
	for wanted in $(groups "$@" | tr ' ' '\n' | sort -u); do
		packages | while read -r group package why; do
			[ "$group" = "$wanted" ] || continue
			installed "$package" || echo "$package $why"
		done
	done
}

install_packages() {
	as_root=
	if [ "$(id -u)" != 0 ]; then
		as_root=sudo
		if ! command -v sudo >/dev/null; then
			echo "setup: not root and no sudo. As root: apt-get install $*" >&2
			exit 1
		fi
	fi
	$as_root apt-get update -q
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

groups "$@" >/dev/null
check_go
if ! command -v dpkg-query >/dev/null; then
	echo "setup: this is no Debian; make sure that what these packages hold is there:"
	missing "$@" | sed 's/^/  /'
	exit 0
fi
lacking=$(missing "$@")
[ -n "$lacking" ] || exit 0
echo "setup: these Debian packages are missing and will be installed:"
echo "$lacking" | while read -r package why; do printf '  %-34s %s\n' "$package" "$why"; done
# The names hold no blanks, so the shell may split them.
# shellcheck disable=SC2046
install_packages $(echo "$lacking" | cut -d ' ' -f 1)
