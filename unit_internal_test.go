package veneer

import "testing"

// Each volume of an image has a directory of its own, or none.
func TestVolumeDirs(t *testing.T) {
	seen := map[string]string{}
	for path, want := range map[string]string{
		"/a": "a", "/a/b": "a-b", "/a-b": "a--b", "/a--b": "a----b", "/a-b/c": "a--b-c", "/a/b-c": "a-b--c", "/var/lib/my_app": "var-lib-my_app",
		"/a-": "", "/a-/b": "", "/a/-b": "", "/-": "", "/": "", "/a b": "",
	} {
		got := ""
		if volumePath.MatchString(path) {
			got = volumeDir.Replace(path[1:])
		}
		if got != want || got != "" && seen[got] != "" {
			t.Errorf("%s: %q, want %q; %q has that, too", path, got, want, seen[got])
		}
		seen[got] = path
	}
}
