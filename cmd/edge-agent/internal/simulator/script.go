// Package simulator reads the script of a simulated service (docs/simulator.md) strictly: every fault of the file has its
// place and says what would do. Read script.go, then event.go and call.go.
package simulator

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// scriptFile is the file of simulate --script; docs/simulator.md says what each key is for.
type scriptFile struct {
	Service serviceScript  `toml:"service"`
	Streams []streamScript `toml:"streams"`
	Events  []eventScript  `toml:"events"`
}

type serviceScript struct {
	Region      string          `toml:"region"`
	Speed       float64         `toml:"speed"`
	ClockAhead  config.Duration `toml:"clock_ahead"`
	ClockBehind config.Duration `toml:"clock_behind"`
	AmzHeaders  bool            `toml:"amz_headers"`
	IdleReset   bool            `toml:"idle_reset"`
	Calls       int             `toml:"calls"`
	Connections int             `toml:"connections"`
	Bandwidth   int             `toml:"bandwidth"`
	Session     config.Duration `toml:"session"`
	Idle        config.Duration `toml:"idle"`

	Credentials []credentialsScript `toml:"credentials"`
}

type credentialsScript struct {
	AccessKeyID     string          `toml:"access_key_id"`
	SecretAccessKey string          `toml:"secret_access_key"`
	SessionToken    string          `toml:"session_token"`
	Expires         config.Duration `toml:"expires"`
}

// material is a file or one of the program's own clips.
type material struct {
	File string `toml:"file"`
	Clip string `toml:"clip"`
}

type streamScript struct {
	Name      string          `toml:"name"`
	File      string          `toml:"file"`
	Clip      string          `toml:"clip"`
	History   config.Duration `toml:"history"`
	Fragment  config.Duration `toml:"fragment"`
	Delay     config.Duration `toml:"delay"`
	Retention config.Duration `toml:"retention"`
	Ahead     config.Duration `toml:"clock_ahead"`
	Absent    bool            `toml:"absent"`
	Opaque    bool            `toml:"opaque_tokens"`
	Numbers   numbersScript   `toml:"numbers"`
	Layout    layoutScript    `toml:"layout"`
	Changes   []changeScript  `toml:"changes"`
}

type changeScript struct {
	Fragment int64  `toml:"fragment"`
	File     string `toml:"file"`
	Clip     string `toml:"clip"`
}

type numbersScript struct {
	First int64  `toml:"first"`
	Wrap  int64  `toml:"wrap"`
	Order string `toml:"order"`
}

type layoutScript struct {
	UnknownSize    bool              `toml:"unknown_size"`
	Time           string            `toml:"time"`
	Scale          config.Duration   `toml:"scale"`
	AnnexB         bool              `toml:"annex_b"`
	CodecPrivate   string            `toml:"codec_private"`
	BlockGroups    bool              `toml:"block_groups"`
	Lacing         string            `toml:"lacing"`
	WideIntegers   bool              `toml:"wide_integers"`
	PaddedText     bool              `toml:"padded_text"`
	Noise          bool              `toml:"noise"`
	Index          bool              `toml:"index"`
	Position       bool              `toml:"position"`
	Tags           map[string]string `toml:"tags"`
	TagsOnly       int               `toml:"tags_only"`
	SplitTags      bool              `toml:"split_tags"`
	ShuffledTags   bool              `toml:"shuffled_tags"`
	LateTags       bool              `toml:"late_tags"`
	NoProducerTime bool              `toml:"no_producer_time"`
}

// What the values of some keys may be.
var (
	clusterTimes = map[string]kvstest.ClusterTime{
		"": kvstest.FragmentTime, "fragment": kvstest.FragmentTime, "session": kvstest.SessionTime, "wall": kvstest.WallTime,
	}
	orders = map[string]kvstest.Order{
		"": kvstest.Rising, "rising": kvstest.Rising, "falling": kvstest.Falling, "same": kvstest.Same,
	}
	privates = map[string]kvstest.Private{
		"": kvstest.PrivateConfig, "config": kvstest.PrivateConfig, "annex-b": kvstest.PrivateAnnexB, "none": kvstest.PrivateNone,
	}
	lacings = map[string]kvstest.Lacing{
		"": kvstest.NoLacing, "none": kvstest.NoLacing, "xiph": kvstest.XiphLacing, "fixed": kvstest.FixedLacing, "ebml": kvstest.EBMLLacing,
	}
)

// Load reads and checks a script and the files that it names. On failure the error is a config.Errors with every
// fault, or the failure of a file.
func Load(path string) (kvstest.Script, error) {
	text, err := config.ReadTOML(path)
	if err != nil {
		e := config.Unreadable(path, err)
		e.Action = "Name an existing file with --script and make sure this user may read it."
		return kvstest.Script{}, config.Errors{e}
	}
	return Parse(path, text)
}

// Parse turns the text of a file into a Script. Files in it are looked for beside path.
func Parse(path, text string) (kvstest.Script, error) {
	if line := config.CheckNesting(text); line > 0 {
		return kvstest.Script{}, config.Errors{config.TooNested(path, line)}
	}
	var tables map[string]any
	if _, err := toml.Decode(text, &tables); err != nil {
		return kvstest.Script{}, config.Errors{config.SyntaxError(path, err)}
	}
	r := &scriptReader{file: path, lines: scriptLines(text), sources: map[string]*kvstest.Source{}}
	r.checkKeys("", tables, reflect.TypeFor[scriptFile]())
	if len(r.faults) > 0 {
		return kvstest.Script{}, r.faults.Sorted()
	}
	var f scriptFile
	if _, err := toml.Decode(text, &f); err != nil {
		e := config.SyntaxError(path, err)
		e.Code, e.Message = config.CodeInvalid, strings.Replace(e.Message, "not valid TOML", "a value of the wrong type", 1)
		e.Action = "docs/simulator.md says what each key takes."
		return kvstest.Script{}, config.Errors{e}
	}
	script := kvstest.Script{Config: f.Service.config()}
	for i, c := range f.Service.Credentials {
		known := r.credentials(fmt.Sprintf("service.credentials[%d]", i), c, script.Config.Now())
		script.Config.Credentials = append(script.Config.Credentials, known)
	}
	if f.Service.Speed < 0 {
		r.invalid("service.speed", "is negative", "1 is real time, 10 is ten times as fast.")
	}
	for i, s := range f.Streams {
		script.Streams = append(script.Streams, r.stream(fmt.Sprintf("streams[%d]", i), s, f.Streams[:i]))
	}
	if len(f.Streams) == 0 {
		r.invalid("", "has no streams", "Begin each with a line [[streams]].")
	}
	for i, e := range f.Events {
		present := slices.Sorted(maps.Keys(tablesOf(tables["events"])[i]))
		script.Events = append(script.Events, r.event(fmt.Sprintf("events[%d]", i), e, present, f.Streams))
	}
	if len(r.faults) > 0 {
		return kvstest.Script{}, r.faults.Sorted()
	}
	return script, r.unread
}

func (s serviceScript) config() kvstest.Config {
	ahead := time.Duration(s.ClockAhead - s.ClockBehind)
	return kvstest.Config{
		Region: s.Region, Speed: s.Speed, AmzHeaders: s.AmzHeaders, IdleReset: s.IdleReset,
		Now: func() time.Time { return time.Now().Add(ahead) },
		Limits: kvstest.Limits{
			Calls: s.Calls, Connections: s.Connections, Bandwidth: s.Bandwidth,
			Session: time.Duration(s.Session), Idle: time.Duration(s.Idle),
		},
	}
}

// credentials reads credentials that count their life from now.
func (r *scriptReader) credentials(at string, c credentialsScript, now time.Time) aws.Credentials {
	if !ValidKeyID.MatchString(c.AccessKeyID) {
		r.invalid(at+".access_key_id", fmt.Sprintf("= %q is not valid", c.AccessKeyID), "Use letters, digits and '_'.")
	}
	if c.SecretAccessKey == "" {
		r.invalid(at+".secret_access_key", "is missing", "Calls are signed with it.")
	}
	return aws.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		CanExpire: c.Expires > 0, Expires: now.Add(time.Duration(c.Expires)),
	}
}

// scriptReader reads what a script says and collects what is wrong with it.
type scriptReader struct {
	file    string
	lines   map[string]int // key path -> line
	faults  config.Errors
	sources map[string]*kvstest.Source // by path, so that each is read once
	unread  error                      // why the first file that cannot be used cannot
}

func (r *scriptReader) invalid(at, message, action string) {
	e := &config.Error{Code: config.CodeInvalid, File: r.file, Key: at, Message: message, Action: action}
	for e.Line = r.lines[at]; e.Line == 0 && at != ""; e.Line = r.lines[at] {
		at, _ = config.CutLastKey(at)
	}
	r.faults = append(r.faults, e)
}

// checkKeys wants every key of a table to be known, exactly as it is written.
func (r *scriptReader) checkKeys(path string, value any, t reflect.Type) {
	if t.Kind() == reflect.Slice {
		for i, table := range tablesOf(value) {
			r.checkKeys(fmt.Sprintf("%s[%d]", path, i), table, t.Elem())
		}
		return
	}
	table, ok := value.(map[string]any)
	if !ok || t.Kind() != reflect.Struct {
		return // a value, or keys of the user's own choice; a wrong type is said later
	}
	for key, inner := range table {
		if field, ok := config.FieldOf(reflect.Zero(t), key); ok {
			r.checkKeys(config.JoinKey(path, key), inner, field.Type())
		} else {
			r.unknownKey(config.JoinKey(path, key), key, config.KeysOf(t))
		}
	}
}

func (r *scriptReader) unknownKey(at, key string, known []string) {
	action := "Known here: " + strings.Join(known, ", ") + "."
	if near := config.Nearest(key, known); near != "" {
		action = fmt.Sprintf("Did you mean %q? %s", near, action)
	}
	r.invalid(at, "is no known key", action)
	r.faults[len(r.faults)-1].Code = config.CodeUnknownKey
}

// tablesOf are the tables in a list, written as [[table]] or inline.
func tablesOf(value any) []map[string]any {
	if tables, ok := value.([]map[string]any); ok {
		return tables
	}
	var tables []map[string]any
	list, _ := value.([]any)
	for _, item := range list {
		table, _ := item.(map[string]any)
		tables = append(tables, table)
	}
	return tables
}

func (r *scriptReader) stream(at string, s streamScript, before []streamScript) kvstest.ScriptStream {
	if s.Name == "" {
		r.invalid(at+".name", "is missing", "Name the stream as the service does.")
	}
	if slices.ContainsFunc(before, func(b streamScript) bool { return b.Name == s.Name }) {
		r.invalid(at+".name", fmt.Sprintf("= %q is the name of another stream too", s.Name), "Give every stream a name of its own.")
	}
	out := kvstest.ScriptStream{
		Name: s.Name, Source: r.source(at, material{s.File, s.Clip}),
		Config: kvstest.StreamConfig{
			History: time.Duration(s.History), Fragment: time.Duration(s.Fragment), Delay: time.Duration(s.Delay),
			Retention: time.Duration(s.Retention), Ahead: time.Duration(s.Ahead), Layout: r.layout(at+".layout", s.Layout),
			Absent: s.Absent, OpaqueTokens: s.Opaque,
			Numbers: kvstest.Numbers{
				First: s.Numbers.First, Wrap: s.Numbers.Wrap, Order: oneOf(r, at+".numbers.order", s.Numbers.Order, orders),
			},
		},
	}
	for i, c := range s.Changes {
		source := r.source(fmt.Sprintf("%s.changes[%d]", at, i), material{c.File, c.Clip})
		out.Config.Changes = append(out.Config.Changes, kvstest.Change{Fragment: c.Fragment, Source: source})
	}
	return out
}

// source reads a file, or takes one of the program's own clips.
func (r *scriptReader) source(at string, m material) *kvstest.Source {
	path := m.File
	switch {
	case (m.File == "") == (m.Clip == ""):
		r.invalid(at+".file", "and clip: exactly one of them is needed", "file is a Matroska file or a capture, clip is one of "+config.Quoted(slices.Sorted(maps.Keys(ownClips)))+".")
		return nil
	case m.Clip != "":
		own := oneOf(r, at+".clip", m.Clip, ownClips)
		if own == nil {
			return nil
		}
		source, err := kvstest.ReadSource(own())
		r.unread = cmp.Or(r.unread, err)
		return source
	case !filepath.IsAbs(path):
		path = filepath.Join(filepath.Dir(r.file), path)
	}
	if r.sources[path] == nil && r.unread == nil {
		r.sources[path], r.unread = ReadSource(path)
	}
	return r.sources[path]
}

func (r *scriptReader) layout(at string, l layoutScript) kvstest.Layout {
	out := kvstest.Layout{
		UnknownSize: l.UnknownSize, Time: oneOf(r, at+".time", l.Time, clusterTimes), Scale: time.Duration(l.Scale),
		AnnexB: l.AnnexB, Private: oneOf(r, at+".codec_private", l.CodecPrivate, privates),
		BlockGroups: l.BlockGroups, Lacing: oneOf(r, at+".lacing", l.Lacing, lacings),
		WideIntegers: l.WideIntegers, PaddedText: l.PaddedText, Noise: l.Noise, Index: l.Index, Position: l.Position,
		TagsOnly: l.TagsOnly, SplitTags: l.SplitTags, ShuffledTags: l.ShuffledTags, LateTags: l.LateTags,
		NoProducerTime: l.NoProducerTime,
	}
	for _, name := range slices.Sorted(maps.Keys(l.Tags)) {
		out.Tags = append(out.Tags, mkv.Tag{Name: name, Value: l.Tags[name]})
	}
	return out
}

// oneOf is what a word stands for.
func oneOf[T any](r *scriptReader, at, word string, known map[string]T) T {
	v, ok := known[word]
	if !ok {
		words := slices.DeleteFunc(slices.Sorted(maps.Keys(known)), func(s string) bool { return s == "" })
		r.invalid(at, fmt.Sprintf("= %q is not known", word), config.DidYouMean(word, words))
	}
	return v
}

var scriptTable = regexp.MustCompile(`^\s*(\[\[?)\s*([^\]#]+?)\s*\]`)

// scriptLines is keyLines for tables within lists: [streams.layout] belongs to the last of the [[streams]].
func scriptLines(text string) map[string]int {
	lines, count, table := map[string]int{}, map[string]int{}, ""
	for i, line := range strings.Split(text, "\n") {
		m := scriptTable.FindStringSubmatch(line)
		if m == nil {
			if m := config.KeyLine.FindStringSubmatch(line); m != nil {
				lines[config.JoinKey(table, strings.Trim(m[1], `"'`))] = i + 1
			}
			continue
		}
		table = ""
		names := strings.Split(m[2], ".")
		for k, name := range names {
			table = config.JoinKey(table, name)
			if k == len(names)-1 && m[1] == "[[" {
				count[table]++
			}
			if n := count[table]; n > 0 {
				table = fmt.Sprintf("%s[%d]", table, n-1)
			}
		}
		lines[table] = i + 1
	}
	return lines
}
