package ingest

// Clock says how far the producer lag can be believed: it compares this machine's clock
// with the producer's.
type Clock string

// What the kernel says of the clock (adjtimex).
const (
	ClockSynced   Clock = "synced"
	ClockUnsynced Clock = "unsynced"
	ClockUnknown  Clock = "unknown"
)
