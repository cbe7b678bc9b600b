SUMMARY = "Amazon Kinesis video streams on the display of a gateway box"
require edge-agent.inc

GO_INSTALL = "${GO_IMPORT}/cmd/edge-agent"
# Go alone: no compiler for C is needed, and no library on the box.
CGO_ENABLED = "0"

inherit systemd useradd

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --home-dir /var/lib/edge-agent --no-create-home --shell /sbin/nologin --groups video,render,audio edge-agent"
SYSTEMD_SERVICE:${PN} = "edge-agent.service"
# Not before somebody has written streams into the configuration.
SYSTEMD_AUTO_ENABLE:${PN} = "disable"

do_install:append() {
    project=${S}/src/${GO_IMPORT}
    install -D -m 0644 $project/config.toml ${D}${sysconfdir}/edge-agent/config.toml
    install -D -m 0644 $project/packaging/systemd/edge-agent.service ${D}${systemd_system_unitdir}/edge-agent.service
    install -D -m 0644 $project/packaging/systemd/edge-agent.modules-load ${D}${nonarch_libdir}/modules-load.d/edge-agent.conf
}

FILES:${PN} += "${nonarch_libdir}/modules-load.d"
CONFFILES:${PN} = "${sysconfdir}/edge-agent/config.toml"
RDEPENDS:${PN} = "ca-certificates"
RRECOMMENDS:${PN} = "edge-agent-renderer"
RDEPENDS:${PN}-dev = ""
