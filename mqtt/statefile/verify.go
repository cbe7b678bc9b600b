package statefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
)

// The form of a bbolt file, version 2, in the byte order of the machine (go.etcd.io/bbolt/internal/common): pages of
// one size, of which the first two are meta pages. The one with the higher transaction and a valid checksum counts. It
// names the root page of a tree of buckets, the page with the list of free pages, and how many pages are in use.
const (
	pageHeader    = 16 // id 8, flags 2, count 2, overflow 4
	metaSize      = 64 // magic 4, version 4, page size 4, flags 4, root bucket 16, freelist 8, pages 8, transaction 8, checksum 8
	branchElement = 16 // position of the key 4, its size 4, page 8
	leafElement   = 16 // flags 4, position of the key 4, its size 4, size of the value 4
	bucketHeader  = 16 // root page 8, sequence 8; a root of 0 means that the page follows inline

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10
	bucketFlag   = 0x01 // of a leaf element

	minPageSize = 1 << 10
	maxPageSize = 1 << 16
	manyFree    = 0xFFFF // as the count of a freelist: the first entry is the count
	maxDepth    = 64     // of pages and buckets in each other; a real tree has two or three levels
)

var order = binary.NativeEndian

// meta is the content of a meta page.
type meta struct{ pageSize, root, freelist, pages, transaction uint64 }

// readMeta reads the meta page at an offset; ok is false when there is no valid one.
func readMeta(f *os.File, offset int64) (m meta, ok bool) {
	b := make([]byte, pageHeader+metaSize)
	if _, err := f.ReadAt(b, offset); err != nil {
		return m, false
	}
	b = b[pageHeader:]
	if order.Uint32(b) != boltMagic || order.Uint32(b[4:]) != boltVersion || order.Uint64(b[metaSize-8:]) != checksum(b[:metaSize-8]) {
		return m, false
	}
	return meta{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]), freelist: order.Uint64(b[32:]),
		pages: order.Uint64(b[40:]), transaction: order.Uint64(b[48:]),
	}, true
}

func checksum(b []byte) uint64 {
	sum := fnv.New64a()
	sum.Write(b)
	return sum.Sum64()
}

// findMeta finds the meta page that counts. With the first one damaged, the second one is where the
// page size puts it, which is not known then.
func findMeta(f *os.File) (meta, error) {
	first, ok := readMeta(f, 0)
	for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
		second, valid := readMeta(f, size)
		if !valid || second.pageSize != uint64(size) || ok && first.pageSize != uint64(size) {
			continue
		}
		if !ok || second.transaction > first.transaction {
			return second, nil
		}
		return first, nil
	}
	size := first.pageSize
	if !ok || size < minPageSize || size > maxPageSize || size&(size-1) != 0 {
		return meta{}, errors.New("both meta pages are damaged")
	}
	return first, nil
}

// verifySize finds a file that is shorter than its pages.
func verifySize(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 { // bbolt writes an empty file itself
		return err
	}
	m, err := findMeta(f)
	if err != nil {
		return err
	}
	if m.pages < 4 || m.pages > uint64(info.Size())/m.pageSize {
		return fmt.Errorf("%d pages of %d bytes are in use, the file has %d bytes", m.pages, m.pageSize, info.Size())
	}
	return nil
}

// verify finds whatever makes bbolt read outside the file or not end: it follows all pages from the root, each of which
// may be in use once, and compares every position with the page's end.
func verify(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	if err := verifySize(f); err != nil {
		return err
	}
	m, err := findMeta(f)
	if err != nil {
		return err
	}
	v := verifier{file: f, meta: m, used: make([]bool, m.pages)}
	v.used[0], v.used[1] = true, true
	if err := v.tree(m.root, nil, nil, 0); err != nil {
		return err
	}
	return v.freelist()
}

type verifier struct {
	file *os.File
	meta meta
	used []bool
}

// page reads a page with its overflow, which must not be in use yet.
func (v *verifier) page(id uint64, flags ...uint16) (page, error) {
	if id < 2 || id >= v.meta.pages {
		return page{}, fmt.Errorf("page %d is named and does not exist", id)
	}
	header := make([]byte, pageHeader)
	if _, err := v.file.ReadAt(header, int64(id*v.meta.pageSize)); err != nil {
		return page{}, err
	}
	after := uint64(order.Uint32(header[12:]))
	if order.Uint64(header) != id || after >= v.meta.pages-id {
		return page{}, fmt.Errorf("the header of page %d is damaged", id)
	}
	for i := id; i <= id+after; i++ {
		if v.used[i] {
			return page{}, fmt.Errorf("page %d is in use twice", i)
		}
		v.used[i] = true
	}
	p := page{bytes: make([]byte, (after+1)*v.meta.pageSize)}
	if _, err := v.file.ReadAt(p.bytes, int64(id*v.meta.pageSize)); err != nil {
		return page{}, err
	}
	for _, flag := range flags {
		if p.flags() == flag {
			return p, nil
		}
	}
	return page{}, fmt.Errorf("page %d has the type %#x", id, p.flags())
}

// tree checks a page of a bucket and those below it. Their keys are from low (inclusive, nil without a bound) to high
// (exclusive).
func (v *verifier) tree(id uint64, low, high []byte, depth int) error {
	if depth > maxDepth {
		return errors.New("the tree is too deep")
	}
	p, err := v.page(id, branchFlag, leafFlag)
	if err != nil {
		return err
	}
	if p.flags() == leafFlag {
		return v.leaf(p, low, high, depth, true)
	}
	if p.count() == 0 {
		return fmt.Errorf("page %d has no elements", id)
	}
	keys, err := p.keys(branchElement, 0, 4, low, high)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, key := range keys {
		next := high
		if i+1 < len(keys) {
			next = keys[i+1]
		}
		if err := v.tree(order.Uint64(p.element(i, branchElement)[8:]), key, next, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks the elements of a leaf page. buckets tells whether it may have some: an inline one may not.
func (v *verifier) leaf(p page, low, high []byte, depth int, buckets bool) error {
	keys, err := p.keys(leafElement, 4, 8, low, high)
	if err != nil {
		return err
	}
	for i, key := range keys {
		e := p.element(i, leafElement)
		// The value lies behind the key: its end is that of both.
		end := uint64(i*leafElement+pageHeader) + uint64(order.Uint32(e[4:])) + uint64(len(key)) + uint64(order.Uint32(e[12:]))
		if end > uint64(len(p.bytes)) {
			return fmt.Errorf("a value ends at %d in a page of %d bytes", end, len(p.bytes))
		}
		switch flags := order.Uint32(e); {
		case flags == 0:
		case flags == bucketFlag && buckets:
			if err := v.bucket(p.bytes[end-uint64(order.Uint32(e[12:])):end], depth+1); err != nil {
				return err
			}
		default:
			return fmt.Errorf("an element has the flags %#x", flags)
		}
	}
	return nil
}

// bucket checks a bucket by the value that stands for it.
func (v *verifier) bucket(value []byte, depth int) error {
	if len(value) < bucketHeader {
		return fmt.Errorf("a bucket has %d bytes", len(value))
	}
	if root := order.Uint64(value); root != 0 {
		return v.tree(root, nil, nil, depth)
	}
	p := page{bytes: value[bucketHeader:]}
	if len(p.bytes) < pageHeader || order.Uint64(p.bytes) != 0 || p.flags() != leafFlag {
		return errors.New("an inline bucket is damaged")
	}
	return v.leaf(p, nil, nil, depth, false)
}

// freelist checks that every free page exists, is free once and is not in use.
func (v *verifier) freelist() error {
	p, err := v.page(v.meta.freelist, freelistFlag)
	if err != nil {
		return fmt.Errorf("the list of free pages: %w", err)
	}
	ids, count := p.bytes[pageHeader:], uint64(p.count())
	if count == manyFree {
		ids, count = ids[8:], order.Uint64(ids)
	}
	if count > uint64(len(ids)/8) {
		return fmt.Errorf("%d pages are free in a list of %d bytes", count, len(ids))
	}
	for i := range count {
		id := order.Uint64(ids[i*8:])
		if id < 2 || id >= v.meta.pages || v.used[id] {
			return fmt.Errorf("page %d is free and in use, or does not exist", id)
		}
		v.used[id] = true
	}
	return nil
}

// page is the bytes of a page with its overflow, or of an inline bucket.
type page struct{ bytes []byte }

func (p page) flags() uint16 { return order.Uint16(p.bytes[8:]) }
func (p page) count() int    { return int(order.Uint16(p.bytes[10:])) }

func (p page) element(i, size int) []byte { return p.bytes[pageHeader+i*size:][:size] }

// keys returns the keys of all elements, which have to rise. position and length are where an element has these of its
// key; a position counts from the element.
func (p page) keys(size, position, length int, low, high []byte) ([][]byte, error) {
	if pageHeader+p.count()*size > len(p.bytes) {
		return nil, fmt.Errorf("%d elements in a page of %d bytes", p.count(), len(p.bytes))
	}
	keys := make([][]byte, p.count())
	for i := range keys {
		e := p.element(i, size)
		start := uint64(pageHeader+i*size) + uint64(order.Uint32(e[position:]))
		end := start + uint64(order.Uint32(e[length:]))
		if start < uint64(pageHeader+p.count()*size) || start == end || end > uint64(len(p.bytes)) {
			return nil, fmt.Errorf("a key stands from %d to %d in a page of %d bytes", start, end, len(p.bytes))
		}
		keys[i] = p.bytes[start:end]
		switch {
		case i == 0 && bytes.Compare(keys[i], low) < 0, i > 0 && bytes.Compare(keys[i-1], keys[i]) >= 0,
			high != nil && bytes.Compare(keys[i], high) >= 0:
			return nil, errors.New("the keys are not in order")
		}
	}
	return keys, nil
}
