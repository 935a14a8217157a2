package litestreamyml

import (
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	nullTag  = "!!null"
	mergeTag = "!!merge"
)

// node is a piece of a configuration.
type node struct {
	*yaml.Node
	lines lineMap
}

// parse returns the top level of a text. Its errors say no more of the text than a
// line: a secret may be in any other part.
func parse(text string, lines lineMap) node {
	document := node{&yaml.Node{}, lines}
	err := yaml.NewDecoder(strings.NewReader(text)).Decode(document.Node)
	nothing := node{&yaml.Node{Kind: yaml.MappingNode}, lines}
	if errors.Is(err, io.EOF) {
		return nothing
	}
	failSyntax(err, lines)
	top := document.child(0)
	switch {
	case top.Tag == nullTag:
		return nothing
	case top.Kind != yaml.MappingNode:
		fail(top.at(), "", "not a configuration of Litestream: its top level must have keys, such as dbs")
	}
	return top
}

var syntaxRegex = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)

// failSyntax leaves out what an error of the parser quotes of the text.
func failSyntax(err error, lines lineMap) {
	if err == nil {
		return
	}
	m := syntaxRegex.FindStringSubmatch(err.Error())
	switch {
	case m == nil:
		fail(0, "", "not valid YAML")
	case strings.HasPrefix(m[2], "unknown anchor"):
		fail(0, "", "not valid YAML: an alias has no anchor before it")
	}
	line, _ := strconv.Atoi(m[1])
	if strings.HasPrefix(m[2], "did not find expected") {
		line++ // the parser counts the lines of these from 0
	}
	if strings.ContainsAny(m[2], "\"'`") {
		fail(lines.at(line), "", "not valid YAML")
	}
	fail(lines.at(line), "", "not valid YAML: %s", m[2])
}

// at is the node's line in the file.
func (n node) at() int { return n.lines.at(n.Line) }

// child is one of the nodes below, with what an alias stands for in its place.
func (n node) child(i int) node {
	c := n.Content[i]
	if c.Kind == yaml.AliasNode {
		c = c.Alias
	}
	return node{c, n.lines}
}

func (n node) children() []node {
	all := make([]node, len(n.Content))
	for i := range all {
		all[i] = n.child(i)
	}
	return all
}

// get finds a key of a mapping. ok is false for none, and for one without a value.
func (n node) get(key string) (k, v node, ok bool) {
	k, v, ok = n.find(key, map[*yaml.Node]bool{})
	return k, v, ok && v.Tag != nullTag
}

// find looks at the mapping's own keys, and then at those of the mappings that are
// merged into it, the first's before the next's. Those that are seen don't have it.
func (n node) find(key string, seen map[*yaml.Node]bool) (k, v node, ok bool) {
	if seen[n.Node] || n.Kind != yaml.MappingNode {
		return node{}, node{}, false
	}
	seen[n.Node] = true
	var merged []node
	for i := 0; i+1 < len(n.Content); i += 2 {
		ki, vi := n.child(i), n.child(i+1)
		switch {
		case ki.Tag == mergeTag:
			merged = append(merged, vi.mappings()...)
		case ki.Kind != yaml.ScalarNode || ki.Value != key:
		case ok:
			fail(ki.at(), key, "it is given a second time, after line %d: leave one", k.at())
		default:
			k, v, ok = ki, vi, true
		}
	}
	for _, m := range merged {
		if ok {
			break
		}
		k, v, ok = m.find(key, seen)
	}
	return k, v, ok
}

// mappings are what can be merged: the node, or those that are in it.
func (n node) mappings() []node {
	all := []node{n}
	if n.Kind == yaml.SequenceNode {
		all = n.children()
	}
	for _, m := range all {
		if m.Kind != yaml.MappingNode {
			fail(m.at(), "<<", "only mappings can be merged")
		}
	}
	return all
}

// text is the value of a key, as it was written: a number is the text of it, as
// Litestream has it. It is "" for none.
func (n node) text(key string) string {
	k, v, ok := n.get(key)
	if ok && v.Kind != yaml.ScalarNode {
		fail(k.at(), key, "it must be one value, not a list or a mapping")
	}
	if !ok {
		return ""
	}
	return v.Value
}

// line is where a key is, or where the mapping begins that lacks it.
func (n node) line(key string) int {
	if k, _, ok := n.get(key); ok {
		return k.at()
	}
	return n.at()
}

// list is the items of a key.
func (n node) list(key string) []node {
	k, v, ok := n.get(key)
	if !ok {
		return nil
	}
	if v.Kind != yaml.SequenceNode {
		fail(k.at(), key, "it must be a list: put a - before each entry")
	}
	return v.children()
}

// boolean is "true", "false", or "" for none.
func (n node) boolean(key string) string {
	text := modernBool(n.text(key))
	if text != "" && text != "true" && text != "false" {
		fail(n.line(key), key, "it must be true or false")
	}
	return text
}

// modernBool is the modern form of a boolean in any form of YAML 1.1, which
// Litestream's parser takes, and else the text.
func modernBool(text string) string {
	switch strings.ToLower(text) {
	case "y", "yes", "on", "true":
		return "true"
	case "n", "no", "off", "false":
		return "false"
	}
	return text
}
