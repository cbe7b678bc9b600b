#!/bin/sh
# Makes the project's clips, clock.h264.mkv and clock.h265.mkv, beside this script.
#
# Needs ffmpeg (with libx264 and libx265) and fonts-dejavu-core. The same versions of these give the same bytes:
# one thread, bit-exact muxing, no dates. The committed clips were made on Debian 12.
#
# The picture is a moving test pattern with timecode and frame number; below it lies the bar that ReadFrameNumber in
# bar.go reads: 20 by 2 blocks, red ... blue at the ends, the number between them in binary and, in the second row, inverted.
set -eu
cd "$(dirname "$0")"

font=/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf

# bar prints the filter that draws the bar for frame N: column 0 red, 1 white over black, 2..17 the bits 15..0,
# 18 black over white, 19 blue. It works on one pixel a block, enlarged afterwards.
bar() {
	bit='if(eq(X,1),1-Y,if(eq(X,18),Y,mod(floor(N/pow(2,17-X))+Y,2)))'
	printf "geq=r='255*if(eq(X,0),1,if(eq(X,19),0,%s))':g='255*if(eq(X,0),0,if(eq(X,19),0,%s))':b='255*if(eq(X,0),0,if(eq(X,19),1,%s))'" \
		"$bit" "$bit" "$bit"
}

# clip WIDTH HEIGHT SECONDS OUTPUT CODEC-OPTIONS... makes one clip; the bar is a ninth of the height.
clip() {
	width=$1 height=$2 seconds=$3 output=$4
	shift 4
	bar_height=$((height / 9))
	picture_height=$((height - bar_height))
	text="fontfile=$font:fontcolor=white:box=1:boxcolor=black:boxborderw=$((height / 60)):x=(w-tw)/2"
	ffmpeg -hide_banner -loglevel error -y -filter_threads 1 -filter_complex_threads 1 -sws_flags bitexact+accurate_rnd \
		-f lavfi -i "testsrc2=size=${width}x${picture_height}:rate=30:duration=$seconds" \
		-f lavfi -i "color=black:size=20x2:rate=30:duration=$seconds" \
		-filter_complex "
			[0:v]drawtext=$text:y=h*0.30:fontsize=$((height / 7)):timecode='00\:00\:00\:00':rate=30,
			     drawtext=$text:y=h*0.58:fontsize=$((height / 9)):text='frame %{eif\:n\:d\:5}',format=gbrp[picture];
			[1:v]format=gbrp,$(bar),scale=${width}:${bar_height}:flags=neighbor[bar];
			[picture][bar]vstack,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p[out]" \
		-map '[out]' -threads 1 -pix_fmt yuv420p -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv \
		"$@" -flags:v +bitexact -fflags +bitexact -map_metadata -1 -f matroska "$output"
}

clip 1280 720 10 clock.h264.mkv \
	-c:v libx264 -preset veryslow -profile:v high -level 3.1 -crf 33 -bf 0 -refs 3 \
	-x264-params keyint=30:min-keyint=30:scenecut=0:threads=1:lookahead-threads=1
clip 640 360 3 clock.h265.mkv \
	-c:v libx265 -preset slow -crf 28 -bf 0 \
	-x265-params keyint=30:min-keyint=30:scenecut=0:open-gop=0:pools=none:frame-threads=1:no-wpp=1:info=0:log-level=error
