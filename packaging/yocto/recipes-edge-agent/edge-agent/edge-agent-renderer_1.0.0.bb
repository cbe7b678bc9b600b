SUMMARY = "The process of edge-agent that decodes and shows"
require edge-agent.inc

DEPENDS = "gstreamer1.0 gstreamer1.0-plugins-base"
GO_INSTALL = "${GO_IMPORT}/cmd/edge-agent-renderer"
CGO_ENABLED = "1"

inherit pkgconfig

do_install:append() {
    install -d ${D}${libexecdir}/edge-agent
    mv ${D}${bindir}/edge-agent-renderer ${D}${libexecdir}/edge-agent/
    rmdir --ignore-fail-on-non-empty ${D}${bindir}
}

FILES:${PN} += "${libexecdir}/edge-agent"
# The plugins of the maker of the chip go to the image: the agent finds them.
RDEPENDS:${PN} = "gstreamer1.0-plugins-base-meta gstreamer1.0-plugins-good-meta gstreamer1.0-plugins-bad-meta"
# Decodes in software. It has LICENSE_FLAGS = "commercial": allow it in local.conf where you may.
RRECOMMENDS:${PN} = "gstreamer1.0-libav"
RDEPENDS:${PN}-dev = ""
