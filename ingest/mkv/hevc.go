package mkv

import "encoding/binary"

// NAL unit types of H.265 (table 7-1).
const (
	hevcFirstIRAP = 16
	hevcLastIRAP  = 23
	hevcLastSlice = 31
	hevcVPS       = 32
	hevcSPS       = 33
	hevcPPS       = 34
	hevcPrefixSEI = 39
	hevcSuffixSEI = 40
)

const hevcLengthSizeAt = 21 // offset of lengthSizeMinusOne in hvcC

// HEVCConfig is an HEVCDecoderConfigurationRecord (hvcC; ISO/IEC 14496-15, 8.3.3.1).
type HEVCConfig struct {
	Profile, Level byte
	LengthSize     int
	VPS, SPS, PPS  [][]byte
	Width, Height  int // pixels, after cropping; 0 when no SPS can be read
}

// ParseHVCC reads hvcC, the CodecPrivate of H.265. As with ParseAVCC, parameter sets of
// each kind must be there.
func ParseHVCC(b []byte) (*HEVCConfig, error) {
	c, err := ReadHVCC(b)
	if err != nil {
		return nil, err
	}
	if len(c.VPS) == 0 || len(c.SPS) == 0 || len(c.PPS) == 0 {
		return nil, errConfigEmpty
	}
	return c, nil
}

// ReadHVCC is ParseHVCC, but the parameter sets may be missing: streams of the form hev1 have them in band.
func ReadHVCC(b []byte) (*HEVCConfig, error) {
	const head = 23
	if len(b) < head {
		return nil, errConfigShort
	}
	if b[0] != 1 {
		return nil, errConfigVersion
	}
	c := &HEVCConfig{Profile: b[1] & 0x1F, Level: b[12], LengthSize: int(b[hevcLengthSizeAt]&3) + 1}
	rest := b[head:]
	for range b[22] {
		if len(rest) < 3 {
			return nil, errConfigShort
		}
		kind, count := rest[0]&0x3F, int(binary.BigEndian.Uint16(rest[1:]))
		rest = rest[3:]
		for range count {
			if len(rest) < 2 {
				return nil, errConfigShort
			}
			n := int(binary.BigEndian.Uint16(rest))
			if rest = rest[2:]; n == 0 || n > len(rest) {
				return nil, errConfigShort
			}
			c.add(kind, rest[:n:n])
			rest = rest[n:]
		}
	}
	if len(c.SPS) > 0 {
		c.Width, c.Height = hevcSize(c.SPS[0])
	}
	return c, nil
}

func (c *HEVCConfig) add(kind byte, nal []byte) {
	switch kind {
	case hevcVPS:
		c.VPS = append(c.VPS, nal)
	case hevcSPS:
		c.SPS = append(c.SPS, nal)
	case hevcPPS:
		c.PPS = append(c.PPS, nal)
	}
}

// hevcSize reads the size of the picture from an SPS (H.265, 7.3.2.2.1); 0, 0 when
// it cannot be read.
func hevcSize(sps []byte) (width, height int) {
	if len(sps) < 3 {
		return 0, 0
	}
	r, _ := hevcSPSHead(sps)
	chroma := r.ue()
	if chroma == 3 && r.bit() == 1 { // separate_colour_plane_flag
		chroma = 0
	}
	w, h := r.ue(), r.ue()
	cropX, cropY := r.crop()
	unitX, unitY := cropUnits(chroma)
	return r.size(w, h, cropX*unitX, cropY*unitY)
}

// hevcSPSHead reads an SPS of three bytes or more up to and with sps_seq_parameter_set_id.
func hevcSPSHead(sps []byte) (r bitReader, id uint32) {
	r = bitReader{data: unescape(sps[2:])}
	r.skip(4) // sps_video_parameter_set_id
	subLayers := int(r.u(3))
	r.skip(1) // sps_temporal_id_nesting_flag
	hevcProfileTierLevel(&r, subLayers)
	return r, r.ue()
}

// hevcProfileTierLevel passes over profile_tier_level (7.3.3).
func hevcProfileTierLevel(r *bitReader, subLayers int) {
	const profile, level = 88, 8 // bits
	r.skip(profile + level)
	if subLayers == 0 {
		return
	}
	var hasProfile, hasLevel [8]bool
	for i := range 8 {
		p, l := r.bit() == 1, r.bit() == 1 // reserved zero bits behind the last sub-layer
		hasProfile[i], hasLevel[i] = p && i < subLayers, l && i < subLayers
	}
	for i := range subLayers {
		if hasProfile[i] {
			r.skip(profile)
		}
		if hasLevel[i] {
			r.skip(level)
		}
	}
}
