package main

import (
	"context"
	"embed"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Completion on the command line: the shell runs `edge-agent __complete SHELL WORD…` at every press of the
// tab key, and the grammar says what the last of the words may become.

// completionScripts teach the shells to ask.
//
//go:embed completion
var completionScripts embed.FS

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints the script for a shell.
func (c completionCommand) Run(_ context.Context, std stdio) error {
	script, err := completionScripts.ReadFile("completion/edge-agent." + c.Shell)
	if err != nil {
		return err
	}
	_, err = std.Out.Write(script)
	return err
}

// completeCommand is what the scripts run. The first word is the shell, the last the one that is being written.
type completeCommand struct {
	Words []string `arg:"" optional:"" help:"The shell, and what has been written."`
}

// Run prints what the last word may become, a line each: the word, a tab, what it means. The line ":files" stands
// for the names of files.
func (c completeCommand) Run(_ context.Context, std stdio) error {
	if len(c.Words) < 2 {
		return usageError("__complete is for the scripts of edge-agent completion")
	}
	shell, words := c.Words[0], c.Words[1:]
	cut := ""
	if shell == "bash" {
		words, cut = unsplit(words)
	}
	var g grammar
	parser, err := newParser(&g, stdio{Out: io.Discard, Err: io.Discard}, func(int) {})
	if err != nil {
		return err
	}
	for _, w := range complete(parser.Model.Node, words) {
		if _, err := fmt.Fprintf(std.Out, "%s\t%s\n", strings.TrimPrefix(w.text, cut), w.help); err != nil {
			return err
		}
	}
	return nil
}

// unsplit joins the words that bash has cut at every = and :. Of what the last word becomes bash wants
// only what follows cut.
func unsplit(split []string) (words []string, cut string) {
	glue := false
	for _, w := range split {
		separator := strings.Trim(w, "=:") == "" && w != ""
		if n := len(words); n > 0 && (separator || glue) {
			words[n-1] += w
		} else {
			words = append(words, w)
		}
		glue = separator
	}
	last := words[len(words)-1]
	if len(last) > len(split[len(split)-1]) || glue {
		cut = last[:strings.LastIndexAny(last, "=:")+1]
	}
	return words, cut
}

// completion is a word that may come next, or files.
type completion struct{ text, help string }

var files = completion{text: ":files"}

// complete says what the last word may become, after those before it.
func complete(n *kong.Node, words []string) []completion {
	last := words[len(words)-1]
	at := place{node: n}
	for _, w := range words[:len(words)-1] {
		at.pass(w)
	}
	return withPrefix(at.next(last), last)
}

func withPrefix(all []completion, prefix string) (fit []completion) {
	for _, c := range all {
		begun := c.text == prefix && strings.HasSuffix(prefix, ":") // and what follows is not known
		if c == files || strings.HasPrefix(c.text, prefix) && !begun {
			fit = append(fit, c)
		}
	}
	return fit
}

// place is a point between two words of a command line.
type place struct {
	node     *kong.Node  // the command up to here
	argument int         // how many of its arguments have been given
	waiting  *kong.Value // of the flag before, which wants a value
}

// pass goes over one whole word.
func (p *place) pass(w string) {
	switch {
	case p.waiting != nil:
		p.waiting = nil
	case strings.HasPrefix(w, "-") && w != "-":
		if f := p.flag(w); f != nil && takesValue(f) && !strings.Contains(w, "=") {
			p.waiting = f.Value
		}
	default:
		if child := p.child(w); child != nil {
			p.node, p.argument = child, 0
			return
		}
		p.argument++
	}
}

// next is all that may come.
func (p *place) next(w string) []completion {
	name, _, assigned := strings.Cut(w, "=")
	switch {
	case p.waiting != nil:
		return values(p.waiting, "", w)
	case strings.HasPrefix(w, "--") && assigned:
		if f := p.flag(name); f != nil {
			return values(f.Value, name+"=", w)
		}
		return nil
	case strings.HasPrefix(w, "-"):
		return p.flags()
	}
	var all []completion
	for _, child := range p.node.Children {
		if !child.Hidden {
			all = append(all, completion{child.Name, child.Help})
		}
	}
	if p.argument < len(p.node.Positional) {
		all = append(all, values(p.node.Positional[p.argument], "", w)...)
	}
	return all
}

func (p *place) child(name string) *kong.Node {
	for _, child := range p.node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// flag is the one that a word such as --ca, --ca=x or -o names.
func (p *place) flag(word string) *kong.Flag {
	name, _, _ := strings.Cut(word, "=")
	for _, group := range p.node.AllFlags(true) {
		for _, f := range group {
			if name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}

func (p *place) flags() (all []completion) {
	for _, group := range p.node.AllFlags(true) {
		for _, f := range group {
			all = append(all, completion{"--" + f.Name, f.Help})
		}
	}
	return all
}

func takesValue(f *kong.Flag) bool { return !f.IsBool() && !f.IsCounter() }

// values are those of a flag or argument that are known beforehand. prefix is what stands before it in the word.
func values(v *kong.Value, prefix, word string) (all []completion) {
	if v.Tag.PlaceHolder == "FILE" || v.Name == "file" {
		return []completion{files}
	}
	if v.IsSlice() { // the values before it, with their commas
		prefix = word[:max(len(prefix), strings.LastIndexByte(word, ',')+1)]
	}
	for _, c := range listed(v) {
		all = append(all, completion{prefix + c.text, c.help})
	}
	return all
}

// listed are the values that the grammar lists, or says where they are listed: in its tag "complete".
func listed(v *kong.Value) (all []completion) {
	of := v.EnumSlice()
	switch v.Tag.Get("complete") {
	case "codes":
		for _, c := range contract.Codes() {
			all = append(all, completion{c.Code, c.Summary})
		}
		return all
	case "families":
		of = config.KnownFamilies
	case "levels":
		of = config.KnownLogLevels
	case "places":
		of = []string{"now", "earliest", "fragment:", "server:", "producer:"}
	}
	for _, text := range of {
		all = append(all, completion{text: text})
	}
	return all
}
