package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	template "github.com/DataDog/datadog-agent/pkg/template/text"
)

// templateFuncs are docker's functions for templates. Its package does not export them.
var templateFuncs = template.FuncMap{
	"json":     jsonText,
	"split":    strings.Split,
	"join":     joinedText,
	"title":    strings.Title, //nolint:staticcheck // docker's function
	"lower":    strings.ToLower,
	"upper":    strings.ToUpper,
	"pad":      padded,
	"truncate": func(s string, length int) string { return s[:min(len(s), length)] },
}

// jsonText is one line of JSON. <, > and & stay as they are.
func jsonText(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("encode as JSON: %w", err)
	}
	return strings.TrimSpace(b.String()), nil
}

// joinedText joins the elements of a list, or the values of a map in the order of their
// texts.
func joinedText(list any, separator string) (string, error) {
	if list == nil {
		return "", nil
	}
	var texts []string
	v := reflect.ValueOf(list)
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			texts = append(texts, fmt.Sprint(v.Index(i).Interface()))
		}
	case reflect.Map:
		for values := v.MapRange(); values.Next(); {
			texts = append(texts, fmt.Sprint(values.Value().Interface()))
		}
		slices.Sort(texts)
	default:
		return "", fmt.Errorf("expected slice, got %T", list)
	}
	return strings.Join(texts, separator), nil
}

// padded has spaces before and after a text that is not empty.
func padded(s string, before, after int) string {
	if s == "" {
		return ""
	}
	return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
}
