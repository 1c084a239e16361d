package config

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// recorded is what BuildKit's dockerfile2llb made of "FROM base" and the
// changes.
type recorded struct {
	Base    json.RawMessage
	Changes []string
	Config  json.RawMessage
	Author  string
	History []string
	Error   bool
}

// TestEditAgainstBuildKit replays edits whose results were recorded from
// BuildKit itself (dockerfile2llb v0.26.3 with a resolver that returns the
// base; it is not linked here for the size of what it imports).
func TestEditAgainstBuildKit(t *testing.T) {
	data, err := os.ReadFile("testdata/buildkit-0.26.3.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []recorded
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(strings.Join(c.Changes, ";"), func(t *testing.T) {
			out, createdBy, err := Edit{Changes: c.Changes}.Apply(c.Base)
			if (err != nil) != c.Error {
				t.Fatalf("error %v, BuildKit has one: %v", err, c.Error)
			}
			if err != nil {
				if typed := (*InstructionError)(nil); !errors.As(err, &typed) {
					t.Errorf("error %v is a %T", err, err)
				}
				return
			}
			var got struct {
				Config map[string]any `json:"config"`
				Author string         `json:"author"`
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{}
			if err := json.Unmarshal(c.Config, &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Config, want) {
				t.Errorf("config:\n got %v\nwant %v", got.Config, want)
			}
			if got.Author != c.Author {
				t.Errorf("author %q, want %q", got.Author, c.Author)
			}
			compareHistory(t, createdBy, c)
		})
	}
}

// compareHistory compares all lines but those of HEALTHCHECK, which BuildKit
// prints as a Go struct, and ONBUILD, for which it writes none.
func compareHistory(t *testing.T, got []string, c recorded) {
	t.Helper()
	odd := func(s string) bool {
		return strings.HasPrefix(s, "HEALTHCHECK") || strings.HasPrefix(s, "ONBUILD") || s == "base"
	}
	want := slices.DeleteFunc(c.History, odd)
	if got := slices.DeleteFunc(slices.Clone(got), odd); !slices.Equal(got, want) {
		t.Errorf("history:\n got %q\nwant %q", got, want)
	}
}

func TestEditRefuses(t *testing.T) {
	for change, want := range map[string]string{
		"RUN true":                 "not supported",
		"run true":                 "not supported",
		"RUN <<EOF\nx":             "not supported",
		"COPY a /b":                "COPY is not an edit",
		"ADD a.tar /b":             "ADD is not an edit",
		"FROM debian":              "FROM is not an edit",
		"ARG X":                    "use ENV",
		"CMD x\nRUN y":             "not supported",
		"":                         "empty",
		"  \n":                     "empty",
		"# nothing":                "no instructions",
		"BOGUS":                    "unknown instruction",
		"ONBUILD BOGUS x":          "ONBUILD trigger",
		"EXPOSE 8080:80":           "host's side",
		"EXPOSE 127.0.0.1:8080:80": "host's side",
		"ENV \x1b[31m":             `\x1b[31m`,
	} {
		err := Edit{Changes: []string{change}}.Validate()
		typed := (*InstructionError)(nil)
		if !errors.As(err, &typed) {
			t.Errorf("%q: error %v of type %T", change, err, err)
			continue
		}
		refused := strings.Contains(want, "not supported") || strings.Contains(want, "not an edit")
		if !strings.Contains(err.Error(), want) || refused && !errors.Is(err, ErrNotConfig) {
			t.Errorf("%q: %v, want %q in it", change, err, want)
		}
		if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%q: control characters in %q", change, err)
		}
		if _, _, err := (Edit{Changes: []string{change}}).Apply([]byte("{}")); !errors.As(err, &typed) {
			t.Errorf("%q: Apply says %v", change, err)
		}
	}
}

func TestValidateLeavesVariablesToApply(t *testing.T) {
	e := Edit{Changes: []string{"STOPSIGNAL $SIG", "EXPOSE $PORT", "ENV A=${B:?missing}"}}
	if err := e.Validate(); err != nil {
		t.Errorf("validate: %v", err)
	}
	out, _, err := e.Apply([]byte(`{"config":{"Env":["SIG=SIGHUP","PORT=1-2","B=b"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"config":{"Env":["SIG=SIGHUP","PORT=1-2","B=b","A=b"],"StopSignal":"SIGHUP","ExposedPorts":{"1/tcp":{},"2/tcp":{}}}}`
	if string(out) != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	if _, _, err := e.Apply([]byte(`{}`)); err == nil {
		t.Error("no error for variables that the base lacks")
	}
}

// TestEditKeepsTheRest: what is not edited keeps bytes and order, whatever a
// Go struct or a float64 would make of it.
func TestEditKeepsTheRest(t *testing.T) {
	base := `{"x-vendor":{"n":12345678901234567890,"f":1.10,"s":"<&>\u00e9"},"os":"linux","os.features":["a"],"variant":"v6",` +
		`"config":{"Memory":9007199254740993,"Env":["A=1"],"Healthcheck":{"Test":["NONE"],"X":1},"Labels":{"z":"<a>","odd":7}},` +
		`"container_config":{"Cmd":null},"history":[],"rootfs":{"type":"layers","diff_ids":[]}}`
	e := Edit{Changes: []string{"ENV A=2", "LABEL a=<b>"}, Author: "Jo <jo@example.org>"}
	out, _, err := e.Apply([]byte(base))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(base, `"A=1"`, `"A=2"`, 1)
	want = strings.Replace(want, `"odd":7`, `"odd":7,"a":"<b>"`, 1)
	want = strings.TrimSuffix(want, "}") + `,"author":"Jo <jo@example.org>"}`
	if string(out) != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	same, createdBy, err := Edit{}.Apply([]byte(base))
	if err != nil || string(same) != base || createdBy != nil {
		t.Errorf("empty edit: %s, %q, %v", same, createdBy, err)
	}
}

func TestEditFieldNamesWithoutCase(t *testing.T) {
	out, _, err := Edit{Changes: []string{"ENV B=2"}}.Apply([]byte(`{"Config":{"env":["A=1"]}}`))
	if err != nil || string(out) != `{"Config":{"env":["A=1","B=2"]}}` {
		t.Errorf("got %s, %v", out, err)
	}
}

func TestEditRefusesAmbiguousConfig(t *testing.T) {
	for _, config := range []string{
		`{"config":{},"config":{}}`,
		`{"config":{},"Config":{}}`,
		`{"config":{"Env":[],"ENV":[]}}`,
		`{"config":[]}`,
		`[]`, ``, `{`, `{} {}`,
		`{"config":{"Env":"A=1"}}`,
		`{"os":7}`,
	} {
		if out, _, err := (Edit{Changes: []string{"ENV A=1"}}).Apply([]byte(config)); err == nil {
			t.Errorf("%s: no error, got %s", config, out)
		}
	}
}

func TestUnset(t *testing.T) {
	const base = `{"config":{"User":"u","Env":["A=1","AB=2"],"Cmd":["c"],"ArgsEscaped":true,"Entrypoint":["e"],"WorkingDir":"/w",` +
		`"Labels":{"a":"1","a.b":"2"},"ExposedPorts":{"80/tcp":{},"80/udp":{}},"Volumes":{"/v":{}},` +
		`"Healthcheck":{},"OnBuild":["RUN x"],"Shell":["s"],"StopSignal":"9"}}`
	for unset, gone := range map[string][]string{
		"env=A":         {`"A=1",`},
		"env":           {`"Env":["A=1","AB=2"],`},
		"label=a":       {`"a":"1",`},
		"label=a.b":     {`,"a.b":"2"`},
		"label":         {`"Labels":{"a":"1","a.b":"2"},`},
		"expose=80":     {`"80/tcp":{},`},
		"expose=80/UDP": {`,"80/udp":{}`},
		"expose":        {`"ExposedPorts":{"80/tcp":{},"80/udp":{}},`},
		"volume=/v":     {`"Volumes":{"/v":{}},`},
		"volume":        {`"Volumes":{"/v":{}},`},
		"cmd":           {`"Cmd":["c"],"ArgsEscaped":true,`},
		"entrypoint":    {`"Entrypoint":["e"],`},
		"user":          {`"User":"u",`},
		"workdir":       {`"WorkingDir":"/w",`},
		"healthcheck":   {`"Healthcheck":{},`},
		"onbuild":       {`"OnBuild":["RUN x"],`},
		"shell":         {`"Shell":["s"],`},
		"stopsignal":    {`,"StopSignal":"9"`},
		"env=NONE":      nil,
		"label=none":    nil,
		"STOPSIGNAL":    {`,"StopSignal":"9"`},
	} {
		want := base
		for _, g := range gone {
			if !strings.Contains(want, g) {
				t.Fatalf("%s: %s is not in the base", unset, g)
			}
			want = strings.Replace(want, g, "", 1)
		}
		e := Edit{Unset: []string{unset}}
		if err := e.Validate(); err != nil {
			t.Errorf("%s: validate: %v", unset, err)
		}
		out, createdBy, err := e.Apply([]byte(base))
		if err != nil || string(out) != want {
			t.Errorf("%s: %v\n got %s\nwant %s", unset, err, out, want)
		}
		if len(createdBy) != 1 || !strings.HasPrefix(createdBy[0], "UNSET ") {
			t.Errorf("%s: history %q", unset, createdBy)
		}
	}
	for _, bad := range []string{"", "=", "env=", "cmd=x", "memory", "expose=x"} {
		typed := (*UnsetError)(nil)
		if err := (Edit{Unset: []string{bad}}).Validate(); !errors.As(err, &typed) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestUnsetBeforeChanges(t *testing.T) {
	e := Edit{Unset: []string{"env", "cmd"}, Changes: []string{"ENV B=2", `ENTRYPOINT ["/e"]`}}
	out, createdBy, err := e.Apply([]byte(`{"config":{"Env":["A=1"],"Cmd":["c"]}}`))
	if want := `{"config":{"Env":["B=2"],"Entrypoint":["/e"]}}`; err != nil || string(out) != want {
		t.Errorf("got %s, %v", out, err)
	}
	if want := []string{"UNSET env", "UNSET cmd", "ENV B=2", `ENTRYPOINT ["/e"]`}; !slices.Equal(createdBy, want) {
		t.Errorf("history %q", createdBy)
	}
}

func TestWindowsBase(t *testing.T) {
	out, _, err := Edit{Changes: []string{"CMD dir", `WORKDIR C:\\app`}}.Apply([]byte(`{"os":"windows"}`))
	if err != nil || !strings.Contains(string(out), `["cmd","/S","/C","dir"]`) || !strings.Contains(string(out), `"WorkingDir":"\\app"`) {
		t.Errorf("got %s, %v", out, err)
	}
	if _, _, err := (Edit{Changes: []string{"STOPSIGNAL 9"}}).Apply([]byte(`{"os":"windows"}`)); err == nil {
		t.Error("no error for STOPSIGNAL on Windows")
	}
}

// FuzzApply: no input makes it panic, and what comes out can be edited again.
func FuzzApply(f *testing.F) {
	f.Add(`{"config":{"Env":["A=1"]}}`, "ENV B=$A", "env=A")
	f.Add(`{"os":"linux"}`, "HEALTHCHECK --interval=1s CMD x", "cmd")
	f.Add(`{}`, "# escape=`\nCMD a `\n b", "label=x")
	f.Add(`{}`, "ONBUILD RUN <<EOF\nx\nEOF", "expose=1-2/udp")
	f.Fuzz(func(t *testing.T, config, change, unset string) {
		out, _, err := Edit{Changes: []string{change}, Unset: []string{unset}}.Apply([]byte(config))
		if err != nil {
			return
		}
		if _, _, err := (Edit{Unset: []string{"env"}}).Apply(out); err != nil {
			t.Errorf("%q + %q gave %q: %v", config, change, out, err)
		}
	})
}
