package mkv

import "sync/atomic"

// A Budget bounds the memory that readers hold together for large elements: what each of them needs beyond its first
// 64 KiB. An element for which no memory is left costs its document, as one that is too large does. The methods may be
// called from all goroutines; a nil *Budget has no limit.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget is a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Used is how many bytes readers hold of the budget.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

func (b *Budget) acquire(n int) bool {
	if b == nil {
		return true
	}
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

func (b *Budget) release(n int) {
	if b != nil {
		b.used.Add(-int64(n))
	}
}

// Option changes how a Reader works.
type Option func(*Reader)

// WithBudget makes a reader take its memory from a budget. Close gives it back.
func WithBudget(b *Budget) Option { return func(r *Reader) { r.buf.budget = b } }
