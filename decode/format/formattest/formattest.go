// Package formattest has the parameter sets and frames with which formats are tested, the smallest that there are.
package formattest

var (
	// AVCC with 4-byte Lengths, one SPS of 4 bytes and one PPS of 2.
	AVCC = []byte{
		1, 0x42, 0x00, 0x1e, 0xff,
		0xe1, 0, 4, 0x67, 0x42, 0x00, 0x1e,
		1, 0, 2, 0x68, 0xce,
	}
	Lengths = []byte{0, 0, 0, 2, 0x65, 0x88}
	// AnnexB has the same SPS, PPS and IDR slice.
	AnnexB     = []byte{0, 0, 0, 1, 0x67, 0x42, 0x00, 0x1e, 0, 0, 0, 1, 0x68, 0xce, 0, 0, 0, 1, 0x65, 0x88}
	AnnexBSets = AnnexB[:14]
	// HVCC has 4-byte Lengths, and the VPS, SPS and PPS of HEVCAnnexB.
	HVCC = []byte{
		1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93, 0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0x0f, 3,
		0x20, 0, 1, 0, 3, 0x40, 1, 0x0c,
		0x21, 0, 1, 0, 3, 0x42, 1, 1,
		0x22, 0, 1, 0, 3, 0x44, 1, 0xc1,
	}
	HEVCLengths = []byte{0, 0, 0, 3, 19 << 1, 1, 0xaf}
	// HEVCAnnexB has VPS, SPS, PPS and an IDR slice of H.265.
	HEVCAnnexB = []byte{0, 0, 0, 1, 0x40, 1, 0x0c, 0, 0, 0, 1, 0x42, 1, 1, 0, 0, 0, 1, 0x44, 1, 0xc1, 0, 0, 0, 1, 19 << 1, 1, 0xaf}
)
