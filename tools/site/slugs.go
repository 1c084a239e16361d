package main

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/yuin/goldmark/ast"
)

// slugs gives headings the anchors that the usual sites give them, so that one link is right here and there.
type slugs map[string]bool

// Generate returns the anchor of a heading.
func (s slugs) Generate(value []byte, _ ast.NodeKind) []byte {
	slug := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsNumber(r), r == '_', r == '-':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, string(value))
	name := slug
	for i := 1; s[name]; i++ {
		name = fmt.Sprint(slug, "-", i)
	}
	s[name] = true
	return []byte(name)
}

// Put remembers an anchor that a document gives itself.
func (s slugs) Put(value []byte) { s[string(value)] = true }
