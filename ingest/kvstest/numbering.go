package kvstest

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/big"
	"time"
)

// Numbers is how the service numbers the fragments of a stream. The zero value is what was seen of the service: a
// counter that begins at 1 with each created stream. The rest is what a client may not rely on.
type Numbers struct {
	// First is the counter of the first fragment; 0 means 1.
	First int64
	// Wrap is how many numbers there are: after so many fragments the counter begins at First again. 0 means no end.
	Wrap int64
	// Order is which way the counter goes.
	Order Order
}

// Order is which way fragment numbers go.
type Order int

// The orders.
const (
	Rising  Order = iota // as the service does
	Falling              // from First downwards, which has to be high enough for the fragments to come
	Same                 // every fragment has the number of the first
)

func (n Numbers) check() error {
	if n.First < 0 || n.Wrap < 0 {
		return fmt.Errorf("kvstest: numbers that begin at %d and wrap after %d: neither can be negative", n.First, n.Wrap)
	}
	return nil
}

// counter is the counter of fragment i.
func (n Numbers) counter(i int64) int64 {
	first := max(1, n.First)
	if n.Wrap > 0 {
		i %= n.Wrap
	}
	if n.Order == Falling {
		return max(0, first-i)
	}
	return first + i
}

// A fragment number has 157 bits, which makes 47 digits. This is how the numbers in captures of the service are made
// up; AWS does not document it:
//
//	bit 156      1
//	bits 92-155  a counter, 1 for the first fragment of a created stream
//	bits 28-91   the server timestamp, in milliseconds since 1970
//	bits 0-27    any
const (
	numberBits  = 156
	counterBits = 92
	timeBits    = 28
)

// fragmentNumber makes the number of a fragment. The lowest bits come from the ARN, so that no two streams share a
// number.
func fragmentNumber(counter int64, server time.Time, arn string) string {
	hash := fnv.New64a()
	fmt.Fprint(hash, arn, counter, server.UnixMilli())
	v := big.NewInt(1)
	v.Lsh(v, numberBits-counterBits).Add(v, big.NewInt(counter))
	v.Lsh(v, counterBits-timeBits).Add(v, big.NewInt(server.UnixMilli()))
	v.Lsh(v, timeBits).Add(v, big.NewInt(int64(hash.Sum64()>>(64-timeBits))))
	return v.String()
}

// serverTimeIn takes the server timestamp out of a fragment number; false if it cannot be one.
func serverTimeIn(number string) (time.Time, bool) {
	v, ok := new(big.Int).SetString(number, 10)
	if !ok || v.BitLen() != numberBits+1 {
		return time.Time{}, false
	}
	v.Rsh(v, timeBits)
	v.And(v, new(big.Int).SetUint64(math.MaxUint64))
	return time.UnixMilli(v.Int64()), v.IsInt64()
}
