package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
)

// mutant is a file with one fault.
type mutant struct {
	file   string
	line   int
	column int
	what   string // was changed
	text   []byte
}

func (m mutant) String() string { return fmt.Sprintf("%s:%d:%d: %s", m.file, m.line, m.column, m.what) }

// mutants makes every fault of a file, in the order of its lines.
func mutants(file string) ([]mutant, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m := mutator{file: file, source: source, fset: token.NewFileSet()}
	if m.tree, err = parser.ParseFile(m.fset, file, source, parser.ParseComments); err != nil {
		return nil, err
	}
	ast.Inspect(m.tree, m.visit)
	slices.SortStableFunc(m.found, func(a, b mutant) int { return a.line - b.line })
	return m.found, nil
}

// mutator changes a tree, prints it and changes it back.
type mutator struct {
	file   string
	source []byte
	fset   *token.FileSet
	tree   *ast.File
	found  []mutant
}

// take adds the tree as it is now. Lines are counted in the file as it was.
func (m *mutator) take(at token.Pos, format string, args ...any) {
	var text bytes.Buffer
	if err := (&printer.Config{Mode: printer.RawFormat}).Fprint(&text, m.fset, m.tree); err != nil {
		return // a tree that cannot be printed is no program
	}
	where := m.fset.Position(at)
	m.found = append(m.found, mutant{m.file, where.Line, where.Column, fmt.Sprintf(format, args...), text.Bytes()})
}

// words are the source of a node, in one short line.
func (m *mutator) words(n ast.Node) string {
	text := string(m.source[m.fset.Position(n.Pos()).Offset:m.fset.Position(n.End()).Offset])
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 70 {
		return string(runes[:70]) + "…"
	}
	return text
}

// instead are what operators are changed to.
var instead = map[token.Token][]token.Token{
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL}, token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL},
	token.REM: {token.QUO}, token.SHL: {token.SHR}, token.SHR: {token.SHL}, token.AND: {token.OR}, token.OR: {token.AND},
}

// otherNames are identifiers with an opposite.
var otherNames = map[string]string{"true": "false", "false": "true", "min": "max", "max": "min"}

func (m *mutator) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ImportSpec, *ast.Field: // and its tag
		return false
	case *ast.BlockStmt:
		m.statements(n.List)
	case *ast.CaseClause:
		m.statements(n.Body)
		m.cases(n)
	case *ast.CommClause:
		m.statements(n.Body)
	case *ast.IfStmt:
		m.condition(n)
	case *ast.BinaryExpr:
		was := n.Op
		for _, op := range instead[was] {
			n.Op = op
			m.take(n.OpPos, "%s instead of %s in %s", op, was, m.words(n))
		}
		n.Op = was
	case *ast.BasicLit:
		m.literal(n)
	case *ast.Ident:
		if other, ok := otherNames[n.Name]; ok {
			was := n.Name
			n.Name = other
			m.take(n.Pos(), "%s instead of %s", other, was)
			n.Name = was
		}
	case *ast.CompositeLit:
		m.fields(n)
	}
	return true
}

// statements removes each statement of a list.
func (m *mutator) statements(list []ast.Stmt) {
	for i, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if isLog(s.X) {
				continue
			}
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				continue // what uses it would not compile
			}
		case *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt, *ast.IfStmt, *ast.ReturnStmt, *ast.BranchStmt:
		default:
			continue
		}
		list[i] = &ast.EmptyStmt{Semicolon: s.Pos()}
		m.take(s.Pos(), "without %s", m.words(s))
		list[i] = s
	}
}

// isLog says that an expression writes to the log, which no test need read.
func isLog(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error", "LogAttrs"}, method.Sel.Name) {
		return false
	}
	switch x := method.X.(type) {
	case *ast.Ident:
		return x.Name == "log" || x.Name == "slog"
	case *ast.SelectorExpr:
		return x.Sel.Name == "log"
	}
	return false
}

// condition decides a condition beforehand. What it calls is still called.
func (m *mutator) condition(n *ast.IfStmt) {
	was := n.Cond
	for _, c := range []struct {
		op    token.Token
		value string
	}{{token.LOR, "true"}, {token.LAND, "false"}} {
		n.Cond = &ast.BinaryExpr{X: &ast.ParenExpr{X: was}, Op: c.op, Y: ast.NewIdent(c.value)}
		m.take(n.Pos(), "always %s: %s", c.value, m.words(was))
	}
	n.Cond = was
}

// cases takes one value out of several of a case.
func (m *mutator) cases(n *ast.CaseClause) {
	all := n.List
	for i, value := range all {
		if len(all) > 1 {
			n.List = slices.Delete(slices.Clone(all), i, i+1)
			m.take(value.Pos(), "case without %s", m.words(value))
		}
	}
	n.List = all
}

// literal changes a number by one and to its half, and a string to another.
func (m *mutator) literal(n *ast.BasicLit) {
	was := n.Value
	var values []string
	switch n.Kind {
	case token.INT:
		if v, err := strconv.ParseInt(was, 0, 64); err == nil {
			values = append(values, strconv.FormatInt(v+1, 10))
			if v > 1 {
				values = append(values, strconv.FormatInt(v/2, 10))
			}
		}
	case token.STRING:
		if len(was) > 2 && !strings.Contains(was, " ") { // texts for people are not held to the letter
			values = append(values, `"mutant"`)
		}
	}
	for _, value := range values {
		n.Value = value
		m.take(n.Pos(), "%s instead of %s", value, m.words(n))
	}
	n.Value = was
}

// fields leaves out each element of a literal that has a key: a field, or an entry of a table.
func (m *mutator) fields(n *ast.CompositeLit) {
	all := n.Elts
	for i, e := range all {
		if _, ok := e.(*ast.KeyValueExpr); ok {
			n.Elts = slices.Delete(slices.Clone(all), i, i+1)
			m.take(e.Pos(), "without the element %s", m.words(e))
		}
	}
	n.Elts = all
}
