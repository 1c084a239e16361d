package page

import "testing"

func TestNameText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":              "plain",
		"two words":          "two words",
		"ملف":                "ملف",
		"a\nb":               `a\nb`,
		"a\x00\x1b[31m":      `a\x00\x1b[31m`,
		"bad\xff":            `bad\xff`,
		"rtl\u202egnp":       `rtl\u202egnp`,
		"zero\u200b":         `zero\u200b`,
		"\u2028":             `\u2028`,
		"\ufeff":             `\ufeff`,
		"replaced\ufffd":     `replaced�`,
		"</script>":          "</script>", // a text node or an escape of html/template
		"\U000e0041hidden":   `\U000e0041hidden`,
		"no\u00a0break":      `no\u00a0break`,
		`back\slash "q" 'a'`: `back\\slash "q" 'a'`,
		`a\nb`:               `a\\nb`,
		"a\\\n":              `a\\\n`,
	} {
		if got := nameText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for in, want := range map[int64]string{0: "0", 999: "999", 1000: "1\u202f000", 1234567: "1\u202f234\u202f567"} {
		if got := countText(in); got != want {
			t.Errorf("%d: %q, want %q", in, got, want)
		}
	}
	if got := share(1, 0); got != 0 {
		t.Error(got)
	}
	if got := share(1<<61, 1<<62); got != 500 {
		t.Error(got)
	}
}
