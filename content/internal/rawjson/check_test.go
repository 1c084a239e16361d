package rawjson_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/veneer-build/veneer/content/internal/rawjson"
)

func TestCheck(t *testing.T) {
	for text, fine := range map[string]bool{
		`{}`:                             true,
		`[]`:                             true,
		`{"a":1,"b":[{"a":1},{"a":2}]}`:  true,
		`{"a":{"a":{"a":"a"}},"A":"a"}`:  true,
		`{"a":"b","b":"a"}`:              true,
		`["a","a",["a","a"]]`:            true,
		`{"a":1,"a":1}`:                  false,
		`{"a":[],"b":{},"a":1}`:          false,
		`{"x":[1,{"a":1,"\u0061":2}]}`:   false,
		`{"x":{"a":{}, "b":[], "b":{}}}`: false,
		`{"a":1`:                         false,
		`{"a"}`:                          false,
		`{]`:                             false,
		strings.Repeat("[", 100) + strings.Repeat("]", 100):                     true,
		strings.Repeat("[", 101) + strings.Repeat("]", 101):                     false,
		strings.Repeat(`{"a":`, 5_000_000):                                      false,
		"[" + strings.Repeat("0,", 9_999) + "0]":                                true,
		"[" + strings.Repeat("0,", 10_000) + "0]":                               false,
		"[" + strings.Repeat("["+strings.Repeat("0,", 9_000)+"0],", 200) + "0]": false,
	} {
		if err := rawjson.Check([]byte(text)); err == nil != fine || err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%.60s: %v", text, err)
		}
	}
}
