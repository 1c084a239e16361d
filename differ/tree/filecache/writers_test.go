package filecache

import (
	"slices"
	"testing"
)

// TestOwnGroups: a group counts as a user's own if it is the primary group of that user and of no other, and has no
// other member.
func TestOwnGroups(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbob:x:1001:1001::/:\nsync:x:5:100::/:\n" +
		"tom:x:1002:100::/:\nada2:x:1000:1000::/:\n\nbroken:x\nlast:x:1009:1009"
	for name, c := range map[string]struct {
		users []uint32
		group string
		want  []uint32
	}{
		"own":              {[]uint32{0, 1000}, "root:x:0:\nada:x:1000:\n", []uint32{0, 1000}},
		"named in its own": {[]uint32{0, 1000}, "root:x:0:root\nada:x:1000:ada,ada2,root\n", []uint32{0, 1000}},
		"another member":   {[]uint32{0, 1000}, "root:x:0:ada,bob\nada:x:1000:bob\n", nil},
		"two lines":        {[]uint32{1000}, "ada:x:1000:\nalias:x:1000:bob\n", nil},
		"shared by all":    {[]uint32{1002}, "users:x:100:\n", nil},
		"not listed":       {[]uint32{1000}, "root:x:0:\n", nil},
		"no end of line":   {[]uint32{1009}, "last:x:1009:", []uint32{1009}},
		"short line":       {[]uint32{1009}, "last:x:1009", nil},
	} {
		if got := ownGroups(c.users, passwd, c.group); !slices.Equal(got, c.want) {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
