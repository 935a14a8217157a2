package litestreamyml

import (
	"errors"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// What no configuration comes near, and a parser that recurses and compares
// should not be given: collections in collections, and time.
const (
	maxDepth  = 64
	parseTime = 10 * time.Second
)

var errDepth = errors.New("collections are nested too deeply")

// parse makes nodes of a text. Its errors say no more of the text than a line:
// a secret may be in any other part.
func parse(text string, lines lineMap, within time.Duration) (*node, error) {
	if line := nestedTooDeeply(text); line > 0 {
		return nil, wrong(lines.at(line), "", "%w", errDepth)
	}
	type result struct {
		root *node
		err  error
	}
	done := make(chan result, 1)
	go func() {
		root, err := parseText(text, lines)
		done <- result{root, err}
	}()
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case r := <-done:
		return r.root, r.err
	case <-timeout.C:
		return nil, errors.New("it takes too long to read: is it the right file?")
	}
}

func parseText(text string, lines lineMap) (_ *node, err error) {
	defer func() {
		// The text is whatever somebody wrote, and parsers have bugs.
		if recover() != nil {
			err = errors.New("not valid YAML")
		}
	}()
	file, err := parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxError(err, lines)
	}
	c := converter{lines: lines, anchors: map[string]*node{}}
	root := &node{kind: isNull, line: lines.at(1)}
	if len(file.Docs) > 0 && file.Docs[0].Body != nil {
		if root, err = c.node(file.Docs[0].Body, 0); err != nil {
			return nil, err
		}
	}
	if root.kind != isMapping && root.kind != isNull {
		return nil, wrong(root.line, "", "not a configuration of Litestream: its top level must have keys, such as dbs")
	}
	return root, nil
}

// syntaxError takes the excerpt of the text out of an error of the parser, and
// the message as well if it quotes the text.
func syntaxError(err error, lines lineMap) error {
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.Token == nil || syntax.Token.Position == nil {
		return errors.New("not valid YAML")
	}
	line := lines.at(syntax.Token.Position.Line)
	if syntax.Message == "" || strings.ContainsAny(syntax.Message, "\"`") {
		return wrong(line, "", "not valid YAML")
	}
	return wrong(line, "", "not valid YAML: %s", syntax.Message)
}

// nestedTooDeeply is the line from which collections may nest too deeply for
// the parser's stack, or 0. It takes brackets in strings and comments for
// collections as well, of which there are never that many.
func nestedTooDeeply(text string) int {
	line, depth, entries := 1, 0, 0
	start := true // nothing but dashes and blanks since the line began
	for _, r := range text {
		switch r {
		case '\n':
			line, entries, start = line+1, 0, true
		case '[', '{':
			depth++
			start = false
		case ']', '}':
			depth = max(0, depth-1)
			start = false
		case '-', '?', ':', '&', '!', '*':
			if start {
				entries++
			}
		case ' ', '\t':
		default:
			start = false
		}
		if depth > maxDepth || entries > maxDepth {
			return line
		}
	}
	return 0
}

// converter makes nodes of the parser's.
type converter struct {
	lines   lineMap
	anchors map[string]*node
}

func (c *converter) node(n ast.Node, depth int) (*node, error) {
	if n == nil {
		return &node{kind: isNull, line: 1}, nil
	}
	line := c.line(n)
	if depth > maxDepth {
		return nil, wrong(line, "", "%w", errDepth)
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return c.mapping(line, n.Values, depth)
	case *ast.MappingValueNode:
		return c.mapping(line, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		return c.sequence(line, n, depth)
	case *ast.AnchorNode:
		value, err := c.node(n.Value, depth+1)
		if err == nil {
			c.anchors[n.Name.GetToken().Value] = value
		}
		return value, err
	case *ast.AliasNode:
		value, ok := c.anchors[n.Value.GetToken().Value]
		if !ok {
			return nil, wrong(line, "", "not valid YAML: an alias has no anchor before it")
		}
		return value, nil
	case *ast.TagNode:
		return c.node(n.Value, depth+1)
	case *ast.NullNode:
		return &node{kind: isNull, line: line}, nil
	case *ast.LiteralNode:
		return &node{kind: isScalar, text: n.Value.Value, line: line}, nil
	case *ast.StringNode:
		return &node{kind: isScalar, text: n.Value, line: line}, nil
	case ast.ScalarNode:
		// As Litestream has it, a number where a text belongs is the text that
		// it was written as.
		return &node{kind: isScalar, text: n.GetToken().Value, line: line}, nil
	}
	return nil, wrong(line, "", "not valid YAML for a configuration")
}

func (c *converter) sequence(line int, n *ast.SequenceNode, depth int) (*node, error) {
	s := &node{kind: isSequence, line: line}
	for _, v := range n.Values {
		item, err := c.node(v, depth+1)
		if err != nil {
			return nil, err
		}
		s.items = append(s.items, item)
	}
	return s, nil
}

func (c *converter) mapping(line int, values []*ast.MappingValueNode, depth int) (*node, error) {
	m := &node{kind: isMapping, line: line, entries: map[string]*entry{}}
	var merged []*node
	for _, v := range values {
		value, err := c.node(v.Value, depth+1)
		if err != nil {
			return nil, err
		}
		if v.Key.IsMergeKey() {
			merged = append(merged, value)
			continue
		}
		key, err := c.node(keyNode(v.Key), depth+1)
		if err != nil {
			return nil, err
		}
		if key.kind != isScalar {
			continue // no key of Litestream's
		}
		if before := m.entries[key.text]; before != nil {
			before.again = key.line
			continue
		}
		m.entries[key.text] = &entry{line: key.line, value: value}
	}
	return m, m.merge(merged, 0)
}

func keyNode(key ast.MapKeyNode) ast.Node {
	if k, ok := key.(*ast.MappingKeyNode); ok {
		return k.Value
	}
	return key
}

func (c *converter) line(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return c.lines.at(t.Position.Line)
	}
	return 1
}
