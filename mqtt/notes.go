package mqtt

import (
	"bytes"
	"encoding/json"
	"maps"
	"sync"
)

// notes are small values that a file keeps by key. They are set in memory and written later. Safe for concurrent use.
type notes struct {
	mu     sync.Mutex
	values map[string][]byte // as JSON
	stale  map[string]bool   // keys of which the file has another value
}

// set gives a key a value, which must be fit for JSON.
func (n *notes) set(key []byte, value any) {
	text, err := json.Marshal(value)
	if err != nil { // strings and lists of them always are
		panic(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.values == nil {
		n.values, n.stale = make(map[string][]byte), make(map[string]bool)
	}
	if !bytes.Equal(n.values[string(key)], text) {
		n.values[string(key)], n.stale[string(key)] = text, true
	}
}

// unsaved gives the values that are to be written.
func (n *notes) unsaved() map[string][]byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make(map[string][]byte)
	for key := range n.stale {
		list[key] = n.values[key]
	}
	return list
}

// saved takes in that values were written. What was set since then is still to be.
func (n *notes) saved(list map[string][]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.stale, func(key string, _ bool) bool {
		text, written := list[key]
		return written && bytes.Equal(n.values[key], text)
	})
}

// again makes all values unsaved, for a file that has none.
func (n *notes) again() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key := range n.values {
		n.stale[key] = true
	}
}
