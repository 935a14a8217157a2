package litestreamyml

import "strings"

type kind int

const (
	isNull kind = iota
	isScalar
	isMapping
	isSequence
)

// node is a piece of a configuration, with anchors, aliases, tags and merges
// resolved.
type node struct {
	kind    kind
	line    int
	text    string            // of a scalar
	entries map[string]*entry // of a mapping
	items   []*node           // of a sequence
}

// entry is a key of a mapping and its value.
type entry struct {
	line  int
	value *node
	again int // the line where the key is given once more, or 0
}

// merge adds the keys of other mappings that m lacks, the first's before the
// next's.
func (m *node) merge(others []*node, depth int) error {
	for _, o := range others {
		switch {
		case o.kind == isMapping:
			for key, e := range o.entries {
				if m.entries[key] == nil {
					m.entries[key] = e
				}
			}
		case o.kind == isSequence && depth == 0:
			if err := m.merge(o.items, depth+1); err != nil {
				return err
			}
		default:
			return wrong(o.line, "<<", "only mappings can be merged")
		}
	}
	return nil
}

// get finds a key of a mapping; nil is none, or one without a value.
func (m *node) get(key string) (*entry, error) {
	e := m.entries[key]
	switch {
	case e == nil:
		return nil, nil
	case e.again > 0:
		return nil, wrong(e.again, key, "it is given a second time, after line %d: leave one", e.line)
	case e.value.kind == isNull:
		return nil, nil
	}
	return e, nil
}

// scalar is the text of a key, and its line. It is "" for none.
func (m *node) scalar(key string) (string, int, error) {
	e, err := m.get(key)
	if e == nil || err != nil {
		return "", m.line, err
	}
	if e.value.kind != isScalar {
		return "", 0, wrong(e.line, key, "it must be one value, not a list or a mapping")
	}
	return e.value.text, e.line, nil
}

// sequence is the items of a key.
func (m *node) sequence(key string) ([]*node, error) {
	e, err := m.get(key)
	if e == nil || err != nil {
		return nil, err
	}
	if e.value.kind != isSequence {
		return nil, wrong(e.line, key, "it must be a list: put a - before each entry")
	}
	return e.value.items, nil
}

// boolean is the truth of a key, false for none.
func (m *node) boolean(key string) (bool, error) {
	text, line, err := m.scalar(key)
	if err != nil || text == "" {
		return false, err
	}
	switch yamlBool(text) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, wrong(line, key, "it must be true or false")
}

// yamlBool is the modern form of a boolean in any form of YAML 1.1, which
// Litestream's parser takes, and else the text.
func yamlBool(text string) string {
	switch strings.ToLower(text) {
	case "y", "yes", "on", "true":
		return "true"
	case "n", "no", "off", "false":
		return "false"
	}
	return text
}
