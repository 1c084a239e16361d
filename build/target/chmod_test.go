package target

import "testing"

// What the grammar takes, the parser takes too, and a mode that is wrong is found before anything is opened.
func TestChmodGrammar(t *testing.T) {
	for _, text := range []string{"0", "755", "7777", "u+x", "a=rX", "=", "g=u", "u=g,g=o", "u+r-w", "+t", "o-rwxst", "ug+X-w"} {
		if _, err := parseChmod(text); err != nil {
			t.Error(err)
		}
		if err := (Spec{Source: "a", Dest: "/", Chmod: text}).Check(); err != nil {
			t.Error(err)
		}
	}
	for _, text := range []string{"8", "00755", "-1", "u", "u+rw,", ",u+r", "u=rg", "b+r", "u+r g+r", "rwx"} {
		if _, err := parseChmod(text); err == nil {
			t.Errorf("%q is taken", text)
		}
		if err := (Spec{Source: "a", Dest: "/", Chmod: text}).Check(); err == nil {
			t.Errorf("%q is taken in a specification", text)
		}
	}
}
