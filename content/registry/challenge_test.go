package registry

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"pgregory.net/rapid"
)

// Challenges in one field are the ones that containerd reads where each has a
// field of its own.
func TestSplitChallenges(t *testing.T) {
	name := rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9_-]{0,6}`)
	value := rapid.OneOf(name, rapid.Custom(func(t *rapid.T) string {
		text := rapid.StringMatching(`[ -~]{0,12}`).Draw(t, "text")
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	}))
	one := rapid.Custom(func(t *rapid.T) string {
		scheme := rapid.SampledFrom([]string{"Basic", "bearer", "Bearer", "Digest", "Negotiate", "X-Own"}).Draw(t, "scheme")
		var params []string
		for range rapid.IntRange(0, 3).Draw(t, "parameters") {
			params = append(params, name.Draw(t, "name")+"="+value.Draw(t, "value"))
		}
		return strings.TrimSpace(scheme + " " + strings.Join(params, rapid.SampledFrom([]string{",", ", ", " , "}).Draw(t, "comma")))
	})
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(one, 1, 4).Draw(t, "challenges")
		joined := splitChallenges([]string{strings.Join(list, rapid.SampledFrom([]string{",", ", ", ",, "}).Draw(t, "comma"))})
		want := auth.ParseAuthHeader(http.Header{"Www-Authenticate": list})
		if got := auth.ParseAuthHeader(http.Header{"Www-Authenticate": joined}); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q became %q", list, joined)
		}
	})
}

func TestPlainToken(t *testing.T) {
	for given, want := range map[string]string{
		`{"token":"t"}`:                           `{"token":"t","access_token":"t"}`,
		`{"access_token":"t","expires_in":60}`:    `{"token":"t","access_token":"t","expires_in":60}`,
		`{"token":"t","expires_in":"60"}`:         `{"token":"t","access_token":"t","expires_in":60}`,
		`{"token":"t","expires_in":59.9}`:         `{"token":"t","access_token":"t","expires_in":59}`,
		`{"token":"t","expires_in":1e300}`:        `{"token":"t","access_token":"t"}`,
		`{"token":"t","expires_in":-1}`:           `{"token":"t","access_token":"t"}`,
		`{"token":"t","expires_in":"soon"}`:       `{"token":"t","access_token":"t"}`,
		`{"token":"t","expires_in":null}`:         `{"token":"t","access_token":"t"}`,
		`{"token":"t","issued_at":"1.1.70"}`:      `{"token":"t","access_token":"t"}`,
		`{"token":"a","access_token":"b"}`:        `{"token":"b","access_token":"b"}`,
		`{"token":"t","refresh_token":"r","x":1}`: `{"token":"t","access_token":"t","refresh_token":"r"}`,
		`{}`:          `{"token":"","access_token":""}`,
		`{"token":1}`: `{"token":1}`,
		`[]`:          `[]`,
	} {
		var a, b any
		if err := json.Unmarshal(plainToken([]byte(given)), &a); err != nil {
			t.Errorf("%s: %v", given, err)
		}
		if err := json.Unmarshal([]byte(want), &b); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s became %v", given, a)
		}
	}
	if got := string(plainToken([]byte("<html>"))); got != "<html>" {
		t.Errorf("a page became %q", got)
	}
}
