package scanout

import "hash/crc32"

// crc is Linux's crc32_le from 0, which unlike Go's inverts neither what it begins with nor the result.
func crc(b []byte) uint32 { return ^crc32.Update(0xffffffff, crc32.IEEETable, b) }
