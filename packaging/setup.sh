#!/bin/sh
# Makes sure that this machine has what a make target needs.
#
#   packaging/setup.sh GROUP...     groups: build demo test bench hardware lint deb deb-arm64 packages
#
# Installs the Debian packages of the groups that are missing, with sudo when the
# user is not root, and fetches the right Go when there is none or one too old.
# Does nothing when all is there.
set -eu
cd "$(dirname "$0")/.."

# group, package, what it is for
packages() {
	cat <<-'LIST'
		build  gcc                             compiles the binding to GStreamer
		build  libc6-dev                       C headers for that
		build  pkg-config                      finds GStreamer's headers
		build  libgstreamer1.0-dev             GStreamer's headers
		build  libgstreamer-plugins-base1.0-dev  headers to feed frames into GStreamer
		build  ca-certificates                 downloads Go modules over HTTPS
		build  golang-go                       downloads the newer Go that the project needs
		demo   gstreamer1.0-plugins-base       converts and scales pictures
		demo   gstreamer1.0-plugins-good       writes the snapshot
		demo   gstreamer1.0-plugins-bad        parses H.264 and H.265, decodes in hardware, shows on HDMI and Wayland
		demo   gstreamer1.0-libav              decodes in software
		demo   gstreamer1.0-x                  shows in an X11 window
		demo   mosquitto                       the MQTT broker of the demo and the tests
		test   xvfb                            an X server without a screen, to look at the picture
		test   weston                          a Wayland compositor without a screen, for the same
		test   ffmpeg                          makes clips and decodes them, to compare with
		test   curl                            pulls streams, to compare with
		test   bash                            the tests complete command lines in it
		test   groff-base                      reads the manual pages
		test   zsh                             the same
		test   fish                            the same
		test   python3-jinja2                  evaluates the templates for Home Assistant as it does
		test   gstreamer1.0-tools              gst-launch-1.0, to take screenshots and to compare with
		lint   shellcheck                      checks the shell scripts
		hardware  linux-source-6.12            the kernel of the virtual hardware, built from source
		hardware  xz-utils                     unpacks it
		hardware  patch                        patches it
		hardware  flex                         for the language of its options
		hardware  bison                        for the same
		hardware  bc                           computes its constants of time
		hardware  busybox-static               switches the virtual machine off and its loopback on
		hardware  libva-dev                    headers for the VA-API driver of the tests
		hardware  libavcodec-dev               decodes in it
		deb    dpkg-dev                        finds out which libraries the package depends on
		deb    lintian                         checks the package
		packages  debootstrap                  makes a fresh Debian to install the package in
		deb-arm64  gcc-aarch64-linux-gnu       compiles the binding to GStreamer for arm64
		deb-arm64  qemu-user-static            runs what was compiled, to try it
	LIST
}

# Tests run what the demo runs; benchmarks and virtual hardware what the tests run.
groups() {
	for group; do
		case $group in
		build | demo | lint) echo "$group" ;;
		test) echo demo test ;;
		bench | hardware) echo demo test "$group" ;;
		deb) echo build deb ;;
		packages) echo build deb packages ;;
		deb-arm64) echo build deb deb-arm64 ;;
		*)
			echo "setup: no group $group; there are build, demo, test, bench, hardware, lint, deb, deb-arm64 and packages" >&2
			exit 2
			;;
		esac
	done
}

# installed says whether a package is there; Go may also come from elsewhere than Debian.
installed() {
	[ "$1" = golang-go ] && command -v go >/dev/null && return
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

# install installs packages with apt-get, as root.
install() {
	as_root=
	if [ "$(id -u)" != 0 ]; then
		as_root=sudo
		if ! command -v sudo >/dev/null; then
			echo "setup: not root and no sudo. As root: apt-get install $*" >&2
			exit 1
		fi
	fi
	echo "setup: asking for the list of packages"
	$as_root apt-get update -qq
	$as_root apt-get install -qq -y --no-install-recommends --print-uris "$@" |
		awk '{ n++; bytes += $3 } END { printf "setup: %d packages with all that they need, %.0f MB to download; a minute or two on a fast line\n", n, bytes / 1e6 }'
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# install_missing says which packages are missing and why, and installs them.
install_missing() {
	lacking=$(missing "$@")
	[ -n "$lacking" ] || return 0
	if ! command -v dpkg-query >/dev/null; then
		echo "setup: this is no Debian; make sure that what these packages hold is there:"
		echo "$lacking" | sed 's/^/  /'
		return
	fi
	echo "setup: these Debian packages are missing and will be installed:"
	echo "$lacking" | while read -r package why; do printf '  %-34s %s\n' "$package" "$why"; done
	# The names hold no blanks, so the shell may split them.
	# shellcheck disable=SC2046
	install $(echo "$lacking" | cut -d ' ' -f 1)
}

# go_fits says whether the Go that is there can build the project; $have is its version.
# Asked inside the module, a Go from 1.21 on fetches a newer one by itself where it may.
go_fits() {
	have=$(go env GOVERSION 2>/dev/null) || have=$(go version 2>&1) || have=none
	[ "$(printf '%s\n%s\n' "go$need" "${have%% *}" | sort -V | head -n 1)" = "go$need" ]
}

# fetch_go lets the Go that is there fetch the one needed as a newer Go does by itself:
# as a module, checked against Go's checksum database. A module carries no right to
# execute and no go.mod below its own; what fetches puts both back.
# The Makefile puts bin/toolchain in front of PATH.
fetch_go() {
	version=$(sed -n 's/^toolchain go//p' go.mod)
	version=${version:-$need}
	module=golang.org/toolchain@v0.0.1-go$version.linux-$(go env GOHOSTARCH)
	echo "setup: Go $need or newer is needed and there is $have; fetching Go $version as the module $module"
	# Outside this module, because an old Go cannot read its go.mod.
	if ! (cd / && go mod download "$module"); then
		echo "setup: Go $version could not be fetched. Install it, in PATH or in /usr/local/go, and again make" >&2
		exit 1
	fi
	root=$(go env GOMODCACHE)/$module
	chmod u+w "$root/src"
	chmod a+x "$root"/bin/* "$root"/pkg/tool/*/*
	cp -f "$root/src/_go.mod" "$root/src/go.mod"
	mkdir -p bin
	ln -sfn "$root" bin/toolchain
}

groups "$@" >/dev/null
install_missing "$@"
need=$(sed -n 's/^go //p' go.mod)
go_fits || fetch_go
