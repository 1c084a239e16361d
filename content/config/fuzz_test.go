package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/veneer-build/veneer/content/config"
)

// FuzzChanges: two Dockerfile instructions do what they do one after the other; Docker's own types go on reading the
// config; members that no instruction touches keep their bytes; and what applies to an empty config is valid.
func FuzzChanges(f *testing.F) {
	const base = `{"architecture":"amd64","x":{"b":1,"a":[ ]},"config":{"Env":["A=1"],"Cmd":["c"],"Shell":["s"]}}`
	for _, pair := range [][2]string{
		{"ENV B=$A C=${B:-x}", "CMD echo $B"},
		{`ENTRYPOINT ["/e"]`, `CMD ["a\u0000b"]`},
		{"CMD a", "ENTRYPOINT b"},
		{"LABEL a=b \"c d\"=e", "LABEL a="},
		{"EXPOSE 80-90/udp $A", "VOLUME [\"/v\", \"/w x\"]"},
		{"# escape=`\nWORKDIR C:`\n\\x", "WORKDIR ../y"},
		{"HEALTHCHECK --interval=5m --retries=3 CMD x", "HEALTHCHECK NONE"},
		{"ONBUILD RUN <<EOF\nx\nEOF", "ONBUILD ENV a b"},
		{"STOPSIGNAL SIGRTMIN+3", "SHELL [\"a\"]\nCMD x"},
		{"USER 1:2", "MAINTAINER \"a\" \xff"},
		{"RUN x", "FROM y"},
		{"ARG a=b", "ADD x y\nCOPY <<E /\nE"},
		{"ENV a b c", "ENV \"=x\""},
	} {
		f.Add(base, pair[0], pair[1])
	}
	f.Add(`{"x":{"":1,"":[]}}`, "USER 1:2", "MAINTAINER x")
	f.Add(`{"config":null,"os":"windows"}`, "CMD x", `WORKDIR \a`)
	f.Add(`{"Config":{"env":["a"],"LABELS":{"é":"\u2028<"}}}`, "ENV A=1", "LABEL x=y")
	f.Fuzz(func(t *testing.T, base, first, second string) {
		apply := func(image []byte, changes ...string) ([]byte, error) {
			out, lines, err := config.Edit{Changes: changes}.Apply(image)
			if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("an error of more than one line: %q", err)
			}
			if err == nil && len(lines) < len(changes) {
				t.Errorf("%q make the history %q", changes, lines)
			}
			return out, err
		}
		if _, err := apply([]byte("{}"), first, second); err == nil {
			if err := (config.Edit{Changes: []string{first, second}}).Validate(); err != nil {
				t.Errorf("%q, %q can be applied and are not valid: %v", first, second, err)
			}
		}
		out, err := apply([]byte(base), first, second)
		if err != nil {
			return
		}
		// An ENTRYPOINT leaves a CMD that came with it.
		if one, err := apply([]byte(base), first); !strings.Contains(strings.ToUpper(second), "ENTRYPOINT") {
			two, err2 := apply(one, second)
			if err != nil || err2 != nil || !reflect.DeepEqual(values(t, two), values(t, out)) {
				t.Errorf("%q and %q: %s at once, one by one %s, %v, %v", first, second, out, two, err, err2)
			}
		}
		var before, after dockerspec.DockerOCIImage
		if json.Unmarshal([]byte(base), &before) == nil {
			if err := json.Unmarshal(out, &after); err != nil {
				t.Errorf("%q and %q gave %s: %v", first, second, out, err)
			}
		}
		checkKept(t, []byte(base), out)
	})
}

// values decodes a document: the order of its members does not count.
func values(t *testing.T, data []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// checkKept: only "config" and "author" may differ.
func checkKept(t *testing.T, before, after []byte) {
	t.Helper()
	var was, is map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(before, &was), json.Unmarshal(after, &is)); err != nil {
		t.Fatal(err)
	}
	for name, value := range was {
		if strings.EqualFold(name, "config") || strings.EqualFold(name, "author") {
			continue
		}
		var want bytes.Buffer
		if err := json.Compact(&want, value); err != nil || !bytes.Equal(want.Bytes(), is[name]) {
			t.Errorf("%q was %s and is %s", name, value, is[name])
		}
	}
}
