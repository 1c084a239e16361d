package dockerfile

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestCheckExpansion(t *testing.T) {
	// doubles is a variable of 2^n letters, in the words of a file or of an ONBUILD.
	doubles := func(line string, n int) string { return strings.Repeat(line+"\n", n) }
	var stages strings.Builder
	stages.WriteString("FROM scratch AS s0\nENV A=a\n")
	for i := range 40 {
		fmt.Fprintf(&stages, "FROM s%d AS s%d\nENV A=$A$A\n", i, i+1)
	}
	vars := func(n int, between string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, " V%d=1%s", i, between)
		}
		return strings.TrimRight(b.String(), between)
	}
	// many is stages, after one that sets a thousand variables.
	many := func(line string, n int) string {
		var b strings.Builder
		b.WriteString("FROM scratch AS s\n")
		for i := range 1000 {
			fmt.Fprintf(&b, "ENV V%d=1\n", i)
		}
		for i := range n {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
	big := "ENV A=" + strings.Repeat("a", 60000) + "\n"
	for name, c := range map[string]struct {
		text string
		base map[string]any
		bad  bool
	}{
		"usual":               {text: "ARG V=1\nFROM b:$V AS x\nENV PATH=$PATH:/app HOME=/root\nARG V\nRUN echo $V $HOME $0\nFROM x\nCOPY --from=x /a /b\n"},
		"paths of stages":     {text: "FROM b AS s\n" + doubles("ENV PATH=$PATH:/some/directory", 500)},
		"a script":            {text: "FROM b\nRUN <<E\n" + doubles("echo $x ${y:-none} $(cat $z)", 5000) + "E\n"},
		"too many lines":      {text: "FROM b\n" + doubles("ENV A=a", 10_000), bad: true},
		"dashes":              {text: "ARG TAG=1.2.3\nFROM b\nARG TAG\nRUN echo ${TAG//./-}\n"},
		"ENV":                 {text: "FROM b\nENV A=a\n" + doubles("ENV A=$A$A", 40), bad: true},
		"ENV, as of old":      {text: "FROM b\nENV A a\n" + doubles("ENV A ${A}${A}", 40), bad: true},
		"unset at first":      {text: "FROM b\n" + doubles("ENV A=$A$A", 40), bad: true},
		"ARG":                 {text: "FROM b\nARG A=a\n" + doubles("ARG A=$A$A", 40), bad: true},
		"ARG before FROM":     {text: "ARG A=a\n" + doubles("ARG A=$A$A", 40) + "FROM b\n", bad: true},
		"stages":              {text: stages.String(), bad: true},
		"many variables":      {text: "FROM b\nENV" + vars(2000, " \\\n") + "\n"},
		"too many variables":  {text: "FROM b\nENV" + vars(3000, " \\\n") + "\n", bad: true},
		"too many ENV":        {text: "FROM b\n" + strings.ReplaceAll(vars(4000, "\n"), " V", "ENV V"), bad: true},
		"many put in":         {text: "FROM b\nENV" + vars(1000, " ") + "\n" + doubles("ENV A=$V1", 2000)},
		"too many put in":     {text: "FROM b\nENV" + vars(1000, " ") + "\n" + doubles("ENV A=$V1", 4000), bad: true},
		"variables of a base": {text: "FROM b\nLABEL a=" + strings.Repeat("$V", 3000), base: map[string]any{"Env": strings.Fields(vars(6000, " "))}, bad: true},
		"many in a script":    {text: "FROM b\nENV" + vars(1000, " ") + "\nRUN <<E\n" + doubles("echo $V1", 10_000) + "E\n"},
		"stages of many":      {text: many("FROM s AS s%d\n", 1500), bad: true},
		"stages of any":       {text: many("FROM $S AS s%d\n", 200), bad: true},
		"stages of some":      {text: many("FROM s AS s%d\n", 300)},
		"stages by variable":  {text: strings.ReplaceAll("ARG S=s\n"+stages.String(), "FROM s", "FROM ${S}"), bad: true},
		"names by variable":   {text: "FROM b\nARG N=A\nENV A=a\n" + doubles("ENV $N=$A$A", 40), bad: true},
		"words in words":      {text: "FROM b\nENV A=a\n" + doubles("ENV A=${B:-$A$A}", 40), bad: true},
		"replacing":           {text: "FROM b\n" + big + "ENV B=${A//a/$A}\n", bad: true},
		"labels":              {text: "FROM b\n" + big + doubles("LABEL a=$A", 2000), bad: true},
		"environments of RUN": {text: "FROM b\n" + big + doubles("RUN a", 2000), bad: true},
		"heredocs":            {text: "FROM b\n" + big + "COPY <<E /x\n" + doubles("$A", 2000) + "E\n", bad: true},
		"ONBUILD of a base":   {text: "FROM b\n", base: map[string]any{"OnBuild": strings.Split("ENV A=a\n"+doubles("ENV A=$A$A", 40), "\n")}, bad: true},
		"environment of one":  {text: "FROM b\n" + doubles("LABEL a=$A", 100), base: map[string]any{"Env": []string{"A=" + strings.Repeat("a", 1<<20)}}, bad: true},
		"usual base":          {text: "FROM b\nRUN a\n", base: map[string]any{"Env": []string{"PATH=/bin"}, "OnBuild": []string{"COPY . /app", "RUN make"}}},
	} {
		var config []byte
		if c.base != nil {
			var err error
			if config, err = json.Marshal(map[string]any{"config": c.base}); err != nil {
				t.Fatal(err)
			}
		}
		if err := checkExpansion([]byte(c.text), nil, config); (err != nil) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
}
