package config

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// decoder carries TOML tables into a Config. toml's own decoder stops at
// the first wrong type and ignores case in names; this one is exact and goes
// on, so that one run shows every fault.
type decoder struct {
	file   string
	lines  map[string]int // key path -> line
	faults Errors

	shadowed    []string // keys that are from a device shadow, with all below them
	streamNames []string // of its streams

	variables map[string]string // keys that are from the environment, with the names of the variables
}

// table carries the keys of one table into a struct.
func (d *decoder) table(path string, table map[string]any, into reflect.Value) {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		at := JoinKey(path, key)
		if field, ok := FieldOf(into, key); ok {
			d.value(at, table[key], field)
		} else {
			d.unknownKey(at, key, KeysOf(into.Type()))
		}
	}
}

// value carries one value into a field of a Config.
func (d *decoder) value(at string, value any, into reflect.Value) {
	if into.Type() == reflect.TypeFor[[]Stream]() {
		d.streams(at, value, into)
		return
	}
	if into.Kind() == reflect.Struct {
		if table, ok := value.(map[string]any); ok {
			d.table(at, table, into)
		} else {
			d.invalid(at, "is a single value", fmt.Sprintf("It is a table: begin it with [%s].", at))
		}
		return
	}
	if list, ok := value.([]any); ok {
		value = textList(list)
	}
	if into.Type() == reflect.TypeFor[TrackRef]() {
		value = trackNumber(value)
	}
	if text, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(at, value, text)
		return
	}
	if n, ok := value.(int64); ok && into.Kind() == reflect.Int {
		into.SetInt(n)
		return
	}
	if reflect.TypeOf(value) != into.Type() {
		d.wrongType(at, value, into.Type())
		return
	}
	into.Set(reflect.ValueOf(value))
}

func (d *decoder) streams(at string, value any, into reflect.Value) {
	tables, ok := value.([]map[string]any)
	if list, isList := value.([]any); isList && len(list) == 0 { // streams = []
		into.Set(reflect.ValueOf([]Stream{}))
		return
	}
	if !ok {
		d.invalid(at, "is not a list of tables", "Begin every stream with a line [[streams]], or write streams = [] for none.")
		return
	}
	for i, table := range tables {
		stream := DefaultStream()
		d.table(fmt.Sprintf("%s[%d]", at, i), table, reflect.ValueOf(&stream).Elem())
		into.Set(reflect.Append(into, reflect.ValueOf(stream)))
	}
}

// trackNumber returns a whole number as text, as it is written in TOML or in the JSON of a device shadow.
func trackNumber(value any) any {
	switch n := value.(type) {
	case int64:
		return strconv.FormatInt(n, 10)
	case float64:
		if n == math.Trunc(n) {
			return strconv.FormatFloat(n, 'f', 0, 64)
		}
	}
	return value
}

func (d *decoder) text(at string, value any, into encoding.TextUnmarshaler) {
	text, ok := value.(string)
	if !ok {
		d.wrongType(at, value, reflect.TypeOf(into).Elem())
		return
	}
	if err := into.UnmarshalText([]byte(text)); err != nil {
		d.invalid(at, "= "+err.Error(), "")
	}
}

// textList returns the list as []string, or as it is when not all of it is text.
func textList(list []any) any {
	texts := make([]string, len(list))
	for i, item := range list {
		text, ok := item.(string)
		if !ok {
			return list
		}
		texts[i] = text
	}
	return texts
}

func (d *decoder) wrongType(at string, value any, want reflect.Type) {
	wanted := map[reflect.Type]string{
		reflect.TypeFor[string]():   `text in quotes, such as "text"`,
		reflect.TypeFor[bool]():     "true or false, without quotes",
		reflect.TypeFor[int]():      "a whole number, without quotes",
		reflect.TypeFor[[]string](): `a list of texts, such as ["one", "two"]`,
		reflect.TypeFor[TrackRef](): `the number of a track, or its name in quotes`,
		reflect.TypeFor[Duration](): `a duration in quotes, such as "10s"`,
	}
	d.invalid(at, "is "+describe(value), "It must be "+wanted[want]+".")
}

// describe names the type of a TOML value in the words of its user.
func describe(value any) string {
	switch value.(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case int64, float64:
		return "a number"
	case time.Time:
		return "a date"
	case []any, []string:
		return "a list"
	default:
		return "a table"
	}
}

// invalid notes a fault of a key. One fault a key is enough: what follows from
// the first is noise.
func (d *decoder) invalid(at, message, action string) {
	d.note(&Error{Code: CodeInvalid, Key: at, Message: message, Action: action})
}

func (d *decoder) unknownKey(at, key string, known []string) {
	table, _ := CutLastKey(at)
	action := "Known here: " + strings.Join(known, ", ") + "."
	if near := Nearest(key, known); near != "" {
		action = fmt.Sprintf("Did you mean %q? %s", near, action)
	} else if elsewhere := tableOf(key); elsewhere != "" && elsewhere != table {
		action = fmt.Sprintf("It belongs to [%s]. %s", elsewhere, action)
	}
	d.note(&Error{Code: CodeUnknownKey, Key: at, Message: "is no known key", Action: action})
}

func (d *decoder) note(e *Error) {
	e.File, e.Line = d.file, d.lineOf(e.Key)
	if d.isShadowed(e.Key) {
		e.File, e.Line, e.Key = shadowSource, 0, d.shadowKey(e.Key)
	} else if name := d.variable(e.Key); name != "" {
		e.File, e.Line = "environment variable "+name, 0
	}
	if slices.ContainsFunc(d.faults, func(f *Error) bool { return f.Key == e.Key }) {
		return
	}
	d.faults = append(d.faults, e)
}

// lineOf finds the line of a key, or of the table around it when the key is not written.
func (d *decoder) lineOf(at string) int {
	for at != "" {
		if line := d.lines[at]; line > 0 {
			return line
		}
		at, _ = CutLastKey(at)
	}
	return 0
}

// FieldOf finds the field of a struct whose toml tag is key.
func FieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("toml") == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// KeysOf are the keys of a table.
func KeysOf(t reflect.Type) []string {
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i] = t.Field(i).Tag.Get("toml")
	}
	return keys
}

// tableOf names the top-level table that has a key of this name, if any.
func tableOf(key string) string {
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		field := t.Field(i)
		inner := field.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if slices.Contains(KeysOf(inner), key) {
			return field.Tag.Get("toml")
		}
	}
	return ""
}

// Nearest returns the known word that a typing mistake may have meant, or nothing.
func Nearest(word string, known []string) string {
	best, least := "", 1+max(1, len(word)/3)
	for _, k := range known {
		if n := editDistance(strings.ToLower(word), k); n < least {
			best, least = k, n
		}
	}
	return best
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// JoinKey is a key below a path, such as mqtt.broker.
func JoinKey(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// CutLastKey is the reverse of JoinKey.
func CutLastKey(at string) (table, key string) {
	if i := strings.LastIndexByte(at, '.'); i >= 0 {
		return at[:i], at[i+1:]
	}
	return "", at
}

var (
	tableLine = regexp.MustCompile(`^\s*\[(\[?)\s*([^\]#]+?)\s*\]`)
	KeyLine   = regexp.MustCompile(`^\s*([A-Za-z0-9_."'-]+?)\s*=`)
)

// keyLines finds the line of every table and key of a valid TOML text, because
// toml keeps that to itself. The second [[streams]] is streams[1]. A key inside
// an inline table is not found; lineOf then names the line around it.
func keyLines(text string) map[string]int {
	lines, count, table := map[string]int{}, map[string]int{}, ""
	for i, line := range strings.Split(text, "\n") {
		if m := tableLine.FindStringSubmatch(line); m != nil {
			table = m[2]
			if m[1] != "" {
				table = fmt.Sprintf("%s[%d]", m[2], count[m[2]])
				count[m[2]]++
			}
			lines[table] = i + 1
		} else if m := KeyLine.FindStringSubmatch(line); m != nil {
			lines[JoinKey(table, strings.Trim(m[1], `"'`))] = i + 1
		}
	}
	return lines
}
