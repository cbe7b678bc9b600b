package quirk

import "github.com/edge-agent/edge-agent/decode/format"

// Chips, by what the device tree, or the PCI id of the graphics, says.
var (
	pi3        = []string{"brcm,bcm2837", "brcm,bcm2837-v0"}
	pi4        = []string{"brcm,bcm2711"}
	pi5        = []string{"brcm,bcm2712"}
	alderLakeN = []string{"8086:46d0", "8086:46d1", "8086:46d2"}
	elkhart    = []string{"8086:4541", "8086:4551", "8086:4555", "8086:4557", "8086:4570", "8086:4571"}
	jasper     = []string{"8086:4e51", "8086:4e55", "8086:4e57", "8086:4e61", "8086:4e71"}
)

// Drivers of the kernel, by the names that sysfs gives.
var (
	intel     = []string{"i915", "xe"}
	amd       = []string{"amdgpu", "radeon"}
	piDisplay = []string{"vc4", "vc4-drm"}
	firmware  = []string{"bcm2835-codec"} // H.264 of the Pi 3 and 4
	piHEVC    = []string{"rpi-hevc-dec", "rpivid", "hevc_dec"}
	rockchip  = []string{"rockchip", "rockchip-drm"}
	venus     = []string{"qcom-venus-decoder", "qcom-venus", "wave5", "vpu-dec"}
)

// fullHD is the size that decoders of 1080p are made for, in pixels.
const fullHD = 1920 * 1088

// All is the table of known faults, by boxes. docs/hardware.md shows it.
var All = []Row{
	{
		ID: "pi4-pipelines", Where: "Pi 4", Drivers: firmware, Chips: pi4, From: "1.22", Before: "1.24",
		Codec:   format.H264,
		Actions: []Action{NewRenderer}, N: 20,
		Text: "The decoder stops after some pipelines in one process.", Does: "new renderer every 20 pipelines",
		Source: "raspberrypi/firmware#1845",
	},
	{
		ID: "pi3-capture-mmap", Where: "Pi 3", Drivers: firmware, Chips: pi3, Codec: format.H264,
		Actions: []Action{MMAPCapture, CopyPath},
		Text:    "A display that shows the decoder's buffers keeps them, and the decoder stops near frame 15.",
		Does:    "the decoder writes to mapped memory, and pictures are copied", Source: "Screenly/Anthias#3164",
	},
	{
		ID: "pi4-capture-mmap", Where: "Pi 4", Drivers: firmware, Chips: pi4, Codec: format.H264,
		Actions: []Action{MMAPCapture},
		Text:    "With DMABuf buffers the decoder fails after an hour, at 2,000 attachments.",
		Does:    "the decoder writes to mapped memory", Source: "raspberrypi/linux#3519",
	},
	{
		ID: "pi4-h264-size", Where: "Pi 3 and 4", Drivers: firmware, Codec: format.H264, Over: fullHD,
		Actions: []Action{Software},
		Text:    "H.264 of more than 1080p is not decoded.", Does: "software first for H.264 of more than 1080p",
		Source: "raspberrypi/linux#3484",
	},
	{
		ID: "pi4-h264-profile", Where: "Pi 3 and 4", Drivers: firmware,
		Codec: format.H264, Profiles: []byte{110, 122, 244},
		Actions: []Action{Software},
		Text:    "The profiles High 10, High 4:2:2 and High 4:4:4 are not decoded.",
		Does:    "software first for High 10, 4:2:2 and 4:4:4", Source: "raspberrypi/linux#3484",
	},
	{
		ID: "pi4-colorimetry", Where: "Pi 3 and 4", Drivers: firmware, From: "1.22", Codec: format.H264,
		Actions: []Action{Report},
		Text:    "A stream with an unspecified transfer function is \"not-negotiated\".",
		Does:    "tried again with a colorimetry that is set", Source: "raspberrypi/linux#7560",
	},
	{
		ID: "pi4-no-valid-frames", Where: "Pi 3 and 4", Drivers: firmware, Codec: format.H264,
		Actions: []Action{Report},
		Text:    "\"No valid frames decoded before end of stream\" with the caps that the parser makes.",
		Does:    "decode.error, then software", Source: "raspberrypi/firmware#1673",
	},
	{
		ID: "pi4-slows-down", Where: "Pi 4", Drivers: firmware, Chips: pi4, Codec: format.H264,
		Actions: []Action{Report},
		Text:    "The decoder slows down and stops after 20 to 80 minutes, and then hangs when it is stopped.",
		Does:    "decode.silent or decode.hang, the process is killed", Source: "raspberrypi/linux#4592",
	},
	{
		ID: "pi4-size-change", Where: "Pi 4", Drivers: firmware, Chips: pi4, Codec: format.H264,
		Actions: []Action{Report},
		Text:    "The decoder cannot change its size while it runs.", Does: "a new size is a new pipeline",
		Source: "raspberrypi/linux#3390",
	},
	{
		ID: "pi4-hevc-cma", Where: "Pi 4", Drivers: piHEVC, Chips: pi4, Codec: format.H265,
		Actions: []Action{Report},
		Text:    "The kernel reserves too little contiguous memory for large pictures.",
		Does:    "if it fails, boot with dtoverlay=vc4-kms-v3d,cma-512", Source: "raspberrypi/linux#4112",
	},
	{
		ID: "pi-hevc-empty", Where: "Pi 4 and 5", Drivers: piHEVC, Codec: format.H265,
		Actions: []Action{Report},
		Text:    "With kernels of 2026 every picture may be empty, with an error in the kernel's log only.",
		Does:    "decode.stale, in the probe already", Source: "raspberrypi/linux#7363, raspberrypi/linux#7536",
	},
	{
		ID: "pi5-stripes", Where: "Pi 5", Drivers: piHEVC, Chips: pi5, From: "1.26", Before: "1.30", Codec: format.H265,
		Actions: []Action{CopyPath},
		Text:    "Pictures are right, and have green stripes on a plane of the display.", Does: "pictures are copied",
		Source: "RPi-Distro/repo#406",
	},
	{
		ID: "pi5-copied", Where: "Pi 5", Drivers: piHEVC, Chips: pi5, Before: "1.26.11", Codec: format.H265,
		Actions: []Action{Report},
		Text:    "1080p is copied by the CPU.", Does: "works, costs CPU", Source: "RPi-Distro/repo#406",
	},
	{
		ID: "pi5-one-consumer", Where: "Pi 5", Drivers: piHEVC, Chips: pi5, Codec: format.H265,
		Actions: []Action{OneConsumer},
		Text:    "EINVAL and a segmentation fault when two elements share the decoder's buffers.",
		Does:    "one element uses the buffers", Source: "raspberrypi/linux#7612",
	},
	{
		ID: "pi5-hevc-key-frame", Where: "Pi 5", Drivers: piHEVC, Chips: pi5, Codec: format.H265,
		Actions: []Action{Report},
		Text:    "The decoder crashes when a stream does not begin with a key frame.",
		Does:    "each pipeline begins with a key frame", Source: "raspberrypi/linux#7612",
	},
	{
		ID: "pi5-hevc-stops", Where: "Pi 5", Drivers: piHEVC, Chips: pi5, Codec: format.H265,
		Actions: []Action{Report},
		Text:    "The decoder stops at a certain frame, with kernels before July 2026.",
		Does:    "decode.error \"took too long\"", Source: "raspberrypi/linux#7480",
	},
	{
		ID: "pi3-rotation", Where: "Pi 3", Drivers: piDisplay, Chips: pi3, Actions: []Action{NoQuarterTurn},
		Text: "Planes rotate by 180 degrees only.", Does: "no rotation by 90 degrees by a plane",
		Source: "Screenly/Anthias#3198",
	},
	{
		ID: "pi4-replug", Where: "Pi 4", Drivers: piDisplay, Chips: pi4, Actions: []Action{ModeAgain},
		Text: "At 4K60 the screen stays black after it was plugged in again.", Does: "the mode is set again",
		Source: "raspberrypi/linux#4411",
	},
	{
		ID: "pi5-cec", Where: "Pi 5", Drivers: piDisplay, Chips: pi5, Actions: []Action{Report},
		Text:   "CEC has the address f.f.f.f although the EDID is valid.",
		Does:   "the screen cannot be switched by CEC; use DDC",
		Source: "raspberrypi/linux#7485",
	},
	{
		ID: "edid-unread", Where: "Pi 5 and Intel", Screens: true, Drivers: []string{"vc4", "vc4-drm", "i915", "xe"},
		Actions: []Action{Report},
		Text:    "An output is connected and has no modes, because its EDID was not read.",
		Does:    "if there are no modes, the output is looked at again", Source: "Screenly/Anthias#3155",
	},
	{
		ID: "intel-three-decoders", Where: "Intel", Drivers: intel, Codec: format.H264,
		Actions: []Action{Decoders}, N: 2,
		Text: "Three H.264 pipelines at once hang the GPU, and often the box.", Does: "at most 2 decoders at once",
		Source: "intel/media-driver#1969",
	},
	{
		ID: "intel-hevc-damaged", Where: "Intel", Drivers: intel, Codec: format.H265, Actions: []Action{Report},
		Text:   "The GPU hangs with damaged H.265.",
		Does:   "decode.hang, decode.error or decode.silent; the next decoder continues",
		Source: "intel/media-driver#1373",
	},
	{
		ID: "adl-n-hevc", Where: "Intel Alder Lake N", Drivers: intel, Chips: alderLakeN, Codec: format.H265,
		Actions: []Action{Report},
		Text:    "The GPU hangs with iHD 24.2.3.", Does: "update intel-media-va-driver; the next decoder continues",
		Source: "intel/media-driver#1818",
	},
	{
		ID: "elkhart-hevc-4k", Where: "Intel Elkhart Lake",
		Drivers: intel, Chips: elkhart, Codec: format.H265, Over: fullHD,
		Actions: []Action{Software},
		Text:    "H.265 Main 10 in 4K ends in a preemption timeout of the video engine.",
		Does:    "software first for H.265 of more than 1080p", Source: "intel/media-driver#1963",
	},
	{
		ID: "jasper-i965", Where: "Intel Jasper Lake", Drivers: intel, Chips: jasper, Codec: format.H265,
		Actions: []Action{Report},
		Text:    "The GPU hangs with the i965 driver.", Does: "use intel-media-va-driver and not i965-va-driver",
		Source: "intel/intel-vaapi-driver#565",
	},
	{
		ID: "iris655-hevc", Where: "Intel i7-8559U", Drivers: intel, Chips: []string{"8086:3ea5"}, Codec: format.H265,
		Actions: []Action{Report},
		Text:    "The GPU hangs with the iHD drivers 22.x.", Does: "update intel-media-va-driver",
		Source: "intel/media-driver#1358",
	},
	{
		ID: "gemini-slow", Where: "Intel N4000", Drivers: intel, Chips: []string{"8086:3184", "8086:3185"},
		Actions: []Action{ByRate},
		Text:    "VA-API is slower than the CPU.", Does: "the decoder that was faster in its trial comes first",
		Source: "intel/libva#734",
	},
	{
		ID: "xe-dmabuf", Where: "Intel xe", Drivers: []string{"xe"}, Actions: []Action{Linear},
		Text: "DMABuf memory with other modifiers cannot be negotiated.", Does: "DMABuf with the modifier LINEAR only",
		Source: "games-on-whales/gst-wayland-display#14",
	},
	{
		ID: "libva-primary-node", Where: "VA-API", Drivers: []string{"i915", "xe", "amdgpu", "radeon"},
		Elements: []string{`va.*`}, Actions: []Action{Report},
		Text: "With libva 2.20 and later the primary node cannot be used.", Does: "decoders use the render node",
		Source: "moonlight-stream/moonlight-qt",
	},
	{
		ID: "va-hevc-old-pictures", Where: "VA-API", Elements: []string{`va(renderD\d+)?h265dec`}, From: "1.22",
		Before: "1.24",
		Codec:  format.H265, Actions: []Action{Report},
		Text: "A decoding error is not reported; old pictures are delivered.", Does: "decode.stale",
		Source: "test/virtual-hardware/va TestFaultsWhileDecoding",
	},
	{
		ID: "amd-modifier", Where: "AMD", Drivers: []string{"amdgpu"}, Actions: []Action{Linear},
		Text: "Pictures with a DCC modifier are read as green.", Does: "DMABuf with the modifier LINEAR only",
		Source: "games-on-whales/gst-wayland-display#40",
	},
	{
		ID: "amd-two-decoders", Where: "AMD", Drivers: []string{"amdgpu"}, Elements: []string{`va.*`},
		Actions: []Action{Decoders}, N: 1,
		Text: "Processors with graphics have page faults with two decoders at once.", Does: "at most 1 decoder at once",
		Source: "jellyfin/jellyfin#12186",
	},
	{
		ID: "amd-freezes", Where: "AMD", Drivers: amd, Elements: []string{`va.*`}, Actions: []Action{Report},
		Text: "Decoding freezes for a second or two.", Does: "decode.silent if it lasts longer than the agent waits",
		Source: "mpv-player/mpv#13079",
	},
	{
		ID: "nvidia-gl", Where: "NVIDIA", Drivers: []string{"nvidia", "nvidia-drm"}, Screens: true, From: "1.28",
		Actions: []Action{NoGL},
		Text:    "glimagesink is black with driver 595, and waylandsink wrong if the width is no multiple of 4.",
		Does:    "pictures go to X11", Source: "FDH2/UxPlay#519",
	},
	{
		ID: "jetson-memory", Where: "NVIDIA Jetson", Elements: []string{`nvv4l2decoder`}, Actions: []Action{Denied},
		Text: "Pictures lie in NVMM memory, which other elements cannot read.", Does: "the decoder is not used",
		Source: "OE4T/meta-tegra#486",
	},
	{
		ID: "rk3588-oops", Where: "RK3588, vendor kernel", Chips: []string{"rockchip,rk3588*"},
		Elements: []string{`mppvideodec`},
		Actions:  []Action{Report},
		Text:     "The kernel fails when a task of the decoder is freed.",
		Does:     "decode.down if a trial took the box down twice",
		Source:   "rockchip-linux/kernel#362",
	},
	{
		ID: "mpp-restart-leak", Where: "Rockchip MPP", Elements: []string{`mppvideodec`},
		Actions: []Action{NewRenderer}, N: 1,
		Text: "Memory is lost each time a pipeline stops and starts.", Does: "new renderer for every pipeline",
		Source: "rockchip-linux/gstreamer-rockchip#69",
	},
	{
		ID: "mpp-memory", Where: "Rockchip MPP", Elements: []string{`mppvideodec`}, Actions: []Action{Report},
		Text:   "Memory grows until the box has none left.",
		Does:   "decode.memory at half of the box's memory, at most 2 GiB; a new process",
		Source: "rockchip-linux/mpp#957",
	},
	{
		ID: "mpp-pink", Where: "RK3568J, RV1126B", Chips: []string{"rockchip,rk3568*", "rockchip,rv1126*"},
		Elements: []string{`mppvideodec`}, Actions: []Action{Report},
		Text: "\"can't process this frame\", and pink pictures of H.265.", Does: "decode.differs, in the probe already",
		Source: "rockchip-linux/mpp#488",
	},
	{
		ID: "rockchip-planes", Where: "Rockchip", Drivers: rockchip, Actions: []Action{ChoosePlane},
		Text: "The only overlay is a cursor plane, or kmssink finds no plane.", Does: "the agent names the plane",
		Source: "moonlight-stream/moonlight-embedded#875",
	},
	{
		ID: "spacemit-k1-plane", Where: "SpacemiT K1", Chips: []string{"spacemit,k1*"}, Screens: true,
		Actions: []Action{NoPrimaryNV12},
		Text:    "The primary plane claims NV12 and does not show it.", Does: "no NV12 on the primary plane",
		Source: "moonlight-stream/moonlight-qt",
	},
	{
		ID: "venus-size", Where: "Qualcomm Venus, wave5", Drivers: venus, Actions: []Action{Report},
		Text: "The decoder fails when the declared size is not that of the stream.",
		Does: "the size is that of the parameter sets", Source: "moonlight-stream/moonlight-qt#1042",
	},
	{
		ID: "venus-firmware", Where: "Qualcomm Venus", Drivers: []string{"qcom-venus-decoder", "qcom-venus"},
		Actions: []Action{Report},
		Text:    "The firmware is not found and the process cannot even be killed.",
		Does:    "decode.hang; the process is left behind",
		Source:  "radxa/kernel#560",
	},
	{
		ID: "imx8mq-tiling", Where: "i.MX8M Quad", Chips: []string{"fsl,imx8mq"}, Drivers: []string{"hantro-vpu"},
		Over: fullHD, Actions: []Action{Report},
		Text: "4K is choppy where pictures are not tiled.", Does: "works, drops frames",
		Source: "Freescale/gstreamer-imx#311",
	},
	{
		ID: "v4l2sl-wavefronts", Where: "V4L2 stateless", Elements: []string{`v4l2sl(video\d+)?h265dec`}, From: "1.22",
		Before: "1.24",
		Codec:  format.H265, Actions: []Action{Report},
		Text:   "The decoder crashes on H.265 with wavefronts, x265's default.",
		Does:   "decode.crash; the next decoder continues",
		Source: "test/virtual-hardware/v4l2 TestWavefrontCrash",
	},
	{
		ID: "v4l2sl-unplug", Where: "V4L2 stateless", Elements: []string{`v4l2sl(video\d+)?h264dec`}, From: "1.22",
		Before: "1.24",
		Codec:  format.H264, Actions: []Action{Report},
		Text:   "The decoder may crash when its device goes away.",
		Does:   "decode.crash or decode.error; the next decoder continues",
		Source: "test/virtual-hardware/v4l2 TestUnplugAndPlug",
	},
	{
		ID: "kms-dpms", Where: "any graphics card", Screens: true, Actions: []Action{Report},
		Text:   "DPMS in sysfs answers EBUSY while a program is master of the card.",
		Does:   "the renderer switches the screen",
		Source: "Screenly/Anthias#3065",
	},
	{
		ID: "kms-plane-bound", Where: "any graphics card", Screens: true, Actions: []Action{ClearPlanes},
		Text: "A kmssink that was killed leaves its plane on the screen.", Does: "planes are cleared at the start",
		Source: "Screenly/Anthias#3164",
	},
}
